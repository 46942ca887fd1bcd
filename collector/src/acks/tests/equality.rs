//! What another collector answers equals what the one answers that has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Events name one of so many places in the log.
const PLACES: usize = 24;
const SOURCES: [&str; 2] = ["orders", "returns"];
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: i64 = 3_600_000;
/// How many hours the topic keeps a record.
const KEPT: i64 = 52;

#[derive(Debug, Clone)]
enum Event {
    /// So many further entries are acknowledged.
    Give(usize),
    /// Everything before is settled, unless it is aside.
    Settle(usize),
    PutAside(usize),
    TakeBack(usize),
    DeadLetter(usize, Reason),
    Lose(usize, usize),
    /// Kafka has this many records of a round, and the collector is told whether that is all.
    Publish(Option<usize>),
    /// The collector is killed, and starts again; its log does not know that the last so many are settled.
    Restart(usize),
    /// So many hours pass.
    Pass(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let place = 0..PLACES;
    let reason = prop::sample::select(Reason::ALL.to_vec());
    prop_oneof![
        2 => (1..6_usize).prop_map(Event::Give),
        3 => place.clone().prop_map(Event::Settle),
        2 => place.clone().prop_map(Event::PutAside),
        2 => place.clone().prop_map(Event::TakeBack),
        4 => (place.clone(), reason).prop_map(|(place, reason)| Event::DeadLetter(place, reason)),
        2 => (place, 1..4_usize).prop_map(|(place, length)| Event::Lose(place, length)),
        3 => prop::option::of(0..4_usize).prop_map(Event::Publish),
        1 => (0..3_usize).prop_map(Event::Restart),
        1 => (1..30_u32).prop_map(Event::Pass),
    ]
}

/// A collector, the topic, and a collector that reads along.
struct Model {
    acks: Acks,
    start: Instant,
    /// Hours since the start.
    now: u32,
    /// What the log has.
    low: usize,
    aside: BTreeSet<usize>,
    end: usize,
    /// All that ever happened: the reasons of dead letters, the last one last, and lost entries.
    letters: BTreeMap<usize, Vec<Reason>>,
    lost: BTreeSet<usize>,
    /// Hours, keys and values, in their order.
    topic: Vec<(u32, String, String)>,
    reader: Acks,
}

impl Model {
    /// A collector that has settled so many entries before, and given some that wait for Kafka.
    fn new(settled: usize, pending: usize) -> Self {
        let mut model = Self {
            acks: Acks::default(),
            start: Instant::now(),
            now: 0,
            low: settled,
            aside: BTreeSet::new(),
            end: settled + pending,
            letters: BTreeMap::new(),
            lost: BTreeSet::new(),
            topic: Vec::new(),
            reader: Acks::default(),
        };
        model.reader.others().current(true);
        model.begin();
        model.give(4);
        model
    }

    /// Starts with what the log has. Sequences between two starts are never given out, and settled.
    fn begin(&mut self) {
        let mut settled = Ranges::below(sequence(self.low));
        settled.insert(sequence(self.end), sequence(self.end + 2));
        self.end += 2;
        let deferred = self.aside.iter().map(|&number| sequence(number)).collect();
        let end = sequence(self.end);
        self.acks = Acks::default();
        for source in SOURCES {
            self.acks.follow(&source.into());
        }
        self.acks.begin("17", &Recovered { settled, end, deferred, ..Recovered::default() });
    }

    fn give(&mut self, count: usize) {
        self.acks.give("orders", span(self.end, self.end + count - 1));
        self.end += count;
    }

    fn take(&mut self, event: Event) {
        let place = |place: usize| place * self.end / PLACES;
        match event {
            Event::Give(count) => self.give(count),
            Event::Settle(low) => {
                self.low = self.low.max(place(low));
                self.acks.settled_before(sequence(self.low));
            }
            Event::PutAside(number) => {
                let number = place(number);
                self.acks.put_aside(sequence(number));
                self.aside.insert(number);
            }
            Event::TakeBack(number) => {
                let number = place(number);
                self.acks.taken_back(sequence(number));
                self.aside.remove(&number);
            }
            Event::DeadLetter(number, reason) => {
                let number = place(number);
                self.acks.dead_letter(sequence(number), &(reason, source_of(number).into()));
                self.letters.entry(number).or_default().push(reason);
            }
            Event::Lose(number, length) => {
                let start = place(number);
                let end = self.end.min(start + length);
                self.acks.lost(sequence(start), sequence(end));
                self.lost.extend(start..end);
            }
            Event::Publish(first) => self.publish(first),
            Event::Restart(forgotten) => {
                self.low = self.low.saturating_sub(forgotten);
                self.begin();
            }
            Event::Pass(hours) => {
                for _ in 0..hours {
                    self.now += 1;
                    self.acks.pass(self.start + self.now * HOUR);
                }
            }
        }
    }

    /// Writes what is to be told, or its first records only, and tells the reader.
    fn publish(&mut self, first: Option<usize>) {
        let Some(round) = self.acks.begin_round(self.start + self.now * HOUR) else { return };
        let notes = round.notes.iter().cloned().map(Record::Note);
        let records = notes.chain([Record::Watermark(round.watermark.clone())]);
        let written: Vec<_> = records.take(first.unwrap_or(usize::MAX)).collect();
        self.acks.end_round(round, first.is_none());
        for record in written {
            let (key, value) = record.encode(&self.acks.instance());
            tell(&self.reader, self.now, &key, &value);
            self.topic.push((self.now, key, value));
        }
    }

    /// What a reader knows that begins now, when Kafka has compacted the topic, and deleted what is older than this.
    fn read(&self, kept: i64) -> Acks {
        let reader = Acks::default();
        reader.others().current(true);
        for (at, (hour, key, value)) in self.topic.iter().enumerate() {
            let is_newest = self.topic[at + 1..].iter().all(|(_, later, _)| later != key);
            if is_newest && i64::from(self.now - hour) <= kept {
                tell(&reader, *hour, key, value);
            }
        }
        reader
    }

    /// Of the sources' entries in this span: the dead letters, whether these are the last reasons of all, and whether some
    /// entries are lost.
    fn truth(&self, source: &str, range: std::ops::RangeInclusive<usize>) -> Truth<'_> {
        let letters = self.letters.range(range.clone());
        let letters = letters.filter(|(number, _)| source_of(**number) == source);
        Truth {
            letters: letters
                .map(|(number, reasons)| (format!("17:{number}"), &reasons[..]))
                .collect(),
            is_lost: self.lost.range(range).next().is_some(),
        }
    }
}

/// What became of some entries.
struct Truth<'m> {
    letters: BTreeMap<String, &'m [Reason]>,
    is_lost: bool,
}

impl Truth<'_> {
    fn holds_for(&self, fate: &Fate) -> bool {
        let is_true = |(id, reason): &(String, Reason)| {
            self.letters.get(id).is_some_and(|reasons| reasons.contains(reason))
        };
        let is_complete = || {
            let letters = self.letters.iter();
            let last = letters.filter_map(|(id, reasons)| Some((id.clone(), *reasons.last()?)));
            last.collect::<BTreeSet<_>>() == fate.dead_letters.iter().cloned().collect()
                && self.is_lost == (fate.state == State::Lost)
        };
        fate.dead_letters.iter().all(is_true)
            && (self.is_lost || fate.state != State::Lost)
            && (!fate.is_complete || is_complete())
    }
}

fn source_of(number: usize) -> &'static str {
    SOURCES[number % SOURCES.len()]
}

fn tell(reader: &Acks, hour: u32, key: &str, value: &str) {
    let (instance, record) = Record::decode(key.as_bytes(), value.as_bytes()).unwrap();
    reader.heard(instance, &record, i64::from(hour) * HOUR_MS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_the_same_whoever_gives_it(
        settled in 0..4_usize, pending in 0..6_usize, events in prop::collection::vec(event(), 0..40),
    ) {
        let mut model = Model::new(settled, pending);
        for event in events {
            model.take(event);
        }
        model.publish(None);
        let late = [model.read(KEPT), model.read(i64::MAX)];
        for (first, source) in (0..model.end).flat_map(|first| SOURCES.map(|source| (first, source))) {
            for last in first..model.end.min(first + 8) {
                let id = format!("{source}.17.{first}-{last}");
                let truth = model.truth(source, first..=last);
                let own = model.acks.find(source, &id).unwrap();
                prop_assert!(truth.holds_for(&own), "{} {:?}", id, own);
                for other in late.iter().chain([&model.reader]) {
                    let fate = other.find(source, &id).unwrap();
                    prop_assert!(fate.as_of_ms.is_some());
                    let fate = Fate { as_of_ms: None, ..fate };
                    prop_assert!(truth.holds_for(&fate), "{} {:?}", id, fate);
                    // A day after, and from before a start, others know what the own memory has not, and the other way round.
                    prop_assert!(fate.is_complete || !own.is_complete || model.now >= 24, "{}", id);
                    prop_assert!(fate.state == own.state || fate.state == State::Lost || own.state == State::Lost && model.now >= 24);
                    if fate.is_complete {
                        prop_assert_eq!(&fate, &own, "{}", id);
                    }
                    if model.now < 24 {
                        let is_listed = |letter| fate.dead_letters.contains(letter);
                        prop_assert!(own.dead_letters.iter().all(is_listed), "{}", id);
                    }
                }
            }
        }
    }
}
