use super::*;

fn shown(colour: bool, act: impl FnOnce(&mut Screen<&mut Vec<u8>>)) -> String {
    let mut out = Vec::new();
    act(&mut Screen { out: &mut out, colour, status: String::new() });
    String::from_utf8(out).unwrap()
}

#[test]
fn every_line_says_who_wrote_it() {
    let text = shown(false, |screen| {
        screen.line("collector", "connected");
        screen.line("access-api", "listening");
    });
    assert_eq!(text, " collector | connected\naccess-api | listening\n");
}

#[test]
fn a_line_cannot_move_the_cursor() {
    let text = shown(false, |screen| screen.line("analyzer", "a\x1b[2Jb\rc\td\n"));
    assert_eq!(text, "  analyzer | a\\u{1b}[2Jb\\rc\td\n");
}

#[test]
fn lines_go_above_the_status_line() {
    let text = shown(true, |screen| {
        screen.show_status("25/s".to_owned());
        screen.line("up", "x");
    });
    assert!(text.starts_with("25/s\r\x1b[2K\x1b[1m"), "{text:?}");
    assert!(text.ends_with(" x\n25/s"), "{text:?}");
}

#[test]
fn what_was_dropped_is_counted_and_said() {
    let (queue, messages) = sync_channel(1);
    let dropped = Arc::new(AtomicU64::new(0));
    let console = Console { queue, dropped: Arc::clone(&dropped), terminal: false, quiet: false };
    for _ in 0..4 {
        console.say("x");
    }
    drop(console);
    let mut out = Vec::new();
    write(&messages, Screen { out: &mut out, colour: false, status: String::new() }, &dropped);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("3 log lines were dropped"), "{text}");
}
