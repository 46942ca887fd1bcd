use super::*;

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

#[test]
fn lines_are_due_on_schedule_without_drift() {
    let start = Instant::now();
    let mut clock = Clock::new(Pace::Rate(3.0));
    assert_eq!(clock.due(start), 0, "nothing is due before anybody listens");
    clock.start(start);
    assert_eq!(clock.due(start), 1);
    assert_eq!(clock.due(after(start, 333)), 1);
    assert_eq!(clock.due(after(start, 334)), 2);
    assert_eq!(clock.due(after(start, 3_600_000)), 10_801, "an hour at 3 a second, plus the first");
    let at = clock.due_at(10_800).unwrap();
    assert!(
        clock.due(at + Duration::from_nanos(1)) > 10_800
            && clock.due(at - Duration::from_millis(1)) <= 10_800
    );
}

#[test]
fn a_pause_makes_nothing_due_and_loses_nothing() {
    let start = Instant::now();
    let mut clock = Clock::new(Pace::Rate(10.0));
    clock.start(start);
    clock.stop(after(start, 1_000));
    assert_eq!(clock.due(after(start, 60_000)), 11);
    assert_eq!(clock.due_at(11), None);
    clock.start(after(start, 60_000));
    assert_eq!(clock.due(after(start, 60_099)), 11);
    assert_eq!(clock.due(after(start, 60_101)), 12);
}

#[test]
fn a_second_start_does_not_set_the_clock_back() {
    let start = Instant::now();
    let mut clock = Clock::new(Pace::Rate(10.0));
    clock.start(start);
    clock.start(after(start, 500));
    assert_eq!(clock.due(after(start, 1_001)), 11);
}

#[test]
fn without_a_rate_everything_is_due_at_once() {
    assert_eq!(Clock::new(Pace::Max).due(Instant::now()), u64::MAX);
}

#[test]
fn an_invalid_rate_is_refused() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Pace::Rate(bad).check().is_err(), "{bad}");
    }
    assert!(Pace::Rate(0.001).check().is_ok() && Pace::Max.check().is_ok());
}
