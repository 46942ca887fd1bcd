use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const PARTITIONS: u64 = 3;
/// How many records the producer takes at once.
const ROOM: usize = 12;
/// How many records of a partition are on their way to the broker and cannot be taken back.
const ON_THE_WAY: usize = 2;

fn at(number: u64) -> Sequence {
    Sequence::from_opaque(usize::try_from(number).unwrap())
}

fn number(sequence: Sequence) -> u64 {
    sequence.since(Sequence::ZERO)
}

fn empty(after_sync: bool) -> Outbox {
    Outbox::new(&Recovered::default(), after_sync)
}

/// Sends what is due, and returns its numbers.
fn send(outbox: &mut Outbox, now_ms: u64) -> Vec<u64> {
    let mut sent = Vec::new();
    while let Some(due) = outbox.due() {
        outbox.sent(due, now_ms);
        sent.push(number(due.sequence));
    }
    sent
}

#[test]
fn a_backlog_is_a_position() {
    let mut outbox = empty(false);
    outbox.arrived(at(1 << 40));
    for _ in 0..10 {
        let due = outbox.due().unwrap();
        outbox.sent(due, 0);
    }
    assert_eq!((outbox.in_flight.len(), outbox.pending()), (10, 1 << 40));
}

#[test]
fn with_pessimism_nothing_is_sent_that_is_not_on_disk() {
    let mut outbox = empty(true);
    outbox.arrived(at(4));
    assert_eq!(send(&mut outbox, 0), Vec::<u64>::new());
    outbox.synced(at(3));
    assert_eq!(send(&mut outbox, 0), [0, 1, 2]);
    outbox.synced(at(9));
    assert_eq!(send(&mut outbox, 0), [3], "there is no more");
}

#[test]
fn after_a_refusal_all_is_sent_again_in_order_and_the_suspect_alone() {
    let mut outbox = empty(false);
    outbox.arrived(at(5));
    assert_eq!(send(&mut outbox, 0), [0, 1, 2, 3, 4]);
    outbox.delivered(at(0));
    assert_eq!(outbox.refused(at(2), true), Verdict::Again);
    outbox.arrived(at(6));
    assert_eq!(outbox.due(), None, "the others are awaited");
    outbox.delivered(at(3));
    outbox.returned(at(1));
    outbox.returned(at(4));
    assert_eq!(send(&mut outbox, 0), [1], "2 is a suspect and waits for it");
    outbox.delivered(at(1));
    assert_eq!(send(&mut outbox, 0), [2], "alone");
    assert_eq!(outbox.refused(at(2), true), Verdict::Condemned);
    outbox.condemned(at(2), false);
    assert_eq!(send(&mut outbox, 0), [2, 4, 5], "its dead letter, then what is not settled");
    assert_eq!((outbox.pending(), outbox.failures()), (2, 1));
    assert_eq!(outbox.delivered(at(2)), Some(Place::Aside(Family::Failed)));
}

#[test]
fn an_unknown_answer_condemns_only_when_it_comes_three_times_alone() {
    let mut outbox = empty(false);
    outbox.arrived(at(1));
    let mut verdicts = Vec::new();
    for _ in 0..4 {
        assert_eq!(send(&mut outbox, 0), [0]);
        verdicts.push(outbox.refused(at(0), false));
    }
    assert_eq!(verdicts, [[Verdict::Again; 3].as_slice(), &[Verdict::Condemned]].concat());
}

#[test]
fn a_dead_letter_that_is_refused_is_kept_and_not_sent_again() {
    let mut outbox = empty(false);
    outbox.arrived(at(2));
    outbox.condemned(at(0), true);
    assert_eq!(send(&mut outbox, 0), [1]);
    outbox.delivered(at(1));
    assert!(outbox.is_done());
    outbox.rewind();
    assert_eq!((send(&mut outbox, 0), outbox.failures()), (vec![], 1));
    let found = Recovered {
        failed: vec![at(0)],
        settled: Ranges::below(at(2)),
        end: at(2),
        ..Recovered::default()
    };
    assert_eq!(send(&mut Outbox::new(&found, false), 0), [0], "at the next start it is");
}

#[test]
fn what_keeps_others_in_the_log_for_long_is_set_apart_and_stays_in_order() {
    let mut outbox = empty(false);
    outbox.arrived(at(4));
    assert_eq!(send(&mut outbox, 100), [0, 1, 2, 3]);
    assert_eq!(outbox.stuck(100).count(), 0, "nothing behind it is delivered");
    outbox.delivered(at(1));
    outbox.delivered(at(2));
    assert_eq!(outbox.stuck(99).count(), 0, "not yet");
    assert_eq!(outbox.stuck(100).collect::<Vec<_>>(), [at(0)], "3 keeps nothing");
    outbox.deferred(at(0));
    assert_eq!(outbox.settled().low(), at(3), "the groups can go");
    assert_eq!((outbox.pending(), outbox.stuck(100).count()), (2, 0));
    outbox.rewind();
    assert_eq!(send(&mut outbox, 0), [0, 3], "it comes first again");
    assert_eq!(outbox.delivered(at(0)), Some(Place::Aside(Family::Deferred)));
    assert_eq!(outbox.delivered(at(3)), Some(Place::Group));
    assert!(outbox.is_done());
}

#[test]
fn nothing_is_set_apart_after_a_refusal_because_it_would_come_before_what_was_refused() {
    let mut outbox = empty(false);
    outbox.arrived(at(4));
    assert_eq!(send(&mut outbox, 100), [0, 1, 2, 3]);
    outbox.delivered(at(3));
    assert_eq!(outbox.refused(at(0), true), Verdict::Again);
    assert_eq!(outbox.stuck(100).count(), 0, "1 and 2 come after 0");
    outbox.returned(at(1));
    outbox.returned(at(2));
    assert_eq!(send(&mut outbox, 200), [0], "alone");
    outbox.delivered(at(0));
    assert_eq!(send(&mut outbox, 200), [1, 2]);
    assert_eq!(outbox.stuck(200).collect::<Vec<_>>(), [at(1), at(2)], "now they may be");
}

#[test]
fn only_what_was_sent_may_be_in_kafka() {
    let mut outbox = empty(false);
    outbox.arrived(at(3));
    assert!(outbox.unknown().is_none());
    let due = outbox.due().unwrap();
    outbox.sent(due, 0);
    outbox.rewind();
    let unknown = outbox.unknown().unwrap();
    assert_eq!((unknown.holds(at(0)), unknown.holds(at(1))), (true, false));
    outbox.delivered(at(0));
    assert!(outbox.unknown().is_none());
}

#[test]
fn what_cannot_be_read_is_told_once_and_not_sent() {
    let mut outbox = empty(false);
    outbox.arrived(at(5));
    assert_eq!((outbox.lost(at(1), at(3)), outbox.lost(at(0), at(3))), (2, 1));
    assert_eq!((send(&mut outbox, 0), outbox.pending()), (vec![3, 4], 2));
}

/// Kafka with a producer: a queue for each partition, whose head is answered for.
#[derive(Default)]
struct Broker {
    queues: BTreeMap<u64, VecDeque<u64>>,
    /// What each partition holds, in order, and the dead letters.
    partitions: BTreeMap<u64, Vec<u64>>,
    dead_letters: Vec<u64>,
    /// The partitions in which a batch was refused: what comes behind it is refused for its place, and is in the
    /// producer's queue again, until that is taken back.
    out_of_order: BTreeSet<u64>,
    /// Whether something was taken back since nothing was in flight.
    taken_back: bool,
}

impl Broker {
    fn room(&self) -> usize {
        ROOM - self.queues.values().map(VecDeque::len).sum::<usize>()
    }
}

/// A collector with a log that crashes do not change.
struct World {
    outbox: Outbox,
    /// What the log says is settled.
    recorded: Ranges,
    deferred: BTreeSet<u64>,
    failed: BTreeSet<u64>,
    broker: Broker,
    poison: BTreeSet<u64>,
    arrived: u64,
    now_ms: u64,
    /// Times that an entry was sent, and that something gave a reason to send it again.
    sent: BTreeMap<u64, usize>,
    excuses: usize,
}

impl World {
    fn new(poison: BTreeSet<u64>) -> Self {
        Self {
            outbox: empty(false),
            recorded: Ranges::default(),
            deferred: BTreeSet::new(),
            failed: BTreeSet::new(),
            broker: Broker::default(),
            poison,
            arrived: 0,
            now_ms: 0,
            sent: BTreeMap::new(),
            excuses: 0,
        }
    }

    fn record(&mut self) {
        self.recorded = self.outbox.settled().clone();
    }

    fn partition(&self, number: u64, place: Place) -> u64 {
        if place == Place::Aside(Family::Failed) { PARTITIONS } else { number % PARTITIONS }
    }

    fn send(&mut self) {
        while self.broker.room() > 0 {
            let Some(due) = self.outbox.due() else { return };
            let number = number(due.sequence);
            if due.place == Place::Group {
                assert!(number < self.arrived);
                assert!(!self.deferred.contains(&number) && !self.failed.contains(&number));
            }
            self.now_ms += 1;
            self.outbox.sent(due, self.now_ms);
            *self.sent.entry(number).or_default() += 1;
            let partition = self.partition(number, due.place);
            self.broker.queues.entry(partition).or_default().push_back(number);
            assert!(self.outbox.in_flight.len() <= ROOM, "memory is bounded by what is in flight");
        }
    }

    /// A partition answers for its first records as one batch.
    fn answer(&mut self, partition: u64, records: usize) {
        let queue = self.broker.queues.entry(partition).or_default();
        let records = records.min(queue.len());
        let batch: Vec<u64> = queue.drain(..records).collect();
        if self.broker.out_of_order.contains(&partition) {
            for number in batch {
                self.outbox.returned(at(number));
            }
            self.broker.taken_back = true;
            self.end_drain();
            return;
        }
        if partition < PARTITIONS && batch.iter().any(|number| self.poison.contains(number)) {
            self.excuses += 1;
            for number in &batch {
                if self.outbox.refused(at(*number), true) == Verdict::Condemned {
                    assert!(
                        self.poison.contains(number) && batch.len() == 1,
                        "{number} of {batch:?}"
                    );
                    self.deferred.remove(number);
                    self.failed.insert(*number);
                    self.outbox.condemned(at(*number), false);
                    self.record();
                }
            }
            if self.outbox.is_draining() {
                self.broker.out_of_order.insert(partition);
                self.take_back();
            }
            self.end_drain();
            return;
        }
        for number in batch {
            self.append(partition, number);
            self.acknowledge(number);
        }
        self.end_drain();
    }

    fn append(&mut self, partition: u64, number: u64) {
        if partition == PARTITIONS {
            self.broker.dead_letters.push(number);
        } else {
            self.broker.partitions.entry(partition).or_default().push(number);
        }
    }

    fn acknowledge(&mut self, number: u64) {
        if let Some(Place::Aside(_)) = self.outbox.delivered(at(number)) {
            self.deferred.remove(&number);
            self.failed.remove(&number);
        }
    }

    /// The producer gives back what is not on its way. The connection to the leader of every other partition was broken:
    /// of what it gives back there, the first record has arrived, unless a refused batch was in front of it.
    fn take_back(&mut self) {
        let mut queues = std::mem::take(&mut self.broker.queues);
        for (partition, queue) in &mut queues {
            let is_refused = self.broker.out_of_order.contains(partition);
            let is_connected = is_refused || *partition % 2 == 1;
            let on_the_way = if is_connected { ON_THE_WAY.min(queue.len()) } else { 0 };
            let returned = queue.split_off(on_the_way);
            let is_poison = |number: &u64| *partition < PARTITIONS && self.poison.contains(number);
            let arrived = returned.front().filter(|first| !is_connected && !is_poison(first));
            if let Some(first) = arrived.copied() {
                self.append(*partition, first);
            }
            for number in returned {
                self.broker.taken_back = true;
                self.outbox.returned(at(number));
            }
        }
        self.broker.queues = queues;
    }

    /// When nothing is in flight after a refusal, what was taken back is looked for.
    fn end_drain(&mut self) {
        if self.outbox.is_draining() {
            return;
        }
        self.broker.out_of_order.clear();
        if std::mem::take(&mut self.broker.taken_back) {
            self.read_back();
        }
    }

    /// Everything that is in Kafka is found there.
    fn read_back(&mut self) {
        self.excuses += 1;
        let Some(unknown) = self.outbox.unknown() else { return };
        let there: Vec<u64> = self
            .broker
            .partitions
            .values()
            .flatten()
            .chain(&self.broker.dead_letters)
            .copied()
            .collect();
        for number in there.into_iter().filter(|number| unknown.holds(at(*number))) {
            self.acknowledge(number);
        }
    }

    /// The producer is lost. A partition has got some of what it was sent, unless it refuses that for its place.
    fn lose_producer(&mut self, partition: u64, records: usize) {
        let is_refused = self.broker.out_of_order.contains(&partition);
        let records = if is_refused { 0 } else { records };
        self.broker.out_of_order.clear();
        self.broker.taken_back = false;
        let mut queues = std::mem::take(&mut self.broker.queues);
        let lost = queues.remove(&partition).unwrap_or_default();
        let is_poison = |number: &u64| partition < PARTITIONS && self.poison.contains(number);
        let got: Vec<u64> =
            lost.into_iter().take(records).take_while(|number| !is_poison(number)).collect();
        for number in got {
            self.append(partition, number);
        }
        self.outbox.rewind();
        self.read_back();
    }

    fn crash(&mut self, partition: u64, records: usize) {
        self.lose_producer(partition, records);
        let found = Recovered {
            settled: self.recorded.clone(),
            end: at(self.arrived),
            deferred: self.deferred.iter().map(|number| at(*number)).collect(),
            failed: self.failed.iter().map(|number| at(*number)).collect(),
            ..Recovered::default()
        };
        self.outbox = Outbox::new(&found, false);
        self.read_back();
    }

    fn defer(&mut self) {
        let stuck: Vec<_> = self.outbox.stuck(self.now_ms.saturating_sub(5)).collect();
        for sequence in stuck {
            self.outbox.deferred(sequence);
            self.deferred.insert(number(sequence));
        }
        self.record();
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (partition, records) in &self.broker.partitions {
            prop_assert!(
                records.is_sorted_by(|a, b| a < b),
                "partition {}: {:?}",
                partition,
                records
            );
        }
        let unsettled =
            (0..self.arrived).filter(|number| !self.outbox.settled().contains(at(*number)));
        prop_assert_eq!(self.outbox.pending(), (unsettled.count() + self.deferred.len()) as u64);
        prop_assert_eq!(self.outbox.failures(), self.failed.len());
        if self.excuses == 0 {
            prop_assert!(self.sent.values().all(|times| *times == 1), "{:?}", self.sent);
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Event {
    Arrive(u64),
    Send,
    Answer(u64, usize),
    Record,
    Defer,
    Renew,
    LoseProducer(u64, usize),
    Crash(u64, usize),
}

fn event() -> impl Strategy<Value = Event> {
    let place = || (0..=PARTITIONS, 0..6_usize);
    prop_oneof![
        4 => (1..9_u64).prop_map(Event::Arrive),
        6 => Just(Event::Send),
        10 => place().prop_map(|(partition, records)| Event::Answer(partition, records)),
        2 => Just(Event::Record),
        1 => Just(Event::Defer),
        1 => Just(Event::Renew),
        1 => place().prop_map(|(partition, records)| Event::LoseProducer(partition, records)),
        1 => place().prop_map(|(partition, records)| Event::Crash(partition, records)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        events in prop::collection::vec(event(), 1..80), poison in prop::collection::btree_set(0..60_u64, 0..4),
    ) {
        let mut world = World::new(poison);
        for event in events {
            match event {
                Event::Arrive(count) => {
                    world.arrived += count;
                    world.outbox.arrived(at(world.arrived));
                }
                Event::Send => world.send(),
                Event::Answer(partition, records) => world.answer(partition, records),
                Event::Record => world.record(),
                Event::Defer => world.defer(),
                Event::Renew => world.outbox.drain(),
                Event::LoseProducer(partition, records) => world.lose_producer(partition, records),
                Event::Crash(partition, records) => world.crash(partition, records),
            }
            world.check()?;
        }
        // In the end Kafka answers for everything.
        let mut rounds = 0;
        while !world.outbox.is_done() {
            rounds += 1;
            prop_assert!(rounds < 1000, "it goes on for ever: {:?}", world.outbox);
            world.send();
            for partition in 0..=PARTITIONS {
                world.answer(partition, 3);
            }
            world.check()?;
        }
        let mut there: Vec<u64> = world.broker.partitions.values().flatten().copied().collect();
        let poison: Vec<u64> = world.poison.iter().copied().filter(|number| *number < world.arrived).collect();
        world.broker.dead_letters.sort_unstable();
        prop_assert_eq!(&world.broker.dead_letters, &poison);
        there.extend(poison);
        there.sort_unstable();
        prop_assert_eq!(there, (0..world.arrived).collect::<Vec<_>>(), "each once");
    }
}
