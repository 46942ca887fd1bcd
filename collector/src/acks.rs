//! What became of requests that were acknowledged, as far as this collector knows.
//!
//! The id of an acknowledgement names the source, the instance of the log and a range of sequences:
//! `orders.3f2a9c0011223344.12-15`. In that range a source has only the messages of that one request. What is delivered is
//! known from the log, also after a restart. Dead letters are remembered in memory, the newest [`DEAD_LETTERS`] of each
//! source that asks for them, so that an answer says whether its list is complete.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::Reason;
use common::message_log::{Recovered, Sequence};
use tokio::sync::Notify;

/// How many dead letters of a source are remembered.
const DEAD_LETTERS: usize = 16 * 1024;
/// How many ranges of lost entries are remembered. There is one only when a disk was damaged.
const LOST: usize = 1024;

/// The acknowledgements of all sources. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Acks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Books {
    instance: String,
    /// Everything before is in Kafka, or in `aside`.
    low: Sequence,
    aside: BTreeSet<Sequence>,
    /// No acknowledgement was given for what is from here on.
    end: Sequence,
    dead_letters: HashMap<Arc<str>, DeadLetters>,
    /// Ranges, without their ends, that could not be read or were evicted.
    lost: VecDeque<(Sequence, Sequence)>,
}

/// The dead letters of a source.
#[derive(Debug, Default)]
struct DeadLetters {
    reasons: BTreeMap<Sequence, Reason>,
    /// Those before may be forgotten.
    since: Sequence,
}

/// A dead letter: why it is one, and the source of its message.
pub type DeadLetter = (Reason, Arc<str>);

/// The messages of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Where its messages are.
    pub state: State,
    /// Those of them that are dead letters in Kafka: the value of their header `mr-seq`, and why.
    pub dead_letters: Vec<(String, Reason)>,
    /// Whether none of those is forgotten.
    pub is_complete: bool,
}

/// Where the messages of a request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All are on disk or in Kafka, and not all in Kafka.
    Logged,
    /// All are in Kafka.
    InKafka,
    /// Some may be among what a damaged disk has lost, or what was evicted.
    Lost,
}

/// Why it is not known what became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The text is not the id of an acknowledgement.
    #[error("this is not an id that a collector gives with a 202")]
    Malformed,
    /// Another collector gave it, or this one before its log was replaced.
    #[error(
        "another collector gave this id, or this one with a log that it has no more; only the one that gave it knows what \
         became of it"
    )]
    Foreign,
    /// Another source gave it.
    #[error(
        "another source of this collector gave this id; ask at the address where the events were sent to"
    )]
    OtherSource,
    /// Nobody gave it.
    #[error("this collector has not acknowledged so many events")]
    NotGiven,
}

impl Acks {
    /// Begins with what the log `instance` holds.
    pub fn begin(&self, instance: &str, found: &Recovered) {
        let mut books = self.books();
        instance.clone_into(&mut books.instance);
        books.low = found.settled.low();
        books.aside = found.deferred.iter().chain(&found.failed).copied().collect();
        books.end = found.end;
        let since = found.settled.high();
        for letters in books.dead_letters.values_mut() {
            letters.since = since;
        }
    }

    /// Remembers the dead letters of this source from now on.
    pub fn follow(&self, source: &Arc<str>) {
        let mut books = self.books();
        let since = books.end;
        let letters = DeadLetters { since, ..DeadLetters::default() };
        books.dead_letters.insert(Arc::clone(source), letters);
    }

    /// The id for a request whose messages are safe.
    pub fn give(&self, source: &str, span: Span) -> String {
        let mut books = self.books();
        books.end = books.end.max(span.last.next());
        format!("{source}.{}.{span}", books.instance)
    }

    /// What became of the request with this id.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn find(&self, source: &str, id: &str) -> Result<Fate, Unknown> {
        let mut parts = id.split('.');
        let (Some(of), Some(instance), Some(span), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Unknown::Malformed);
        };
        let span = Span::parse(span).ok_or(Unknown::Malformed)?;
        let books = self.books();
        if instance != books.instance {
            return Err(Unknown::Foreign);
        }
        if of != source {
            return Err(Unknown::OtherSource);
        }
        if span.last >= books.end {
            return Err(Unknown::NotGiven);
        }
        let state = if books.lost.iter().any(|&(from, to)| from <= span.last && span.first < to) {
            State::Lost
        } else if books.has_delivered(span) {
            State::InKafka
        } else {
            State::Logged
        };
        let letters = books.dead_letters.get(source);
        let found = letters.into_iter().flat_map(|of| of.reasons.range(span.first..=span.last));
        Ok(Fate {
            state,
            dead_letters: found
                .map(|(sequence, reason)| (format!("{instance}:{sequence}"), *reason))
                .collect(),
            is_complete: letters.is_some_and(|of| of.since <= span.first),
        })
    }

    /// Resolves when all of these messages are in Kafka.
    pub async fn delivered(&self, span: Span) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.books().has_delivered(span) {
                return;
            }
            changed.await;
        }
    }

    /// Everything before `low` is settled.
    pub(crate) fn settled_before(&self, low: Sequence) {
        let mut books = self.books();
        if books.low < low {
            books.low = low;
            drop(books);
            self.0.changed.notify_waiters();
        }
    }

    /// This entry waits for Kafka outside of the groups.
    pub(crate) fn put_aside(&self, sequence: Sequence) {
        self.books().aside.insert(sequence);
    }

    /// This entry does so no more.
    pub(crate) fn taken_back(&self, sequence: Sequence) {
        if self.books().aside.remove(&sequence) {
            self.0.changed.notify_waiters();
        }
    }

    /// This entry is a dead letter in Kafka.
    pub(crate) fn dead_letter(&self, sequence: Sequence, (reason, source): &DeadLetter) {
        let mut books = self.books();
        let Some(letters) = books.dead_letters.get_mut(source) else { return };
        letters.reasons.insert(sequence, *reason);
        if letters.reasons.len() > DEAD_LETTERS
            && let Some((forgotten, _)) = letters.reasons.pop_first()
        {
            letters.since = letters.since.max(forgotten.next());
        }
    }

    /// The entries from `start` up to `end` are lost.
    pub(crate) fn lost(&self, start: Sequence, end: Sequence) {
        let mut books = self.books();
        if books.lost.len() == LOST {
            books.lost.pop_front();
        }
        books.lost.push_back((start, end));
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn has_delivered(&self, span: Span) -> bool {
        span.last < self.low && self.aside.range(span.first..=span.last).next().is_none()
    }
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let span = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        // So that each range has one text.
        (span.first <= span.last && span.to_string() == text).then_some(span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use common::message_log::Ranges;

    use super::*;

    fn sequence(number: usize) -> Sequence {
        Sequence::from_opaque(number)
    }

    fn span(first: usize, last: usize) -> Span {
        Span { first: sequence(first), last: sequence(last) }
    }

    fn acks(found: &Recovered) -> Acks {
        let acks = Acks::default();
        acks.follow(&"orders".into());
        acks.begin("17", found);
        acks
    }

    fn state(acks: &Acks, id: &str) -> State {
        acks.find("orders", id).unwrap().state
    }

    #[test]
    fn a_request_is_logged_until_all_of_it_is_in_kafka() {
        let acks = acks(&Recovered::default());
        let id = acks.give("orders", span(3, 5));
        assert_eq!(id, "orders.17.3-5");
        acks.settled_before(sequence(5));
        assert_eq!(state(&acks, &id), State::Logged);
        acks.put_aside(sequence(4));
        acks.settled_before(sequence(6));
        assert_eq!(state(&acks, &id), State::Logged, "one is stuck");
        acks.taken_back(sequence(4));
        assert_eq!(state(&acks, &id), State::InKafka);
        acks.lost(sequence(5), sequence(9));
        assert_eq!(state(&acks, &id), State::Lost);
    }

    #[test]
    fn a_request_has_the_dead_letters_of_its_source_and_says_whether_some_are_forgotten() {
        let found = Recovered { settled: Ranges::below(sequence(2)), ..Recovered::default() };
        let acks = acks(&found);
        acks.give("orders", span(0, 40_000));
        let letter = |number, source: &str| {
            acks.dead_letter(sequence(number), &(Reason::MissingId, source.into()));
        };
        letter(4, "orders");
        letter(5, "other");
        letter(6, "orders");
        let fate = |text| {
            let fate = acks.find("orders", text).unwrap();
            (fate.dead_letters, fate.is_complete)
        };
        let dead = |number: usize| (format!("17:{number}"), Reason::MissingId);
        assert_eq!(fate("orders.17.4-5"), (vec![dead(4)], true));
        assert_eq!(fate("orders.17.0-9"), (vec![dead(4), dead(6)], false), "before the start");
        for number in 0..DEAD_LETTERS {
            letter(100 + number, "orders");
        }
        assert_eq!(fate("orders.17.4-5"), (vec![], false));
        assert_eq!(fate("orders.17.7-100"), (vec![dead(100)], true));
    }

    #[test]
    fn an_id_that_nobody_gave_is_not_known() {
        let acks = acks(&Recovered::default());
        acks.give("orders", span(3, 5));
        for (id, unknown) in [
            ("", Unknown::Malformed),
            ("orders.17", Unknown::Malformed),
            ("orders.17.3-5.6", Unknown::Malformed),
            ("orders.17.5-3", Unknown::Malformed),
            ("orders.17.+3-5", Unknown::Malformed),
            ("orders.17.3-99999999999999999999", Unknown::Malformed),
            ("orders.18.3-5", Unknown::Foreign),
            ("other.17.3-5", Unknown::OtherSource),
            ("orders.17.3-6", Unknown::NotGiven),
        ] {
            assert_eq!(acks.find("orders", id), Err(unknown), "{id}");
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_kafka_is_told_when_the_last_message_is_there() {
        let acks = acks(&Recovered::default());
        let waiting = tokio::spawn({
            let acks = acks.clone();
            async move { acks.delivered(span(1, 2)).await }
        });
        acks.put_aside(sequence(1));
        acks.settled_before(sequence(3));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        acks.taken_back(sequence(1));
        waiting.await.unwrap();
    }
}
