//! Text for a terminal: what is not to be trusted is made harmless, and fits into columns.

/// Untrusted text: characters that could steer a terminal, or reorder or hide what is shown, are escaped.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            safe.extend(letter.escape_unicode());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Whether a character could steer a terminal, or reorder or hide what is shown.
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `21078` as `21,078`.
pub fn grouped(number: u64) -> String {
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

/// How many columns a text takes: two for the wide characters of East Asia and for emoji, none for marks that combine.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

const fn columns(letter: char) -> usize {
    match letter {
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' => 0,
        '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' => 0,
        '\u{e47}'..='\u{e4e}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' => 2,
        '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' => 2,
        '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1f64f}' => 2,
        '\u{1f680}'..='\u{1f6ff}' | '\u{1f900}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The text in at most `room` columns; where it was cut there is an ellipsis.
pub fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let mut kept = String::new();
    for letter in text.chars() {
        let taken = columns(letter);
        if taken > left {
            break;
        }
        left -= taken;
        kept.push(letter);
    }
    if room > 0 {
        kept.push('…');
    }
    kept
}

/// The text in at most `room` columns; if it has to be cut, its middle is left out, because the ends of a path say most.
pub fn cut_middle(text: &str, room: usize) -> String {
    if width(text) <= room || room < 5 {
        return cut(text, room);
    }
    let head = cut(text, (room - 1) / 3 + 1);
    let mut left = room - width(&head);
    let mut tail: Vec<char> = Vec::new();
    for letter in text.chars().rev() {
        let taken = columns(letter);
        if taken > left {
            break;
        }
        left -= taken;
        tail.push(letter);
    }
    head + &tail.into_iter().rev().collect::<String>()
}

/// The text, filled up with blanks to `room` columns.
pub fn padded(text: &str, room: usize) -> String {
    let blanks = room.saturating_sub(width(text));
    text.to_owned() + &" ".repeat(blanks)
}

/// `2015-03-08 04:22:48`, in UTC; the number if it is outside of the calendar.
pub fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A span in a unit that fits: `300 ms`, `5 s`.
pub fn about(seconds: f64) -> String {
    match seconds {
        us if us < 1e-3 => format!("{:.0} µs", us * 1e6),
        ms if ms < 1.0 => format!("{:.0} ms", ms * 1e3),
        s if s < 120.0 => format!("{s:.0} s"),
        min if min < 7_200.0 => format!("{:.0} min", min / 60.0),
        h if h < 172_800.0 => format!("{:.0} h", h / 3_600.0),
        days => format!("{:.0} days", days / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 21_078, 1_234_567].map(grouped),
            ["0", "999", "1,000", "21,078", "1,234,567"]
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(1_425_788_568_167), "2015-03-08 04:22:48");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(
            [0.000_02, 0.3, 5.0, 600.0, 7_200.0].map(about),
            ["20 µs", "300 ms", "5 s", "10 min", "2 h"]
        );
    }

    #[test]
    fn untrusted_text_cannot_steer_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\u{202e}c\u{9b}\u{e9}\u{1f3a4}"),
            "a\\u{1b}[2Jb\\u{202e}c\\u{9b}\u{e9}\u{1f3a4}"
        );
    }

    #[test]
    fn what_is_cut_keeps_its_ends() {
        assert_eq!(cut_middle("/group/group_topics/*/topic_name", 16), "/grou…topic_name");
        assert_eq!(cut("待って天幕の", 6), "待っ…");
        assert_eq!(padded("待", 4), "待  ");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in "\\PC{0,40}", room in 0..30_usize) {
            prop_assert!(width(&cut(&text, room)) <= room);
            prop_assert!(width(&cut_middle(&text, room)) <= room);
            prop_assert!(width(&padded(&text, room)) >= room);
        }

        #[test]
        fn what_is_printable_has_no_character_that_steers(text in any::<String>()) {
            prop_assert!(!printable(&text).chars().any(steers));
        }
    }
}
