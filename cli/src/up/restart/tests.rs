use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn life(exit: Exit, lasted: Duration, ready: bool) -> Life {
    Life { exit, lasted, ready, excused: false }
}

#[test]
fn a_process_killed_from_outside_every_two_seconds_is_restarted_for_ever_and_at_once() {
    let mut policy = Policy::default();
    for n in 0..1_000 {
        let killed = life(Exit::Outside, 2 * SECOND, n % 3 == 0);
        assert_eq!(policy.after(killed), Verdict::Restart(Duration::ZERO));
    }
}

#[test]
fn a_process_killed_as_soon_as_it_starts_does_not_spin() {
    let killed = life(Exit::Outside, Duration::ZERO, false);
    assert_eq!(Policy::default().after(killed), Verdict::Restart(BREATH));
}

#[test]
fn a_process_that_never_becomes_ready_is_given_up_after_growing_delays() {
    let mut policy = Policy::default();
    let mut delays = Vec::new();
    while let Verdict::Restart(delay) = policy.after(life(Exit::Failed, SECOND, false)) {
        delays.push(delay.as_millis());
    }
    assert_eq!(delays, [0, 200, 400, 800]);
}

#[test]
fn being_ready_once_wipes_out_the_failures_before_it() {
    let mut policy = Policy::default();
    for _ in 0..100 {
        for _ in 1..MAX_FAILURES {
            assert_ne!(policy.after(life(Exit::Failed, SECOND, false)), Verdict::GiveUp);
        }
        assert_ne!(policy.after(life(Exit::Failed, SECOND, true)), Verdict::GiveUp);
    }
}

#[test]
fn a_process_that_fails_soon_after_becoming_ready_backs_off_to_a_bound_but_is_not_given_up() {
    let mut policy = Policy::default();
    let mut last = Duration::ZERO;
    for _ in 0..100 {
        let Verdict::Restart(delay) = policy.after(life(Exit::Failed, SECOND, true)) else {
            panic!("given up")
        };
        assert!(delay >= last && delay <= MAX_DELAY);
        last = delay;
    }
    assert_eq!(last, MAX_DELAY);
    assert_eq!(policy.after(life(Exit::Failed, STEADY, true)), Verdict::Restart(Duration::ZERO));
}

#[test]
fn failures_while_the_broker_was_down_are_not_held_against_a_tier() {
    let mut policy = Policy::default();
    for _ in 0..100 {
        let failed = Life { excused: true, ..life(Exit::Failed, SECOND, false) };
        assert_ne!(policy.after(failed), Verdict::GiveUp);
    }
}

#[test]
fn what_the_next_start_would_meet_again_is_given_up_at_once() {
    assert_eq!(Policy::default().after(life(Exit::Hopeless, SECOND, false)), Verdict::GiveUp);
}

#[test]
fn an_exit_status_tells_who_ended_the_process() {
    let of = |raw| Exit::of(ExitStatus::from_raw(raw));
    let code = |code: i32| of(code << 8);
    assert_eq!(code(0), Exit::Outside);
    assert_eq!(code(1), Exit::Failed);
    assert_eq!(code(101), Exit::Failed, "a panic");
    assert_eq!([code(64), code(69)], [Exit::Hopeless; 2]);
    assert_eq!([of(9), of(15), of(2)], [Exit::Outside; 3], "kill -9, SIGTERM, SIGINT");
    assert_eq!(
        [of(6), of(11), of(6 | 0x80)],
        [Exit::Failed; 3],
        "abort, segmentation fault, with a core"
    );
}
