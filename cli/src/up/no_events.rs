//! What the user is told about a recording without any event: its first line, and a hint. Pure.

use std::fmt;

#[cfg(test)]
mod tests;

/// How many characters are shown.
const SHOWN: usize = 120;

/// A line in a form that can be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstLine {
    shown: String,
    hint: &'static str,
}

impl FirstLine {
    /// Looks at the line.
    pub fn of(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        let mut shown: String =
            text.trim_end().chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Self { shown, hint: hint(line) }
    }
}

impl fmt::Display for FirstLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its first line is `{}`; {}", self.shown, self.hint)
    }
}

fn hint(line: &[u8]) -> &'static str {
    let control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    match line.trim_ascii_start().first() {
        _ if std::str::from_utf8(line).is_err() || line.iter().any(control) => {
            "that is not text: is the recording packed in an unknown format?"
        }
        Some(b'[') => "that is an array: jq -c '.[]' makes a line of each element",
        Some(b'{') => "an event needs the id that [event] names",
        Some(_) | None => "an event is a line with one JSON object",
    }
}
