//! A result as a table for people.

use std::fmt::Write;

use common::result::{TopN, Window};

use crate::text::{grouped, printable, utc};

/// The result's first `top` items below a line that describes the result, with an empty line at the end. `lag_ms` is how long
/// after the receipt of its newest event the server had the result, which may be long ago.
pub(super) fn table(result: &TopN, lag_ms: u64, top: usize) -> String {
    let window = match result.window {
        Window::Running {} => "since the start".to_owned(),
        Window::Sliding { size_ms, .. } => format!("last {}", span(size_ms)),
        Window::Other => "over a window of a kind that this version does not know".to_owned(),
    };
    let distinct = if result.distinct_error > 0.0 { "about " } else { "" };
    let mut text = format!(
        "{} ({window}), as of {}: {} mentions of {distinct}{} items, {} events, {} duplicates; served {lag_ms} ms after its newest event came\n",
        printable(&result.query),
        time(result.as_of_ms),
        grouped(result.total),
        grouped(result.distinct),
        grouped(result.events),
        grouped(result.duplicates),
    );
    let shown = &result.top[..result.top.len().min(top)];
    let items: Vec<String> = shown.iter().map(|ranked| printable(&ranked.item)).collect();
    let width = items.iter().map(|item| item.chars().count()).max().unwrap_or_default();
    for (rank, (ranked, item)) in shown.iter().zip(&items).enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:>4}  {item:<width$}  {:>12}", rank + 1, grouped(ranked.count));
        if ranked.error > 0 {
            let _ = write!(text, "  at most {} too many", grouped(ranked.error));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn span(ms: i64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

fn time(ms: i64) -> String {
    if ms == 0 { "never".to_owned() } else { format!("{} UTC", utc(ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_0_is_never() {
        assert_eq!(time(1_425_788_568_167), "2015-03-08 04:22:48 UTC");
        assert_eq!(time(0), "never");
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(
            [1_800_000, 3_600_000, 5_000, 1_500].map(span),
            ["30 min", "1 h", "5 s", "1500 ms"]
        );
    }
}
