//! A result as a table for people.

use std::fmt::Write;

use common::result::{TopN, Window};

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

/// Items are untrusted text: characters that could control a terminal are escaped.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            safe.extend(letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// `21078` as `21,078`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn span(ms: i64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

/// `2015-03-08 04:22:48 UTC`; the calendar by Howard Hinnant's `civil_from_days` (2013).
fn time(ms: i64) -> String {
    if ms == 0 {
        return "never".to_owned();
    }
    let (days, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1_000);
    // In this algorithm years begin in March, and eras of 400 years on 1 March of year 0.
    let day = days + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day_of_month:02} {:02}:{:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(1_425_788_568_167), "2015-03-08 04:22:48 UTC");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(-1), "1969-12-31 23:59:59 UTC");
        assert_eq!(time(0), "never");
    }

    #[test]
    fn numbers_are_grouped_and_spans_have_units() {
        assert_eq!(
            [0, 999, 1_000, 21_078, 1_234_567].map(grouped),
            ["0", "999", "1,000", "21,078", "1,234,567"]
        );
        assert_eq!(
            [1_800_000, 3_600_000, 5_000, 1_500].map(span),
            ["30 min", "1 h", "5 s", "1500 ms"]
        );
    }

    #[test]
    fn an_item_cannot_steer_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\u{202e}c\u{e9}\u{1f3a4}"),
            "a\\u{1b}[2Jb\\u{202e}c\u{e9}\u{1f3a4}"
        );
    }
}
