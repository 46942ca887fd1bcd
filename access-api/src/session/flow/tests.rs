use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits {
        ping_interval_ms: 20,
        idle_timeout_ms: 60,
        write_deadline_ms: 100,
        client_frames_per_second: 50,
        ..Limits::default()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Write,
    Flush,
    Hear,
    Behind(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..40).prop_map(Step::Pass),
        2 => Just(Step::Write),
        2 => Just(Step::Flush),
        2 => Just(Step::Hear),
        1 => (0u8..=100).prop_map(Step::Behind),
    ]
}

proptest! {
    #[test]
    fn no_client_is_disconnected_for_slowness_unwarned_and_no_deadline_lies_in_the_past(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let limits = limits();
        let mut now = Instant::now();
        let mut flow = Flow::new(now);
        let (mut behind, mut slow_down, mut stall) = (0, false, false);
        for step in steps {
            match step {
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::Write => flow.wrote(now),
                Step::Flush => flow.flushed(),
                Step::Hear => flow.heard(now, &limits),
                Step::Behind(percent) => behind = percent,
            }
            let climb = flow.observe(now, behind, &limits);
            for rung in climb.rungs {
                match rung {
                    Rung::Flowing => prop_assert!(false, "flowing is no warning"),
                    Rung::SlowDown => slow_down = true,
                    Rung::Stalled => {
                        prop_assert!(slow_down);
                        stall = true;
                    }
                }
            }
            match flow.overdue(now, &limits) {
                Some(ByeReason::Stalled) => {
                    prop_assert!(slow_down && stall);
                    return Ok(());
                }
                Some(reason) => {
                    prop_assert_eq!(reason, ByeReason::Idle);
                    return Ok(());
                }
                None => {}
            }
            if flow.is_ping_due(now, &limits) {
                flow.pinged(now);
                flow.wrote_control(now);
            }
            prop_assert!(flow.deadline(now, &limits) > now);
        }
    }

    #[test]
    fn the_frames_read_in_any_span_are_within_the_rate_for_it_and_one_second_more(
        waits in prop::collection::vec(0u64..60, 1..400),
    ) {
        let limits = limits();
        let start = Instant::now();
        let (mut now, mut read) = (start, 0);
        let mut flow = Flow::new(now);
        for wait in waits {
            now += Duration::from_millis(wait);
            if flow.may_read(now) {
                flow.heard(now, &limits);
                read += 1;
            }
            let rate = u64::from(limits.client_frames_per_second);
            let allowed = (now - start).as_millis() as u64 * rate / 1000 + rate + 1;
            prop_assert!(read <= allowed, "{} of {}", read, allowed);
            if !flow.may_read(now) {
                let at = flow.deadline(now, &limits);
                prop_assert!(flow.may_read(at) || at < flow.readable_at());
            }
        }
    }
}

#[test]
fn a_client_that_has_nothing_to_catch_up_with_has_no_lag() {
    let limits = limits();
    let start = Instant::now();
    let mut flow = Flow::new(start);
    flow.observe(start, 10, &limits);
    let later = start + Duration::from_millis(7);
    assert_eq!(flow.lag_ms(later), 7);
    flow.observe(later, 0, &limits);
    assert_eq!(flow.lag_ms(later), 0);
}

#[test]
fn reading_stops_when_the_answers_are_not_taken() {
    let limits = limits();
    let now = Instant::now();
    let mut flow = Flow::new(now);
    for _ in 0..CONTROLS {
        assert!(flow.may_read(now));
        flow.wrote_control(now);
    }
    assert!(!flow.may_read(now));
    flow.flushed();
    assert!(flow.may_read(now));
    assert!(flow.deadline(now, &limits) > now);
}
