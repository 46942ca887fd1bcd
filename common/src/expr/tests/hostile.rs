use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Pieces of which a text may be made that is nearly an expression.
const PIECES: [&str; 68] = [
    "a",
    "b.c",
    "/a/b",
    "/a/*/b",
    "/",
    "//",
    "/*",
    "*/",
    "tags[*]",
    "x[0]",
    "[",
    "]",
    "\"odd\"",
    "\"",
    "'",
    "'t'",
    "''",
    "5",
    "-1",
    "1e5",
    "1.",
    ".5",
    ".",
    "_",
    "._a",
    "0x1f",
    "1e999",
    "(",
    ")",
    "(",
    ",",
    "+",
    "-",
    "--",
    "*",
    "/",
    "%",
    "=",
    "<>",
    "!=",
    "<",
    ">=",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "ESCAPE",
    "BETWEEN",
    "IS",
    "NULL",
    "TRUE",
    "lower(",
    "bucket(x, 1, 2)",
    "SELECT",
    "FROM",
    "CASE WHEN",
    "ANY(",
    "EXISTS (",
    "CAST(a AS int)",
    "INTERVAL '1' day",
    "N'x'",
    "X'ff'",
    "$1",
    "$$a$$",
    "::int",
    "COLLATE c",
    "\u{e000}",
];

/// Reads the text as an expression, and as what a statement ends with.
fn check(text: &str) -> Result<(), TestCaseError> {
    let started = Instant::now();
    match Expr::parse(text) {
        Ok(expr) => {
            let canonical = expr.to_string();
            if canonical.len() <= MAX_TEXT {
                prop_assert_eq!(Expr::parse(&canonical), Ok(expr), "{}: {}", text, canonical);
            }
        }
        Err(error) => {
            let sentence = error.to_string();
            prop_assert!(sentence.chars().count() < 400, "{}", sentence);
            if let Some(Position { line, column }) = error.position() {
                let lines: Vec<_> = text.split('\n').collect();
                prop_assert!(line >= 1 && line <= lines.len(), "{}: {}", text, sentence);
                let length = lines[line - 1].chars().count();
                prop_assert!(column >= 1 && column <= length + 1, "{}: {}", text, sentence);
            }
        }
    }
    prop_assert!(started.elapsed() < Duration::from_secs(2), "{}: {:?}", text, started.elapsed());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_takes_long_or_gives_a_position_outside_of_it(text in "\\PC{0,60}|(?s).{0,60}") {
        check(&text)?;
    }

    #[test]
    fn no_soup_of_words_does_either(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40),
        space in prop::sample::select(vec!["", " ", "\n"]),
    ) {
        check(&pieces.join(space))?;
    }

    #[test]
    fn no_expression_with_a_mistake_does_either(at in any::<prop::sample::Index>(), piece in prop::sample::select(PIECES.to_vec()), cut in 0_usize..8) {
        let text = "type = 'ma''tch' AND NOT (price / 2 > -3.5e1) OR /g/*/x IN ('us', 5)\n AND bucket(age, 20, 30) LIKE 'ä_%' ESCAPE '!' AND \"odd\".t[*] IS NOT NULL";
        let place = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((place + cut).min(text.len())).max(place);
        check(&[&text[..place], piece, &text[end..]].concat())?;
    }

    #[test]
    fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..40), json in "[{}\\[\\]\",:a0-9tru\\\\ ]{0,40}") {
        let condition = Condition::parse("a = 1 OR a[*].a = 'x' OR [*] LIKE 'a%' OR [0].a > 1").unwrap();
        let mut slots = Slots::default();
        let valid = |payload: &[u8]| serde_json::from_slice::<serde_json::Value>(payload).is_ok();
        for payload in [&*payload, json.as_bytes()] {
            let holds = condition.holds(payload, &mut slots);
            prop_assert!(holds.is_none() || valid(payload));
        }
    }
}

#[test]
fn repeating_one_piece_up_to_the_longest_text_takes_no_time_and_no_stack() {
    for piece in PIECES.iter().chain(&[
        "a IN (1) ",
        "IN (",
        "x IN ((",
        "a=",
        "a IS NULL ",
        "IS NULL ",
        "((a,",
        "NOT(",
        "- ",
        "a.",
        "a OR ",
        "1+",
        "x LIKE ",
        "IF(",
        "BETWEEN a AND ",
    ]) {
        for (before, after) in [("", ""), ("a ", ""), ("", " a"), ("a = ", " = 'x'")] {
            for space in ["", " "] {
                let unit = format!("{piece}{space}");
                let count = (MAX_TEXT - before.len() - after.len()) / unit.len();
                let text = format!("{before}{}{after}", unit.repeat(count));
                let started = Instant::now();
                let _ = Expr::parse(&text);
                assert!(
                    started.elapsed() < Duration::from_secs(2),
                    "{text}: {:?}",
                    started.elapsed()
                );
            }
        }
    }
}

#[test]
fn a_payload_that_is_nested_too_deep_or_very_long_is_read_without_recursion_or_copies() {
    let deep = format!("{{\"b\":{}1{},\"a\":1}}", "[".repeat(120), "]".repeat(120));
    assert_eq!(truth("a = 1", deep), Some(true));
    let deeper = format!("{{\"a\":1,\"b\":{}", "[".repeat(100_000));
    assert_eq!(truth("a = 1", deeper), None);
    let path = "[*]".repeat(MAX_STEPS);
    let nested = format!("{}1{}", "[".repeat(MAX_STEPS), "]".repeat(MAX_STEPS));
    assert_eq!(truth(&format!("{path} = 1"), nested), Some(true));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000_000));
    assert_eq!(truth("a LIKE 'x%x' AND length(a) = 1000000", long), Some(true));
}
