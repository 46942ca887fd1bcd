//! Where a source resumes, and how far the sources have come that several collectors share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

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

/// How far the sources that are leased have come. The journal, the delivery and the leases share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sources: Mutex<BTreeMap<Arc<str>, Source>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Source {
    /// The newest cursor that is logged, that Kafka has everything before, and that is published.
    logged: Option<Cursor>,
    covered: Option<Cursor>,
    published: Option<Cursor>,
    /// What the records say, unless the source is not taken over.
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
    pub(crate) fn follow(&self, source: &Arc<str>) {
        self.lock().entry(Arc::clone(source)).or_default();
    }

    /// Whether the cursors of this source are published.
    pub fn is_followed(&self, source: &str) -> bool {
        self.lock().contains_key(source)
    }

    /// The journal has written what the cursor covers.
    pub fn logged(&self, source: &str, cursor: &Cursor) {
        if let Some(source) = self.lock().get_mut(source) {
            source.logged = Some(cursor.clone());
        }
    }

    /// Kafka has everything that the cursor covers.
    pub fn covered(&self, source: &str, cursor: &Cursor) {
        if let Some(source) = self.lock().get_mut(source) {
            source.covered = Some(cursor.clone());
        }
        self.0.changed.notify_waiters();
    }

    /// The source was taken over, and this was published of it.
    pub(crate) fn taken(&self, source: &str, record: &Record) {
        let Record { takeover, number, ref feed, ref cursor } = *record;
        if let Some(source) = self.lock().get_mut(source) {
            source.published = Some(cursor.clone());
            source.held = Some(Held { takeover, number, feed: feed.clone() });
        }
    }

    /// The source was given up.
    pub(crate) fn given_up(&self, source: &str) {
        if let Some(source) = self.lock().get_mut(source) {
            *source = Source::default();
        }
    }

    /// The records that are to be published now.
    pub(crate) fn due(&self) -> Vec<(Arc<str>, Record)> {
        let mut due = Vec::new();
        for (name, source) in &mut *self.lock() {
            let (Some(held), Some(covered)) = (&mut source.held, &source.covered) else { continue };
            if source.published.as_ref() != Some(covered) {
                held.number += 1;
                let Held { takeover, number, ref feed } = *held;
                let record =
                    Record { takeover, number, feed: feed.clone(), cursor: covered.clone() };
                due.push((Arc::clone(name), record));
            }
        }
        due
    }

    /// This record was published.
    pub(crate) fn published(&self, source: &str, record: &Record) {
        if let Some(source) = self.lock().get_mut(source)
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
            let is_settled = self.lock().get(source).is_none_or(|source| {
                source.held.is_none()
                    || source.logged.is_none()
                    || source.logged == source.covered && source.covered == source.published
            });
            if is_settled {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Source>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_cursor_is_published_once_when_kafka_has_what_it_covers_and_only_by_who_has_the_source() {
        let progress = Progress::default();
        progress.follow(&"rsvps".into());
        progress.covered("unknown", &cursor("a"));
        progress.taken("rsvps", &record(3, 0, "begun"));
        assert!(progress.settled("rsvps").now_or_never().is_some(), "nothing came yet");
        progress.logged("rsvps", &cursor("b"));
        assert_eq!(progress.due(), []);
        assert!(progress.settled("rsvps").now_or_never().is_none(), "it is not in kafka");
        progress.covered("rsvps", &cursor("b"));
        let due = progress.due();
        assert_eq!(due, [("rsvps".into(), record(3, 1, "b"))]);
        assert!(progress.settled("rsvps").now_or_never().is_none(), "it is not published");
        progress.published("rsvps", &due[0].1);
        assert!(progress.settled("rsvps").now_or_never().is_some());
        assert_eq!(progress.due(), []);
        progress.given_up("rsvps");
        progress.covered("rsvps", &cursor("c"));
        assert_eq!(progress.due(), []);
        // One that was followed before it was taken over.
        progress.taken("rsvps", &record(5, 0, "begun"));
        assert_eq!(progress.due(), [("rsvps".into(), record(5, 1, "c"))]);
    }
}
