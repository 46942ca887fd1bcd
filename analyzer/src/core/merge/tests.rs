//! The whole core: records, tallies, partials, merge, against a computation over all events at once.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::core::owner::Owner;
use crate::core::partial::{Partial, next_offset};
use crate::core::plan::Plan;
use crate::core::query::Query;
use crate::core::tally::stored::Stored;
use crate::core::tally::{Outcome, Tally};

mod model;

use model::{Batch, PARTITIONS, Rsvp, apply, catch_up, logs, plan, rsvps};

/// Counts without an accident and emits once, at the end.
fn straight(plan: &Arc<Plan>, rsvps: &[Rsvp]) -> Vec<Partial> {
    let count = |(partition, log): (usize, &Vec<Rsvp>)| {
        let mut tally = Tally::new(partition as i32, plan);
        log.iter().enumerate().for_each(|(offset, rsvp)| {
            assert_ne!(apply(&mut tally, offset, rsvp), Outcome::Replayed)
        });
        tally.emit_all().collect::<Vec<_>>()
    };
    logs(rsvps).iter().enumerate().flat_map(count).collect()
}

fn merged(plan: &Plan, partials: &[Partial]) -> Vec<TopN> {
    let merge = |planned| {
        let mut merge = Merge::new(planned);
        for partial in partials.iter().filter(|partial| partial.key.query == planned.query.name) {
            merge.apply(&partial.key, partial.value.as_deref()).unwrap();
        }
        let result = merge.result();
        assert_eq!(result.version, merge.version());
        result
    };
    plan.queries().iter().map(merge).collect()
}

/// What happens to an owner of a partition.
#[derive(Debug, Clone, Copy)]
enum Accident {
    Emit,
    EmitHalf,
    Snapshot,
    /// The process dies; another goes on from the newest snapshot.
    Crash,
    /// Another takes the partition over while the first one still runs and writes.
    Zombie,
}

fn accidents() -> impl Strategy<Value = Vec<(Index, Accident)>> {
    use Accident::{Crash, Emit, EmitHalf, Snapshot, Zombie};
    let accident = prop_oneof![4 => Just(Emit), 1 => Just(EmitHalf), 2 => Just(Snapshot), 2 => Just(Crash), 1 => Just(Zombie)];
    prop::collection::vec((any::<Index>(), accident), 0..30)
}

/// Counts a log with accidents; returns everything that was ever written, in order.
fn troubled(
    plan: &Arc<Plan>,
    partition: i32,
    log: &[Rsvp],
    accidents: &[(Index, Accident)],
) -> Vec<Partial> {
    let restore = |stored: &Option<Stored>| match stored {
        Some(stored) => stored.restore(plan).unwrap(),
        None => Tally::new(partition, plan),
    };
    let mut tally = Tally::new(partition, plan);
    let mut zombie: Option<Tally> = None;
    let (mut written, mut stored) = (Vec::new(), None);
    let mut plans: Vec<(usize, Accident)> =
        accidents.iter().map(|(at, what)| (at.index(log.len() + 1), *what)).collect();
    plans.sort_by_key(|(at, _)| *at);
    for (at, accident) in plans {
        for owner in [Some(&mut tally), zombie.as_mut()].into_iter().flatten() {
            catch_up(owner, &log[..at]);
        }
        match accident {
            Accident::Emit => written.extend(tally.emit()),
            Accident::EmitHalf => written.extend(tally.emit().take(3)),
            Accident::Snapshot => stored = Some(Stored::of(&tally)),
            Accident::Crash => {
                tally = restore(&stored);
                written.extend(tally.emit_all());
            }
            Accident::Zombie => {
                let successor = restore(&stored);
                zombie = Some(std::mem::replace(&mut tally, successor));
                written.extend(tally.emit_all());
            }
        }
        written.extend(zombie.iter_mut().flat_map(|zombie| zombie.emit().collect::<Vec<_>>()));
    }
    catch_up(&mut tally, log);
    written.extend(tally.emit());
    written
}

/// A partition's records in the partials topic, in the order of writing: by whom, what.
type Written = Vec<(Owner, Partial)>;

/// Counts a log with accidents, each owner under keys of its own; a successor deletes what former owners
/// wrote before it came, once it has written as much.
fn owned(
    plan: &Arc<Plan>,
    partition: i32,
    log: &[Rsvp],
    accidents: &[(Index, Accident)],
) -> Written {
    let restore = |stored: &Option<Stored>| match stored {
        Some(stored) => stored.restore(plan).unwrap(),
        None => Tally::new(partition, plan),
    };
    let reflected = |partial: &Partial| partial.value.as_deref().map(|v| next_offset(v).unwrap());
    let (mut number, mut stored, mut written) = (0, None, Written::new());
    let mut tally = Tally::new(partition, plan);
    let mut zombies: Vec<(Owner, Tally)> = Vec::new();
    let mut former = Written::new();
    let mut plans: Vec<(usize, Accident)> =
        accidents.iter().map(|(at, what)| (at.index(log.len() + 1), *what)).collect();
    plans.sort_by_key(|(at, _)| *at);
    plans.push((log.len(), Accident::Emit));
    for (at, accident) in plans {
        catch_up(&mut tally, &log[..at]);
        for (_, zombie) in &mut zombies {
            catch_up(zombie, &log[..at]);
        }
        let me = Owner::new(number);
        match accident {
            Accident::Emit => written.extend(tally.emit().map(|partial| (me, partial))),
            Accident::EmitHalf => written.extend(tally.emit().take(3).map(|partial| (me, partial))),
            Accident::Snapshot => stored = Some(Stored::of(&tally)),
            Accident::Crash | Accident::Zombie => {
                let before = std::mem::replace(&mut tally, restore(&stored));
                if matches!(accident, Accident::Zombie) {
                    zombies.push((me, before));
                }
                former = written.clone();
                number += 1;
                written.extend(tally.emit_all().map(|partial| (Owner::new(number), partial)));
            }
        }
        let emitted = !matches!(accident, Accident::EmitHalf | Accident::Snapshot);
        if emitted
            && former.iter().filter_map(|(_, p)| reflected(p)).max() <= Some(tally.next_offset())
        {
            let gone =
                former.drain(..).map(|(by, partial)| (by, Partial { value: None, ..partial }));
            written.extend(gone);
        }
        for (by, zombie) in &mut zombies {
            written.extend(zombie.emit().map(|partial| (*by, partial)));
        }
    }
    written
}

/// What compaction leaves of `written`: of each key the last record, or nothing if that is a tombstone
/// whose time is over, and of the others those that it has not come to yet.
fn compacted(written: &Written, removed: &[bool]) -> Written {
    let mut last = BTreeMap::new();
    for (at, (owner, partial)) in written.iter().enumerate() {
        last.insert((*owner, partial.key.clone()), at);
    }
    let removed = |at: usize| removed.get(at % removed.len().max(1)).copied().unwrap_or(false);
    let stays = |at: usize, owner: Owner, partial: &Partial| {
        let is_last = last[&(owner, partial.key.clone())] == at;
        !removed(at) || (is_last && partial.value.is_some())
    };
    let left = written.iter().enumerate().filter(|(at, (owner, p))| stays(*at, *owner, p));
    left.map(|(_, record)| record.clone()).collect()
}

proptest! {
    #[test]
    fn whatever_compaction_removes_in_every_order_the_newest_owners_values_stand(
        rsvps in rsvps(),
        accidents in prop::collection::vec(accidents(), PARTITIONS),
        removed in prop::collection::vec(any::<bool>(), 1..200),
        order in any::<u64>(),
        capacity in prop_oneof![Just(1_000_usize), 1..20_usize],
    ) {
        let plan = plan(capacity);
        let logs = logs(&rsvps);
        let mut standing: Vec<Partial> = (0..PARTITIONS)
            .flat_map(|at| compacted(&owned(&plan, at as i32, &logs[at], &accidents[at]), &removed))
            .map(|(_, partial)| partial)
            .collect();
        let expected = merged(&plan, &straight(&plan, &rsvps));
        prop_assert_eq!(&merged(&plan, &standing), &expected, "in the order of the log");
        standing.sort_by_key(|partial| {
            let text = format!("{order} {} {:?}", partial.key, partial.value.as_deref().map(crate::core::hash::hash));
            crate::core::hash::hash(text.as_bytes())
        });
        prop_assert_eq!(&merged(&plan, &standing), &expected, "in any order");
    }

    #[test]
    fn results_are_those_of_a_batch_over_the_distinct_events(rsvps in rsvps(), capacity in prop_oneof![Just(1_000_usize), 1..20_usize]) {
        let plan = plan(capacity);
        let batch = Batch::new(&rsvps);
        for result in merged(&plan, &straight(&plan, &rsvps)) {
            batch.check(&rsvps, &result, capacity)?;
        }
    }

    #[test]
    fn crashes_replays_zombies_and_half_written_emissions_change_nothing(
        rsvps in rsvps(),
        accidents in prop::collection::vec(accidents(), PARTITIONS),
        capacity in prop_oneof![Just(1_000_usize), 1..20_usize],
    ) {
        let plan = plan(capacity);
        let logs = logs(&rsvps);
        let written: Vec<Partial> = (0..PARTITIONS)
            .flat_map(|at| troubled(&plan, at as i32, &logs[at], &accidents[at]))
            .chain((0..PARTITIONS).flat_map(|at| Tally::new(at as i32, &plan).emit_all().collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(merged(&plan, &written), merged(&plan, &straight(&plan, &rsvps)));
    }

    #[test]
    fn the_order_of_partials_and_their_repetition_change_nothing(
        rsvps in rsvps(),
        accidents in prop::collection::vec(accidents(), PARTITIONS),
        order in any::<u64>(),
        extra in prop::collection::vec(any::<Index>(), 0..40),
        looks in prop::collection::vec(any::<Index>(), 0..5),
        capacity in prop_oneof![Just(1_000_usize), 1..20_usize],
    ) {
        let plan = plan(capacity);
        let logs = logs(&rsvps);
        let written: Vec<Partial> = (0..PARTITIONS).flat_map(|at| troubled(&plan, at as i32, &logs[at], &accidents[at])).collect();
        let mut delivered = written.clone();
        if !written.is_empty() {
            delivered.extend(extra.iter().map(|at| at.get(&written).clone()));
        }
        delivered.sort_by_key(|partial| {
            let text = format!("{order} {} {:?}", partial.key, partial.value.as_deref().map(crate::core::hash::hash));
            crate::core::hash::hash(text.as_bytes())
        });
        let last = &plan.queries()[1];
        let mut merge = Merge::new(last);
        let mut looks: Vec<usize> = looks.iter().map(|at| at.index(delivered.len() + 1)).collect();
        looks.sort_unstable();
        let mut version = 0;
        for (at, partial) in delivered.iter().enumerate() {
            if partial.key.query == last.query.name {
                merge.apply(&partial.key, partial.value.as_deref()).unwrap();
            }
            if looks.contains(&at) {
                let result = merge.result();
                prop_assert!(version <= result.version, "a version that goes back");
                version = result.version;
            }
        }
        prop_assert_eq!(merge.result(), merged(&plan, &straight(&plan, &rsvps))[1].clone());
    }

    #[test]
    fn a_query_that_is_new_or_changed_starts_anew_from_the_log_and_the_others_go_on(
        rsvps in rsvps(),
        at in any::<Index>(),
        emit_every in 1..40_usize,
    ) {
        // Two of the three queries are there before and after; one of them with another capacity.
        let mut queries = plan(1_000).queries().iter().map(|planned| planned.query.clone()).collect::<Vec<Query>>();
        let before = Arc::new(Plan::new(&queries[..2], plan(1_000).settings().clone()).unwrap());
        queries[0].capacity = Some(900);
        let after = Arc::new(Plan::new(&queries, plan(1_000).settings().clone()).unwrap());
        let mut written = Vec::new();
        for (partition, log) in logs(&rsvps).iter().enumerate() {
            let mut tally = Tally::new(partition as i32, &before);
            catch_up(&mut tally, &log[..at.index(log.len() + 1)]);
            let mut tally = Stored::of(&tally).restore(&after).unwrap();
            prop_assert_eq!(tally.next_offset(), at.index(log.len() + 1) as i64, "the others go on");
            written.extend(tally.emit_all());
            for until in (0..log.len()).step_by(emit_every) {
                catch_up(&mut tally, &log[..until]);
                written.extend(tally.emit());
            }
            catch_up(&mut tally, log);
            written.extend(tally.emit());
            let mut fresh = Tally::new(partition as i32, &after);
            catch_up(&mut fresh, log);
            prop_assert_eq!(fresh.progress(), tally.progress());
        }
        prop_assert_eq!(merged(&after, &written), merged(&after, &straight(&after, &rsvps)));
    }

    #[test]
    fn while_it_runs_a_result_is_that_of_the_offsets_which_it_names(rsvps in rsvps(), every in 1..20_usize) {
        let plan = plan(1_000);
        let logs = logs(&rsvps);
        let mut tallies: Vec<Tally> = (0..PARTITIONS as i32).map(|partition| Tally::new(partition, &plan)).collect();
        let mut merge = Merge::new(&plan.queries()[1]);
        for (at, rsvp) in rsvps.iter().enumerate() {
            let tally = &mut tallies[rsvp.partition()];
            apply(tally, tally.next_offset() as usize, rsvp);
            if at % every != 0 {
                continue;
            }
            for partial in tally.emit().collect::<Vec<_>>() {
                if partial.key.query != "topics_30m" {
                    continue;
                }
                merge.apply(&partial.key, partial.value.as_deref()).unwrap();
                // Also between a pane and the head that belongs to it.
                let result = merge.result();
                let reflected: Vec<Rsvp> = result
                    .offsets
                    .iter()
                    .flat_map(|(&partition, &last)| logs[partition as usize][..=last as usize].to_vec())
                    .collect();
                Batch::new(&reflected).check(&reflected, &result, 1_000)?;
            }
        }
    }
}

#[test]
fn before_any_partial_the_result_is_that_of_an_empty_stream() {
    for planned in plan(100).queries() {
        let result = Merge::new(planned).result();
        assert_eq!((result.version, result.total, result.distinct, result.top.len()), (0, 0, 0, 0));
        assert_eq!(result.query, planned.query.name);
    }
}

#[test]
fn a_head_changes_the_result_a_pane_waits_for_its_head_and_the_rest_is_ignored() {
    let plan = plan(100);
    let mut tally = Tally::new(0, &plan);
    let rsvp = Rsvp {
        id: 4,
        yes: true,
        age_ms: Some(0),
        topics: vec![1, 1],
        received_ms: 1_425_772_800_000,
    };
    let mut merge = Merge::new(&plan.queries()[0]);
    let mut feed = |tally: &mut Tally| -> Vec<Applied> {
        let partials: Vec<Partial> =
            tally.emit_all().filter(|partial| partial.key.query == "topics").collect();
        partials
            .iter()
            .map(|partial| merge.apply(&partial.key, partial.value.as_deref()).unwrap())
            .collect()
    };
    assert_eq!(feed(&mut tally), [Applied::Changed], "the head of an empty partition");
    apply(&mut tally, 0, &rsvp);
    assert_eq!(feed(&mut tally), [Applied::Staged, Applied::Changed]);
    assert_eq!(feed(&mut tally), [Applied::Ignored, Applied::Ignored]);
    let key = Key { query: "topics".to_owned(), partition: 0, part: Part::Pane { start_ms: 0 } };
    assert_eq!(merge.apply(&key, None), Ok(Applied::Ignored), "a tombstone");
    assert_eq!(merge.result().total, 2);
    let other = crate::core::merge::tests::plan(99);
    let mut foreign = Tally::new(1, &other);
    apply(&mut foreign, 0, &rsvp);
    for partial in foreign.emit_all().filter(|partial| partial.key.query == "topics") {
        assert_eq!(
            merge.apply(&partial.key, partial.value.as_deref()),
            Ok(Applied::Ignored),
            "of another capacity"
        );
    }
}

#[test]
fn a_value_that_cannot_be_read_is_an_error_and_changes_nothing() {
    let plan = plan(100);
    let mut merge = Merge::new(&plan.queries()[0]);
    let before = merge.result();
    for part in [Part::Head, Part::Pane { start_ms: 0 }] {
        let key = Key { query: "topics".to_owned(), partition: 0, part };
        for value in [vec![9, 0], vec![2, 0], Vec::new()] {
            assert!(matches!(merge.apply(&key, Some(&value)), Err(Error::Unreadable(_))));
        }
    }
    assert_eq!(merge.result(), before);
}

#[test]
fn gaps_are_told_with_their_partition() {
    let plan = plan(100);
    let mut merge = Merge::new(&plan.queries()[0]);
    for (partition, last) in [(2, 6), (0, 2)] {
        let mut tally = Tally::new(partition, &plan);
        tally.record_gap(0, last);
        for partial in tally.emit().filter(|partial| partial.key.query == "topics") {
            merge.apply(&partial.key, partial.value.as_deref()).unwrap();
        }
    }
    let gaps = [Gap { partition: 0, from: 0, to: 3 }, Gap { partition: 2, from: 0, to: 7 }];
    assert_eq!(merge.result().gaps, gaps);
    assert_eq!(merge.result().version, 10);
}

/// A partition's partials of the sliding query, after events of these (receipt, time) in seconds.
fn partition(plan: &Arc<Plan>, number: i32, events: &[(i64, i64)]) -> Vec<Partial> {
    const START_MS: i64 = 1_425_772_800_000;
    let mut tally = Tally::new(number, plan);
    for (offset, &(received_s, time_s)) in events.iter().enumerate() {
        let received_ms = START_MS + received_s * 1_000;
        let rsvp = Rsvp {
            id: (4 * offset) as u32,
            yes: true,
            age_ms: Some((received_s - time_s) * 1_000),
            topics: vec![number as u8],
            received_ms,
        };
        assert_eq!(apply(&mut tally, offset, &rsvp), Outcome::Counted);
    }
    tally.emit_all().filter(|partial| partial.key.query == "topics_30m").collect()
}

fn sliding(plan: &Plan, partials: &[Vec<Partial>]) -> TopN {
    let mut merge = Merge::new(&plan.queries()[1]);
    for partial in partials.iter().flatten() {
        merge.apply(&partial.key, partial.value.as_deref()).unwrap();
    }
    merge.result()
}

/// `count` events, one a second from `first` on, in seconds.
fn every_second(first: i64, count: i64) -> Vec<(i64, i64)> {
    (first..first + count).map(|second| (second, second)).collect()
}

#[test]
fn a_partition_that_idles_neither_holds_nor_empties_the_others() {
    let plan = plan_that_idles_after(60);
    let busy = partition(&plan, 0, &every_second(0, 200));
    let alone = sliding(&plan, std::slice::from_ref(&busy));
    // Quiet since long ago, with and without a time of its own.
    let quiet = partition(&plan, 1, &every_second(0, 20));
    let result = sliding(&plan, &[busy.clone(), quiet]);
    assert_eq!((result.window, result.total), (alone.window, alone.total));
    // Four events an hour ahead, which confirm each other, and then nothing more.
    let ahead: Vec<(i64, i64)> = (0..4).map(|second| (second, second + 3_600)).collect();
    let ahead = partition(&plan, 1, &ahead);
    let result = sliding(&plan, &[busy, ahead.clone()]);
    assert_eq!(
        (result.window, result.total, result.as_of_ms),
        (alone.window, alone.total, alone.as_of_ms)
    );
    // As long as its records are as new as the others' it leads.
    let busy = partition(&plan, 0, &every_second(0, 30));
    let result = sliding(&plan, &[busy, ahead]);
    assert_eq!((result.total, result.late), (4, 25 + 5), "and what lags by a whole window is late");
}

#[test]
fn what_an_idle_partition_still_has_in_the_window_is_shown() {
    let plan = plan_that_idles_after(5);
    let busy = partition(&plan, 0, &every_second(0, 30));
    let quiet = partition(&plan, 1, &every_second(10, 8));
    assert_eq!(sliding(&plan, &[busy, quiet]).total, 38);
}

fn plan_that_idles_after(seconds: u64) -> Arc<Plan> {
    let plan = plan(1_000);
    let mut settings = plan.settings().clone();
    settings.schema.idle = Duration::from_secs(seconds);
    settings.schema.max_future = Duration::from_secs(86_400);
    let queries: Vec<Query> = plan.queries().iter().map(|planned| planned.query.clone()).collect();
    Arc::new(Plan::new(&queries, settings).unwrap())
}
