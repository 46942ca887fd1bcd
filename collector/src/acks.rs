//! What became of requests that were acknowledged, as far as this collector knows.
//!
//! The id of an acknowledgement names the source, the instance of the log and a range of sequences:
//! `orders.3f2a9c0011223344.12-15`. In that range a source has only the messages of that one request; there may be messages
//! of other sources, which count as well. What is settled is known from the log, also after a restart. What was lost on the
//! way is remembered in memory, the newest [`LOST`] ranges, and so are dead letters, the newest [`DEAD_LETTERS`] of each source
//! that asks for them. So an answer says whether all of that is still known.

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
/// How many dead letters of a request are listed.
const LISTED: usize = 100;

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
    /// Those before may be forgotten.
    lost_since: Sequence,
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
    /// The first of those that are dead letters in Kafka: the value of their header `mr-seq`, and why.
    pub dead_letters: Vec<(String, Reason)>,
    /// Whether these are all, and it would be known if some of the messages were lost.
    pub is_complete: bool,
}

/// Where the messages of a request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All are on disk or in Kafka, and not all in Kafka.
    Logged,
    /// All are in Kafka, as far as is known.
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
        books.lost_since = since;
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
        let letters = books.dead_letters.get(source);
        let found = letters.into_iter().flat_map(|of| of.reasons.range(span.first..=span.last));
        let mut found = found.map(|(sequence, reason)| (format!("{instance}:{sequence}"), *reason));
        let dead_letters = found.by_ref().take(LISTED).collect();
        let is_listed = found.next().is_none();
        let is_known = books.lost_since.max(letters.map_or(books.end, |of| of.since)) <= span.first;
        Ok(Fate { state: books.state(span), dead_letters, is_complete: is_listed && is_known })
    }

    /// Waits until these messages are in Kafka or lost, and returns which.
    pub async fn settled(&self, span: Span) -> State {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.books().state(span) {
                State::Logged => {}
                state @ (State::InKafka | State::Lost) => return state,
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
        if let Some((_, last)) = books.lost.back_mut().filter(|(_, last)| *last == start) {
            *last = end;
            drop(books);
            self.0.changed.notify_waiters();
            return;
        }
        if books.lost.len() == LOST
            && let Some((_, forgotten)) = books.lost.pop_front()
        {
            books.lost_since = books.lost_since.max(forgotten);
        }
        books.lost.push_back((start, end));
        drop(books);
        self.0.changed.notify_waiters();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn state(&self, span: Span) -> State {
        // First, because what is lost is settled as well.
        if self.lost.iter().any(|&(from, to)| from <= span.last && span.first < to) {
            State::Lost
        } else if span.last < self.low && self.aside.range(span.first..=span.last).next().is_none()
        {
            State::InKafka
        } else {
            State::Logged
        }
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
        let (listed, is_complete) = fate("orders.17.100-1000");
        assert_eq!((listed.len(), is_complete), (LISTED, false));
    }

    #[test]
    fn an_answer_says_when_it_is_not_known_any_more_what_was_lost() {
        let is_complete = |acks: &Acks, id| acks.find("orders", id).unwrap().is_complete;
        let found = Recovered { settled: Ranges::below(sequence(6)), ..Recovered::default() };
        let found = Recovered { end: sequence(9), ..found };
        let acks = acks(&found);
        assert_eq!(state(&acks, "orders.17.3-5"), State::InKafka, "as far as the log says");
        assert!(!is_complete(&acks, "orders.17.3-5"), "some may have been lost before the start");
        assert!(is_complete(&acks, "orders.17.6-8"));
        acks.give("orders", span(9, 9_000));
        for number in 0..=LOST {
            acks.lost(sequence(100 + 2 * number), sequence(101 + 2 * number));
        }
        assert!(!is_complete(&acks, "orders.17.100-100"), "the first is forgotten");
        assert!(is_complete(&acks, "orders.17.101-101"));
        for number in 0..=LOST {
            acks.lost(sequence(5_000 + number), sequence(5_001 + number));
        }
        assert!(is_complete(&acks, "orders.17.103-103"), "those that follow each other are one");
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
            async move { acks.settled(span(1, 2)).await }
        });
        acks.put_aside(sequence(1));
        acks.settled_before(sequence(3));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        acks.taken_back(sequence(1));
        assert_eq!(waiting.await.unwrap(), State::InKafka);
    }

    #[tokio::test]
    async fn whoever_waits_for_kafka_is_told_when_a_message_is_lost() {
        for lose in [
            |acks: &Acks| {
                acks.put_aside(sequence(1));
                acks.settled_before(sequence(3));
                acks.lost(sequence(1), sequence(2));
                acks.taken_back(sequence(1));
            },
            |acks: &Acks| {
                acks.lost(sequence(1), sequence(3));
                acks.settled_before(sequence(3));
            },
        ] {
            let acks = acks(&Recovered::default());
            let waiting = tokio::spawn({
                let acks = acks.clone();
                async move { acks.settled(span(1, 2)).await }
            });
            tokio::task::yield_now().await;
            lose(&acks);
            assert_eq!(waiting.await.unwrap(), State::Lost);
        }
    }
}
