use super::*;

fn text(line: &[u8]) -> String {
    FirstLine::of(line).to_string()
}

#[test]
fn a_line_is_shown_cut_and_without_what_a_terminal_would_obey() {
    let shown = text(format!("\u{1b}[2J{}", "x".repeat(500)).as_bytes());
    assert!(shown.starts_with("its first line is `\\u{1b}[2Jxxx"), "{shown}");
    assert!(shown.contains("x…`;"), "{shown}");
    assert!(shown.chars().count() < 300, "{shown}");
}

#[test]
fn the_hint_is_about_what_the_line_is() {
    assert!(text(b"{\"a\":1}").contains("the id that [event] names"));
    assert!(text(b" [{\"a\":1},{\"a\":2}]").contains("jq -c '.[]'"));
    assert!(text(b"time,member,group").contains("one JSON object"));
    assert!(text(b"").contains("one JSON object"));
    assert!(text(b"\xce\x00\x12").contains("not text"));
}
