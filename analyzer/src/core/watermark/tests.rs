use proptest::prelude::*;

use super::*;

const JUMP_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const YEAR_MS: i64 = 365 * DAY_MS;
const START_MS: i64 = 1_425_772_800_000;

/// The watermark after each of the times.
fn watermarks(times: &[i64]) -> Vec<i64> {
    let mut watermark = Watermark::new(JUMP_MS);
    let step = |(offset, &time_ms): (usize, &i64)| {
        watermark.observe(offset as i64, time_ms);
        watermark.time_ms().unwrap()
    };
    times.iter().enumerate().map(step).collect()
}

/// A watermark that four events at 0 have confirmed.
fn confirmed() -> (Watermark, i64) {
    let mut watermark = Watermark::new(JUMP_MS);
    for offset in 0..4 {
        watermark.observe(offset, 0);
    }
    assert!(!watermark.is_early());
    (watermark, 4)
}

fn observe_all(watermark: &mut Watermark, from: i64, times: &[i64]) {
    for (offset, &time_ms) in (from..).zip(times) {
        watermark.observe(offset, time_ms);
    }
}

#[test]
fn a_small_step_is_taken_at_once_and_an_older_time_moves_nothing() {
    let (mut watermark, offset) = confirmed();
    for (time_ms, expected) in [(JUMP_MS, JUMP_MS), (-YEAR_MS, JUMP_MS), (2 * JUMP_MS, 2 * JUMP_MS)]
    {
        assert_eq!(watermark.observe(offset, time_ms), Observed::Taken);
        assert_eq!(watermark.time_ms(), Some(expected));
    }
}

#[test]
fn a_jump_waits_for_three_further_jumps_at_or_beyond_it_minus_a_small_step() {
    let (mut watermark, offset) = confirmed();
    observe_all(&mut watermark, offset, &[DAY_MS, DAY_MS - JUMP_MS, DAY_MS + 5]);
    assert_eq!((watermark.time_ms(), watermark.waiting()), (Some(0), 3));
    assert_eq!(watermark.place(offset, DAY_MS), Place::Waiting);
    observe_all(&mut watermark, offset + 3, &[DAY_MS - JUMP_MS - 1]);
    assert_eq!(
        (watermark.time_ms(), watermark.waiting()),
        (Some(0), 4),
        "that one is too early for it"
    );
    observe_all(&mut watermark, offset + 4, &[DAY_MS - 7]);
    assert_eq!((watermark.time_ms(), watermark.waiting()), (Some(DAY_MS + 5), 0));
    assert_eq!(watermark.place(offset, DAY_MS), Place::Taken);
}

#[test]
fn a_stream_at_its_usual_pace_does_not_confirm_a_wrong_time_that_it_comes_near() {
    let (mut watermark, offset) = confirmed();
    watermark.observe(offset, HOUR_MS);
    for (offset, minute) in (offset + 1..).zip(1..60) {
        watermark.observe(offset, minute * 60_000);
        assert_eq!((watermark.time_ms(), watermark.waiting()), (Some(minute * 60_000), 1));
    }
    assert_eq!(watermark.observe(100, HOUR_MS), Observed::Rearranged);
    assert_eq!(watermark.place(offset, HOUR_MS), Place::Taken, "its time has come");
}

#[test]
fn the_lowest_of_the_first_events_decides_until_there_are_four() {
    assert_eq!(watermarks(&[50, 40, 45, 47, 60]), [50, 50, 50, 50, 60]);
    let (now, wrong) = (START_MS, START_MS + DAY_MS);
    assert_eq!(watermarks(&[wrong, now, now + 1, now + 2]), [wrong, now, now + 1, now + 2]);
    let wrong = START_MS - YEAR_MS;
    assert_eq!(
        watermarks(&[wrong, now, now + 1, now + 2, now + 3]),
        [wrong, wrong, wrong, wrong, now + 3]
    );
}

#[test]
fn of_too_many_waiting_events_the_furthest_is_given_up() {
    let (mut watermark, offset) = confirmed();
    // Each is so far below the one before that it does not confirm it.
    let falling = |n: i64| (40 - n) * 2 * JUMP_MS;
    observe_all(&mut watermark, offset, &(0..20).map(falling).collect::<Vec<_>>());
    assert_eq!((watermark.time_ms(), watermark.waiting()), (Some(0), MAX_WAITING as u64));
    assert_eq!(watermark.given_up(), 4);
    assert_eq!(watermark.place(offset, falling(0)), Place::GivenUp);
    assert_eq!(watermark.place(offset + 19, falling(19)), Place::Waiting);
}

#[test]
fn the_largest_and_smallest_times_do_not_overflow() {
    let mut watermark = Watermark::new(i64::MAX);
    observe_all(&mut watermark, 0, &[i64::MAX, i64::MIN, 0, i64::MIN, i64::MAX, 5]);
    assert_eq!(watermark.time_ms(), Some(i64::MAX));
}

/// A stream that advances by up to a minute an event, with events up to an hour late.
fn stream() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec((0..60_000_i64, prop_oneof![4 => Just(0), 1 => 0..HOUR_MS]), 8..80)
        .prop_map(|steps| {
            let mut now = START_MS;
            let time = |(step, age)| {
                now += step;
                now - age
            };
            steps.into_iter().map(time).collect()
        })
}

/// By how much a wrong time is wrong: far more than what the stream covers.
fn error() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(DAY_MS),
        Just(YEAR_MS),
        Just(-DAY_MS),
        Just(-YEAR_MS),
        2 * HOUR_MS..30 * YEAR_MS
    ]
}

proptest! {
    #[test]
    fn up_to_three_wrong_events_anywhere_do_not_move_it_once_four_right_ones_were_there(
        times in stream(),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), error()), 0..4),
    ) {
        let mut mixed: Vec<(i64, bool)> = times.iter().map(|&time| (time, true)).collect();
        for (at, error) in &wrong {
            let time = at.get(&times) + error;
            mixed.insert(at.index(mixed.len()), (time, false));
        }
        let mut watermark = Watermark::new(JUMP_MS);
        let (mut right, mut newest) = (0, i64::MIN);
        // A late event is more than `max_jump` below the stream, and does not count: four others are needed.
        let mut recent = 0;
        for (offset, &(time, is_right)) in mixed.iter().enumerate() {
            watermark.observe(offset as i64, time);
            if is_right {
                right += 1;
                newest = newest.max(time);
                recent += i32::from(time > newest - JUMP_MS);
            }
            let steered = watermark.time_ms() > Some(newest);
            prop_assert!(right == 0 || wrong.len() == 3 && right < 4 || !steered, "{:?}", watermark);
            if recent > 7 {
                prop_assert_eq!(watermark.time_ms(), Some(newest), "{:?}", watermark);
            }
        }
    }

    #[test]
    fn it_goes_back_only_while_it_is_early_and_waiting_stays_bounded(
        times in prop::collection::vec(prop_oneof![0..DAY_MS, -5..5_i64], 0..100),
        max_jump_ms in prop_oneof![Just(0), Just(JUMP_MS), 0..DAY_MS],
    ) {
        let mut watermark = Watermark::new(max_jump_ms);
        for (offset, &time_ms) in times.iter().enumerate() {
            let before = watermark.clone();
            watermark.observe(offset as i64, time_ms);
            prop_assert!(before.is_early() || before.time_ms() <= watermark.time_ms());
            prop_assert!(watermark.waiting() <= MAX_WAITING as u64);
            prop_assert_eq!(watermark.is_early(), offset + 1 < EARLY);
            // It is always the time of some event.
            prop_assert!(times[..=offset].iter().any(|&time| Some(time) == watermark.time_ms()));
        }
    }

    #[test]
    fn a_stream_that_really_jumps_is_followed_with_its_fourth_event(
        before in stream(),
        gap in 2 * HOUR_MS..YEAR_MS,
        after in prop::collection::vec(0..JUMP_MS, 4..20),
    ) {
        let mut watermark = Watermark::new(JUMP_MS);
        let newest = before.iter().max().unwrap();
        let after: Vec<i64> = after.iter().map(|time| newest + gap + time).collect();
        observe_all(&mut watermark, 0, &before);
        observe_all(&mut watermark, before.len() as i64, &after);
        prop_assert_eq!(watermark.time_ms(), after.iter().max().copied());
        prop_assert_eq!(watermark.waiting(), 0);
    }
}
