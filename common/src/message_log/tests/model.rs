//! The log against a map, over crashes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::*;
use super::{Open, crash, keys};

#[derive(Debug, Clone)]
enum Action {
    Append(u8),
    /// The n-th pending entry is acknowledged.
    Settle(prop::sample::Index),
    Move(Family, prop::sample::Index),
    /// An entry of a family is acknowledged.
    Remove(prop::sample::Index),
    Record,
    Sync,
    Reopen,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    let index = any::<prop::sample::Index>;
    let family = prop::sample::select(&Family::ALL[..]);
    prop_oneof![
        6 => (1..6u8).prop_map(Action::Append),
        8 => index().prop_map(Action::Settle),
        2 => (family, index()).prop_map(|(family, index)| Action::Move(family, index)),
        1 => index().prop_map(Action::Remove),
        3 => Just(Action::Record),
        1 => Just(Action::Sync),
        1 => Just(Action::Reopen),
        2 => Just(Action::Crash),
    ]
}

/// What the log must hold according to the module's documentation.
#[derive(Default)]
struct Model {
    pending: BTreeMap<Sequence, Entry>,
    /// Acknowledged, which is not recorded: pending again after a crash.
    settled: BTreeMap<Sequence, Entry>,
    families: BTreeMap<Sequence, (Family, Entry)>,
    appended: u64,
}

impl Model {
    fn check(&self, open: &Open) -> Result<(), TestCaseError> {
        let pending: Vec<_> = self.pending.clone().into_iter().collect();
        prop_assert_eq!(open.pending(), pending);
        for (sequence, (family, entry)) in &self.families {
            let there = open.log.get(*family, *sequence).unwrap();
            prop_assert_eq!(there.as_ref(), Some(entry));
        }
        Ok(())
    }

    fn check_found(&self, open: &Open) -> Result<(), TestCaseError> {
        for (family, found) in
            [(Family::Deferred, &open.found.deferred), (Family::Failed, &open.found.failed)]
        {
            let own = self.families.iter().filter(|(_, (of, _))| *of == family);
            prop_assert_eq!(found, &own.map(|(sequence, _)| *sequence).collect::<Vec<_>>());
        }
        prop_assert_eq!(
            open.found.pending(),
            (self.pending.len() + open.found.deferred.len()) as u64
        );
        prop_assert_eq!(open.found.damaged, 0);
        Ok(())
    }
}

fn nth<T>(entries: &BTreeMap<Sequence, T>, index: prop::sample::Index) -> Option<Sequence> {
    (!entries.is_empty()).then(|| *entries.keys().nth(index.index(entries.len())).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_map_that_crashes_do_not_change(
        actions in prop::collection::vec(action(), 1..60), is_encrypted: bool,
    ) {
        let mut directory = TempDir::new().unwrap();
        // Each start has a new key, and the older ones for reading.
        let mut others = Vec::new();
        let mut next_keys = || {
            let first = others.len() as u8;
            let ring = keys(first, &others);
            others.push(first);
            ring.filter(|_| is_encrypted)
        };
        let mut open = Open::with(directory.path(), next_keys());
        let mut model = Model::default();
        let mut last_sequence = None;
        for action in actions {
            match action {
                Action::Append(count) => {
                    let numbers = model.appended..model.appended + u64::from(count);
                    model.appended = numbers.end;
                    for (sequence, entry) in open.add(numbers) {
                        prop_assert!(last_sequence < Some(sequence));
                        last_sequence = Some(sequence);
                        model.pending.insert(sequence, entry);
                    }
                }
                Action::Settle(index) => if let Some(sequence) = nth(&model.pending, index) {
                    open.settle(sequence);
                    model.settled.extend(model.pending.remove_entry(&sequence));
                },
                Action::Move(family, index) => if let Some(sequence) = nth(&model.pending, index) {
                    open.settle(sequence);
                    let entry = model.pending.remove(&sequence).unwrap();
                    open.record(&[(family, sequence, entry.clone())], &[]);
                    model.families.insert(sequence, (family, entry));
                    model.settled.clear();
                },
                Action::Remove(index) => if let Some(sequence) = nth(&model.families, index) {
                    let (family, _) = model.families.remove(&sequence).unwrap();
                    open.record(&[], &[(family, sequence)]);
                    model.settled.clear();
                },
                Action::Record => {
                    open.record(&[], &[]);
                    model.settled.clear();
                }
                Action::Sync => prop_assert_eq!(open.appender.sync().unwrap() >= open.end, true),
                Action::Reopen => drop(open.appender.reopen().unwrap()),
                Action::Crash => {
                    let copy = crash(directory.path());
                    drop(open);
                    directory = copy;
                    open = Open::with(directory.path(), next_keys());
                    model.pending.append(&mut model.settled);
                    model.check_found(&open)?;
                    open.end = open.found.end;
                }
            }
            model.check(&open)?;
        }
    }
}
