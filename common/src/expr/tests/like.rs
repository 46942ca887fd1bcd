use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::like::Pattern;
use super::*;

/// Whether a text matches a pattern, by trying every length for each `%`.
pub(super) fn matches(pattern: &[char], escape: Option<char>, text: &[char]) -> bool {
    // reached[n] says that the pattern so far can end before character n.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut rest = pattern.iter().copied();
    while let Some(c) = rest.next() {
        let mut next = vec![false; text.len() + 1];
        let literal =
            if Some(c) == escape { rest.next() } else { Some(c).filter(|c| !"%_".contains(*c)) };
        for at in 0..=text.len() {
            if !reached[at] {
                continue;
            }
            if literal.is_none() && c == '%' {
                next[at..].fill(true);
            } else if at < text.len() && literal.is_none_or(|literal| literal == text[at]) {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    reached[text.len()]
}

proptest! {
    #[test]
    fn like_agrees_with_trying_everything(
        pieces in prop::collection::vec(prop::sample::select(vec!["%", "_", "a", "b", "ä", "!%", "!_", "!!", "ab"]), 0..10),
        text in "[abä%_!]{0,12}",
    ) {
        let pattern = pieces.concat();
        let characters: Vec<_> = text.chars().collect();
        let expected = matches(&pattern.chars().collect::<Vec<_>>(), Some('!'), &characters);
        prop_assert_eq!(Pattern::new(&pattern, Some('!')).unwrap().matches(&text), expected);
        if !pattern.contains('!') {
            prop_assert_eq!(Pattern::new(&pattern, None).unwrap().matches(&text), expected);
        }
    }
}

#[test]
fn a_pattern_takes_time_in_proportion_to_the_text() {
    let text = "a".repeat(1_000_000);
    let started = Instant::now();
    for pattern in [
        "%a".repeat(500) + "b",
        format!("%{}b%", "a".repeat(2000)),
        format!("%{}_b%", "a".repeat(62)),
        "%a_".repeat(300) + "%b",
    ] {
        assert!(!Pattern::new(&pattern, None).unwrap().matches(&text), "{pattern}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn an_escape_character_takes_the_meaning_of_the_next_one() {
    let event = r#"{"x":"50%"}"#;
    for (condition, expected) in [
        ("x LIKE '50!%' ESCAPE '!'", true),
        ("x LIKE '5!%%' ESCAPE '!'", false),
        ("x LIKE '5_\\%' ESCAPE '\\'", true),
        ("x LIKE '50\\%'", false),
        ("x LIKE '%'", true),
        ("x LIKE ''", false),
        ("x LIKE '___'", true),
        ("x LIKE '__'", false),
    ] {
        assert_eq!(truth(condition, event), Some(expected), "{condition}");
    }
}
