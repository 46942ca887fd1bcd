//! What another collector answers equals what the one answers that has acknowledged.

use proptest::prelude::*;

use super::*;

/// How many entries there are at most.
const ENTRIES: usize = 24;
const SOURCES: [&str; 2] = ["orders", "returns"];

#[derive(Debug, Clone)]
enum Event {
    /// Everything before is settled, unless it is aside.
    Settle(usize),
    PutAside(usize),
    TakeBack(usize),
    DeadLetter(usize, Reason),
    Lose(usize, usize),
    /// Kafka has this many records of a round, and the collector is told whether that is all.
    Publish(Option<usize>),
}

fn event() -> impl Strategy<Value = Event> {
    let entry = 0..ENTRIES;
    let reason = prop::sample::select(Reason::ALL.to_vec());
    let length = 1..4_usize;
    prop_oneof![
        3 => entry.clone().prop_map(Event::Settle),
        2 => entry.clone().prop_map(Event::PutAside),
        2 => entry.clone().prop_map(Event::TakeBack),
        3 => (entry.clone(), reason).prop_map(|(entry, reason)| Event::DeadLetter(entry, reason)),
        2 => (entry, length).prop_map(|(entry, length)| Event::Lose(entry, entry + length)),
        2 => prop::option::of(0..4_usize).prop_map(Event::Publish),
    ]
}

/// The topic: keys and values, in their order.
#[derive(Default)]
struct Topic(Vec<(String, String)>);

impl Topic {
    /// Writes what is to be told, or its first records only, and tells each of the readers.
    fn publish(&mut self, acks: &Acks, first: Option<usize>, reader: &Acks) {
        let Some(round) = acks.begin_round(Instant::now()) else { return };
        let notes = round.notes.iter().cloned().map(Record::Note);
        let records = notes.chain([Record::Watermark(round.watermark.clone())]);
        let written: Vec<_> = records.take(first.unwrap_or(usize::MAX)).collect();
        acks.end_round(round, first.is_none());
        for record in written {
            let (key, value) = record.encode(&acks.instance());
            tell(reader, &key, &value);
            self.0.push((key, value));
        }
    }

    /// What a reader knows that begins now, when Kafka has compacted the topic.
    fn read(&self) -> Acks {
        let reader = Acks::default();
        reader.others().current(true);
        for (at, (key, value)) in self.0.iter().enumerate() {
            if self.0[at + 1..].iter().all(|(later, _)| later != key) {
                tell(&reader, key, value);
            }
        }
        reader
    }
}

fn tell(reader: &Acks, key: &str, value: &str) {
    let (instance, record) = Record::decode(key.as_bytes(), value.as_bytes()).unwrap();
    reader.heard(instance, &record, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_the_same_whoever_gives_it(
        before in 0..4_usize, events in prop::collection::vec(event(), 0..40),
    ) {
        let start = sequence(before);
        let found = Recovered { settled: Ranges::below(start), end: start, ..Recovered::default() };
        let acks = Acks::default();
        for source in SOURCES {
            acks.follow(&source.into());
        }
        acks.begin("17", &found);
        acks.give("orders", span(before, before + ENTRIES));
        let (mut topic, reader) = (Topic::default(), Acks::default());
        reader.others().current(true);
        for event in events {
            let entry = |number: usize| sequence(before + number);
            match event {
                Event::Settle(low) => acks.settled_before(entry(low)),
                Event::PutAside(number) => acks.put_aside(entry(number)),
                Event::TakeBack(number) => acks.taken_back(entry(number)),
                Event::DeadLetter(number, reason) => {
                    let source = SOURCES[number % SOURCES.len()].into();
                    acks.dead_letter(entry(number), &(reason, source));
                }
                Event::Lose(start, end) => acks.lost(entry(start), entry(end)),
                Event::Publish(first) => topic.publish(&acks, first, &reader),
            }
        }
        topic.publish(&acks, None, &reader);
        let late = topic.read();
        for source in SOURCES {
            for first in 0..before + ENTRIES {
                for last in first..before + ENTRIES {
                    let id = format!("{source}.17.{first}-{last}");
                    let own = acks.find(source, &id).unwrap();
                    for other in [&reader, &late] {
                        let fate = other.find(source, &id).unwrap();
                        prop_assert_eq!(fate.as_of_ms, Some(1));
                        prop_assert_eq!(&Fate { as_of_ms: None, ..fate }, &own, "{}", id);
                    }
                }
            }
        }
    }
}
