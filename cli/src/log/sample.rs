//! What is shown of a message: texts that are short, and cannot steer a terminal.

use common::message_log::{Entry, Place, Sequence};

use crate::text::printable;

/// So many characters of a payload are shown.
const PAYLOAD_CHARACTERS: usize = 100;
/// So many characters of a key or an id are shown.
const NAME_CHARACTERS: usize = 40;
/// An entry that is shown, with harmless and short texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub place: Place,
    pub sequence: Sequence,
    pub source: String,
    pub received_ms: i64,
    pub key: Option<String>,
    pub id: Option<String>,
    pub reason: Option<&'static str>,
    pub bytes: usize,
    pub payload: String,
}

impl Sample {
    /// What is shown of an entry.
    pub fn of(place: Place, sequence: Sequence, entry: &Entry) -> Self {
        let identity = entry.identity.as_ref();
        let name = |text: &Option<String>| text.as_deref().map(name_of);
        Self {
            place,
            sequence,
            source: name_of(&entry.source),
            received_ms: entry.received_ms,
            key: identity.and_then(|identity| name(&identity.key)),
            id: identity.and_then(|identity| name(&identity.id)),
            reason: entry.reason.map(|reason| reason.as_str()),
            bytes: entry.payload.len(),
            payload: beginning(&entry.payload),
        }
    }
}

/// A name that others gave, short and made harmless.
pub fn name_of(text: &str) -> String {
    short(text, NAME_CHARACTERS)
}

/// The beginning of a payload, made harmless.
pub fn beginning(payload: &[u8]) -> String {
    // No character has more than four bytes.
    let start = &payload[..payload.len().min(4 * PAYLOAD_CHARACTERS + 4)];
    short(&String::from_utf8_lossy(start), PAYLOAD_CHARACTERS)
}

/// At most so many characters, made harmless.
fn short(text: &str, most: usize) -> String {
    let mut letters = text.chars();
    let kept: String = letters.by_ref().take(most).collect();
    let end = if letters.next().is_some() { "…" } else { "" };
    printable(&kept) + end
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::entry;
    use super::*;

    #[test]
    fn a_payload_that_is_cut_in_the_middle_of_a_character_is_shown_up_to_there() {
        let sample = Sample::of(
            Place::Group,
            Sequence::ZERO,
            &entry("a", 0, None, &"\u{1f3a4}".repeat(200)),
        );
        assert_eq!(sample.payload, "\u{1f3a4}".repeat(PAYLOAD_CHARACTERS) + "…");
    }
}
