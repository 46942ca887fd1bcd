use std::collections::BTreeMap;

use common::message_log::{Ranges, Recovered};
use proptest::prelude::*;

use super::*;
use crate::ledger::{CONTROL, LeftOut, RECOVERED, Statement};

const SOURCES: [&str; 3] = ["a", "b", "c"];
/// How many entries the log has at the start: one failed, one deferred, the others in groups.
const OLD: u64 = 12;

/// What happens next; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Event {
    /// The journal writes a group.
    Arrive(Vec<(usize, u64)>),
    /// The delivery learns of it.
    News,
    Acknowledged(prop::sample::Index),
    Refused(prop::sample::Index),
    Deferred(prop::sample::Index),
    Evicted,
    Lost(prop::sample::Index, u64),
    LostAside(prop::sample::Index),
    Dropped(usize),
    Enter,
}

/// What a message is, as it would be counted with one look at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Pending,
    Failed,
    Published,
    DeadLetter(Reason),
    Evicted,
    Damaged,
}

/// The delivery with its outbox, beside a list of all messages.
struct World {
    ledger: Ledger,
    outbox: Outbox,
    postings: Postings,
    /// The account's name, why it is no event, its state.
    messages: BTreeMap<Sequence, (Arc<str>, Option<Reason>, State)>,
    dropped: BTreeMap<Arc<str>, u64>,
    end: Sequence,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = || any::<prop::sample::Index>();
    let source = || 0..SOURCES.len();
    let event = prop_oneof![
        3 => prop::collection::vec((source(), 1..5_u64), 1..4).prop_map(Event::Arrive),
        2 => Just(Event::News),
        6 => index().prop_map(Event::Acknowledged),
        2 => index().prop_map(Event::Refused),
        1 => index().prop_map(Event::Deferred),
        1 => Just(Event::Evicted),
        1 => (index(), 1..6_u64).prop_map(|(at, length)| Event::Lost(at, length)),
        1 => index().prop_map(Event::LostAside),
        1 => source().prop_map(Event::Dropped),
        3 => Just(Event::Enter),
    ];
    prop::collection::vec(event, 0..120)
}

fn at(number: u64) -> Sequence {
    Sequence::from_opaque(usize::try_from(number).unwrap())
}

impl World {
    fn new() -> Self {
        let ledger = Ledger::default();
        for source in SOURCES {
            ledger.open(source);
        }
        let found = Recovered {
            settled: Ranges::below(at(2)),
            end: at(OLD),
            failed: vec![at(0)],
            deferred: vec![at(1)],
            ..Recovered::default()
        };
        ledger.begin(&found);
        let recovered = |number: u64| {
            let state = if number == 0 { State::Failed } else { State::Pending };
            (at(number), (crate::ledger::RECOVERED.into(), None, state))
        };
        Self {
            outbox: Outbox::new(&found, false),
            postings: Postings::new(ledger.clone(), found.end),
            ledger,
            messages: (0..OLD).map(recovered).collect(),
            dropped: BTreeMap::new(),
            end: found.end,
        }
    }

    /// Those in one of these states that the delivery knows of.
    fn of(&self, wanted: &[State]) -> Vec<Sequence> {
        let known = self.messages.range(..self.outbox.end());
        known.filter(|(_, (.., state))| wanted.contains(state)).map(|(at, _)| *at).collect()
    }

    fn account(&mut self, sequence: Sequence) -> Account {
        // A copy of the name, as in an entry that was read from the disk.
        let source: Arc<str> = Arc::from(&*self.messages[&sequence].0);
        self.postings.account(sequence, &source)
    }

    fn set(&mut self, sequence: Sequence, state: State) {
        self.messages.get_mut(&sequence).unwrap().2 = state;
    }

    fn happen(&mut self, event: &Event) {
        let choose = |among: &[Sequence], index: &prop::sample::Index| {
            (!among.is_empty()).then(|| among[index.index(among.len())])
        };
        match event {
            Event::Arrive(group) => {
                let mut counted = Vec::new();
                for (source, messages) in group {
                    counted.push((self.ledger.open(SOURCES[*source]), *messages));
                    for _ in 0..*messages {
                        let reason =
                            (self.messages.len().is_multiple_of(5)).then_some(Reason::NotJson);
                        let message = (SOURCES[*source].into(), reason, State::Pending);
                        self.messages.insert(self.end, message);
                        self.end = self.end.next();
                    }
                }
                self.ledger.received(counted, self.end);
            }
            Event::News => self.outbox.arrived(self.end),
            Event::Acknowledged(index) => {
                let there = self.of(&[State::Pending, State::Failed]);
                let Some(sequence) = choose(&there, index) else { return };
                let account = self.account(sequence);
                let (_, reason, before) = self.messages[&sequence];
                let refused = (before == State::Failed).then_some(Reason::RefusedByKafka);
                let reason = reason.or(refused);
                let place = self.outbox.delivered(sequence).unwrap();
                self.postings.acknowledged(sequence, account, place, reason);
                assert_eq!(self.outbox.delivered(sequence), None, "told once");
                self.set(sequence, reason.map_or(State::Published, State::DeadLetter));
            }
            Event::Refused(index) => {
                let Some(sequence) = choose(&self.of(&[State::Pending]), index) else { return };
                let (account, place) = (self.account(sequence), self.outbox.place(sequence));
                self.outbox.condemned(sequence, false);
                self.postings.put_aside(sequence, account, place, Family::Failed);
                self.set(sequence, State::Failed);
            }
            Event::Deferred(index) => {
                let mut there = self.of(&[State::Pending]);
                there.retain(|sequence| self.outbox.place(*sequence) == Place::Group);
                let Some(sequence) = choose(&there, index) else { return };
                let account = self.account(sequence);
                self.outbox.deferred(sequence);
                self.postings.put_aside(sequence, account, Place::Group, Family::Deferred);
            }
            Event::Evicted => {
                let Some(sequence) = self.outbox.oldest(Family::Failed) else { return };
                self.outbox.forget(sequence);
                self.postings.evicted(sequence);
                self.set(sequence, State::Evicted);
            }
            Event::Lost(index, length) => {
                let Some(start) = choose(&self.of(&[State::Pending]), index) else { return };
                let end = (0..*length).fold(start, |end, _| end.next()).min(self.outbox.end());
                for (start, end) in self.postings.parts(start, end) {
                    let mut gone = self.of(&[State::Pending]);
                    gone.retain(|one| {
                        (start..end).contains(one) && self.outbox.place(*one) == Place::Group
                    });
                    let entries = self.outbox.lost(start, end);
                    assert_eq!(entries, gone.len() as u64);
                    self.postings.lost(start, entries);
                    for sequence in gone {
                        self.set(sequence, State::Damaged);
                    }
                }
            }
            Event::LostAside(index) => {
                let mut there = self.of(&[State::Pending, State::Failed]);
                there.retain(|sequence| self.outbox.place(*sequence) != Place::Group);
                let Some(sequence) = choose(&there, index) else { return };
                let family = self.outbox.forget(sequence).unwrap();
                self.postings.lost_aside(sequence, family);
                self.set(sequence, State::Damaged);
            }
            Event::Dropped(source) => {
                self.ledger.leave_out(self.ledger.open(SOURCES[*source]), LeftOut::Dropped, 1);
                *self.dropped.entry(SOURCES[*source].into()).or_default() += 1;
            }
            Event::Enter => self.postings.enter(&self.outbox),
        }
    }

    /// What a look at each message says.
    fn truth(&self) -> Vec<(Arc<str>, Counts)> {
        let names = [RECOVERED, CONTROL].into_iter().chain(SOURCES);
        let mut accounts: Vec<(Arc<str>, Counts)> =
            names.map(|name| (name.into(), Counts::default())).collect();
        for (name, counts) in &mut accounts {
            let own = self.messages.values().filter(|(of, ..)| of == name);
            for (.., state) in own {
                let is_old = &**name == RECOVERED;
                *(if is_old { &mut counts.recovered } else { &mut counts.received }) += 1;
                match state {
                    State::Pending => {}
                    State::Failed => counts.failed += 1,
                    State::Published => counts.published += 1,
                    State::DeadLetter(reason) => {
                        *counts.dead_letters.entry(*reason).or_default() += 1;
                    }
                    State::Evicted => counts.evicted += 1,
                    State::Damaged => counts.damaged += 1,
                }
            }
            counts.dropped = self.dropped.get(name).copied().unwrap_or_default();
            counts.received += counts.dropped;
        }
        accounts
    }
}

/// What a scrape must show, whatever has happened.
fn assert_balanced(statement: &Statement) {
    for (name, counts) in &statement.accounts {
        assert!(counts.pending() >= 0 && counts.failed >= 0, "{name}: {counts:?}");
    }
    let total = statement.total();
    let open = u64::try_from(total.pending() + total.failed).unwrap();
    assert_eq!(open, statement.log_entries, "{statement:?}");
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_all_is_accounted_for_at_every_step(events in events()) {
        let mut world = World::new();
        assert_balanced(&world.ledger.statement());
        for event in &events {
            world.happen(event);
            assert_balanced(&world.ledger.statement());
        }
        // When nothing waits any more, all of it is where it belongs, also what was lost.
        world.happen(&Event::News);
        for sequence in world.of(&[State::Pending]) {
            let account = world.account(sequence);
            let place = world.outbox.delivered(sequence).unwrap();
            world.postings.acknowledged(sequence, account, place, None);
            world.set(sequence, State::Published);
        }
        world.happen(&Event::Enter);
        let statement = world.ledger.statement();
        assert_balanced(&statement);
        prop_assert_eq!(&statement.accounts, &world.truth());
        prop_assert_eq!(world.postings.unattributed, 0);
        prop_assert!(world.postings.aside.len() <= world.outbox.aside(), "nothing is kept for ever");
    }

    #[test]
    fn while_nothing_is_lost_each_account_is_exact_whenever_it_is_entered(events in events()) {
        let mut world = World::new();
        for event in events.iter().filter(|event| !matches!(event, Event::Lost(..))) {
            world.happen(event);
            world.happen(&Event::Enter);
            prop_assert_eq!(&world.ledger.statement().accounts, &world.truth());
        }
    }
}

#[test]
fn of_what_a_disk_has_lost_the_source_is_found_when_the_rest_has_left() {
    let mut world = World::new();
    world.happen(&Event::Arrive(vec![(0, 2), (1, 2)]));
    world.happen(&Event::News);
    let lost = at(OLD + 1);
    world.postings.lost(lost, world.outbox.lost(lost, lost.next()));
    world.set(lost, State::Damaged);
    world.happen(&Event::Enter);
    // Meanwhile more comes, which does not wait for it.
    world.happen(&Event::Arrive(vec![(0, 1)]));
    world.happen(&Event::News);
    let damaged = |world: &World| -> Vec<u64> {
        world.ledger.statement().accounts.iter().map(|(_, counts)| counts.damaged).collect()
    };
    for number in 1..OLD + 4 {
        assert_eq!(damaged(&world), [0; 5], "before {number}");
        if at(number) != lost {
            let account = world.account(at(number));
            let place = world.outbox.delivered(at(number)).unwrap();
            world.postings.acknowledged(at(number), account, place, None);
            world.happen(&Event::Enter);
        }
    }
    assert_eq!(damaged(&world), [0, 0, 1, 0, 0]);
    let statement = world.ledger.statement();
    let pending: Vec<_> = statement.accounts.iter().map(|(_, counts)| counts.pending()).collect();
    assert_eq!(pending, [0, 0, 1, 0, 0], "what came later is still there");
}
