//! Where a source resumes, and how far the sources have come that several collectors share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use common::message_log::Sequence;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How many cursors of a source may wait for Kafka.
const LOGGED: usize = 4096;

/// Where a source resumes. What the bytes mean only the source knows. They are empty if it was connected to before, and
/// no message of it was logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

/// What is published of a source, see [`leases`](crate::leases).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// How often the source had been taken over.
    pub(crate) takeover: u64,
    /// How many records its owner had written since then.
    pub(crate) number: u64,
    /// Which feed the cursor is of.
    pub(crate) feed: String,
    #[serde(with = "text")]
    pub(crate) cursor: Cursor,
}

/// How far the sources have come that several collectors share. The journal, the delivery and the leases share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sources: BTreeMap<Arc<str>, Source>,
    /// Kafka has everything before.
    low: Sequence,
}

#[derive(Debug, Default)]
struct Source {
    /// Cursors that are logged, each with the sequence before which is what it covers.
    logged: VecDeque<(Sequence, Cursor)>,
    /// The newest one that Kafka has everything before, and the one that is published.
    covered: Option<Cursor>,
    published: Option<Cursor>,
    /// What the records say, while the source is held here.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    takeover: u64,
    number: u64,
    feed: String,
}

// === impl Progress ===

impl Progress {
    /// The cursors of this source are published.
    pub(crate) fn share(&self, source: &Arc<str>) {
        self.lock().sources.entry(Arc::clone(source)).or_default();
    }

    /// Whether the cursors of this source are published.
    pub fn is_shared(&self, source: &str) -> bool {
        self.lock().sources.contains_key(source)
    }

    /// The journal has written what the cursor covers, all before `end`. Of too many that wait for Kafka every second one is left
    /// out, because the next one covers it.
    pub fn logged(&self, source: &str, end: Sequence, cursor: Cursor) {
        let mut state = self.lock();
        let Some(source) = state.sources.get_mut(source) else { return };
        source.logged.push_back((end, cursor));
        if source.logged.len() > LOGGED {
            // From the newest on, which is kept.
            let newest_first = std::mem::take(&mut source.logged).into_iter().rev();
            source.logged = newest_first.step_by(2).collect();
            source.logged.make_contiguous().reverse();
        }
    }

    /// At the start the log has this cursor, which covers what is before `end`.
    pub(crate) fn found(&self, source: &str, end: Sequence, cursor: &Cursor) {
        if let Some(source) = self.lock().sources.get_mut(source)
            && source.logged.is_empty()
            && source.covered.is_none()
        {
            source.logged.push_back((end, cursor.clone()));
        }
        self.settled_before(Sequence::ZERO);
    }

    /// Kafka has everything before `low`.
    pub fn settled_before(&self, low: Sequence) {
        let mut state = self.lock();
        let State { sources, low: known } = &mut *state;
        *known = low.max(*known);
        for source in sources.values_mut() {
            while let Some((_, cursor)) = source.logged.pop_front_if(|(end, _)| end <= known) {
                source.covered = Some(cursor);
            }
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// The source begins where another collector has come to: nothing that is on its way here matters any more.
    pub(crate) fn forget(&self, source: &str) {
        if let Some(source) = self.lock().sources.get_mut(source) {
            *source = Source::default();
        }
    }

    /// The source was taken over, which this record has told the others.
    pub(crate) fn taken(&self, source: &str, record: &Record) {
        let Record { takeover, number, ref feed, ref cursor } = *record;
        if let Some(source) = self.lock().sources.get_mut(source) {
            source.published = Some(cursor.clone());
            source.held = Some(Held { takeover, number, feed: feed.clone() });
        }
    }

    /// Whether the source was taken over and not given up since.
    pub(crate) fn is_held(&self, source: &str) -> bool {
        self.lock().sources.get(source).is_some_and(|source| source.held.is_some())
    }

    /// The source was given up.
    pub(crate) fn given_up(&self, source: &str) {
        if let Some(source) = self.lock().sources.get_mut(source) {
            source.held = None;
        }
    }

    /// The record of this source that is to be published now.
    pub(crate) fn due(&self, source: &str) -> Option<Record> {
        let mut state = self.lock();
        let Source { covered, published, held, .. } = state.sources.get_mut(source)?;
        let (held, covered) = (held.as_mut()?, covered.as_ref()?);
        if published.as_ref() == Some(covered) {
            return None;
        }
        held.number += 1;
        let Held { takeover, number, ref feed } = *held;
        Some(Record { takeover, number, feed: feed.clone(), cursor: covered.clone() })
    }

    /// This record was published.
    pub(crate) fn published(&self, source: &str, record: &Record) {
        if let Some(source) = self.lock().sources.get_mut(source)
            && source.held.as_ref().is_some_and(|held| held.takeover == record.takeover)
        {
            source.published = Some(record.cursor.clone());
        }
        self.0.changed.notify_waiters();
    }

    /// Waits until everything that was logged of the source is in Kafka, and its cursor is published.
    pub(crate) async fn settled(&self, source: &str) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let is_settled = self.lock().sources.get(source).is_none_or(|source| {
                let is_published = source.covered.is_none() || source.covered == source.published;
                source.held.is_none() || source.logged.is_empty() && is_published
            });
            if is_settled {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cursor's bytes as text.
mod text {
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    use super::*;

    pub(super) fn serialize<S: Serializer>(
        cursor: &Cursor,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&cursor.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cursor, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(Cursor(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn cursor(text: &str) -> Cursor {
        Cursor(text.to_owned().into())
    }

    fn record(takeover: u64, number: u64, text: &str) -> Record {
        Record { takeover, number, feed: "ws://a".to_owned(), cursor: cursor(text) }
    }

    fn logged(progress: &Progress, end: usize, text: &str) {
        progress.logged("rsvps", Sequence::from_opaque(end), cursor(text));
    }

    fn settled(progress: &Progress, low: usize) {
        progress.settled_before(Sequence::from_opaque(low));
    }

    fn is_settled(progress: &Progress) -> bool {
        progress.settled("rsvps").now_or_never().is_some()
    }

    #[test]
    fn a_cursor_is_published_once_when_kafka_has_what_it_covers_and_only_by_who_has_the_source() {
        let progress = Progress::default();
        progress.share(&"rsvps".into());
        progress.logged("unknown", Sequence::ZERO, cursor("a"));
        progress.taken("rsvps", &record(3, 0, "begun"));
        assert!(is_settled(&progress), "nothing came yet");
        logged(&progress, 5, "a");
        logged(&progress, 9, "b");
        settled(&progress, 4);
        assert_eq!(progress.due("rsvps"), None);
        assert!(!is_settled(&progress), "it is not in kafka");
        settled(&progress, 8);
        let due = progress.due("rsvps");
        assert_eq!(due, Some(record(3, 1, "a")));
        progress.published("rsvps", &due.unwrap());
        assert_eq!(progress.due("rsvps"), None);
        assert!(!is_settled(&progress), "the newest is not published");
        settled(&progress, 9);
        progress.published("rsvps", &progress.due("rsvps").unwrap());
        assert!(is_settled(&progress));
        progress.given_up("rsvps");
        logged(&progress, 12, "c");
        settled(&progress, 12);
        assert_eq!(progress.due("rsvps"), None);
        // Nobody else has had it meanwhile.
        progress.taken("rsvps", &record(4, 0, "b"));
        assert_eq!(progress.due("rsvps"), Some(record(4, 1, "c")));
    }

    #[test]
    fn what_the_log_has_at_the_start_is_told_to_others_when_kafka_has_it() {
        for is_backlog in [true, false] {
            let progress = Progress::default();
            progress.share(&"rsvps".into());
            settled(&progress, if is_backlog { 7 } else { 20 });
            progress.found("rsvps", Sequence::from_opaque(20), &cursor("logged"));
            progress.taken("rsvps", &record(3, 0, "published"));
            let logged = Some(record(3, 1, "logged"));
            assert_eq!(progress.due("rsvps"), logged.clone().filter(|_| !is_backlog));
            settled(&progress, 20);
            assert!(progress.due("rsvps").is_some());
        }
    }

    #[test]
    fn what_is_on_its_way_from_before_another_had_the_source_leads_it_nowhere() {
        let progress = Progress::default();
        progress.share(&"rsvps".into());
        progress.taken("rsvps", &record(1, 0, "begun"));
        logged(&progress, 5, "old");
        progress.given_up("rsvps");
        progress.forget("rsvps");
        progress.taken("rsvps", &record(3, 0, "of the other"));
        settled(&progress, 9);
        assert_eq!(progress.due("rsvps"), None);
    }

    #[test]
    fn of_too_many_that_wait_the_newest_and_every_second_stay() {
        let progress = Progress::default();
        progress.share(&"rsvps".into());
        progress.taken("rsvps", &record(1, 0, "begun"));
        for end in 1..=LOGGED + 1 {
            logged(&progress, end, &end.to_string());
        }
        let waiting = progress.lock().sources["rsvps"].logged.clone();
        assert_eq!(waiting.len(), LOGGED / 2 + 1);
        assert!(waiting.iter().is_sorted_by(|a, b| a.0 < b.0));
        settled(&progress, LOGGED + 1);
        assert_eq!(progress.due("rsvps"), Some(record(1, 1, &(LOGGED + 1).to_string())));
    }
}
