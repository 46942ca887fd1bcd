//! The records of the topic of acknowledgements: what a collector says about its log, for all others.
//!
//! | key | value | what it says |
//! |---|---|---|
//! | `INSTANCE` | [`Watermark`] | which entries are in Kafka |
//! | `INSTANCE/dead_letter/SEQUENCE` | `source`, `reason` | the entry is a dead letter in Kafka |
//! | `INSTANCE/lost/SEQUENCE` | `end` | the entries from this one up to `end` are lost |
//!
//! Values are JSON objects. Sequences are texts, because they are larger than the integers that all readers of JSON have.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use common::event::Reason;
use common::message_log::Sequence;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fate::Span;

const DEAD_LETTER: &str = "dead_letter";
const LOST: &str = "lost";

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Watermark(Watermark),
    Note(Note),
}

/// Which entries of a log are in Kafka, and how much of the rest is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watermark {
    /// Everything before is in Kafka, apart from what is aside.
    pub(super) before: Text<Sequence>,
    /// These are not, and are sent outside of the order: 256 ranges at most.
    pub(super) aside: Vec<Text<Span>>,
    /// Of losses before, the notes may be missing.
    pub(super) lost_since: Text<Sequence>,
    /// The sources that events are pushed to. Of dead letters before, the notes may be missing.
    pub(super) dead_letters_since: BTreeMap<String, Text<Sequence>>,
}

/// What is said one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// An entry is a dead letter in Kafka. Without a reason, that is not one of this version.
    DeadLetter { sequence: Sequence, source: Arc<str>, reason: Option<Reason> },
    /// The entries from `start` up to `end`, without it, are lost.
    Lost { start: Sequence, end: Sequence },
}

#[derive(Serialize, Deserialize)]
struct DeadLetter {
    source: String,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Lost {
    end: Text<Sequence>,
}

/// Something that is written as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<T>(pub(super) T);

impl Record {
    /// The key and the value, for the log `instance`.
    pub(super) fn encode(&self, instance: &str) -> (String, String) {
        match self {
            Self::Watermark(watermark) => (instance.to_owned(), json(watermark)),
            Self::Note(Note::DeadLetter { sequence, source, reason }) => {
                let reason = reason.map_or("", Reason::as_str).to_owned();
                let value = DeadLetter { source: source.to_string(), reason };
                (format!("{instance}/{DEAD_LETTER}/{sequence}"), json(&value))
            }
            Self::Note(Note::Lost { start, end }) => {
                (format!("{instance}/{LOST}/{start}"), json(&Lost { end: Text(*end) }))
            }
        }
    }

    /// The log that a record is about, and what it says; `None` if it is none of these.
    pub(super) fn decode<'k>(key: &'k [u8], value: &[u8]) -> Option<(&'k str, Self)> {
        let key = std::str::from_utf8(key).ok()?;
        let mut parts = key.split('/');
        let instance = parts.next().filter(|instance| !instance.is_empty())?;
        let record = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => Self::Watermark(parsed(value)?),
            (Some(DEAD_LETTER), Some(sequence), None) => {
                let DeadLetter { source, reason } = parsed(value)?;
                let (sequence, source) = (sequence.parse().ok()?, source.into());
                Self::Note(Note::DeadLetter { sequence, source, reason: reason.parse().ok() })
            }
            (Some(LOST), Some(start), None) => {
                let Lost { end } = parsed(value)?;
                Self::Note(Note::Lost { start: start.parse().ok()?, end: end.0 })
            }
            _ => return None,
        };
        Some((instance, record))
    }
}

fn json(value: &impl Serialize) -> String {
    // Objects whose names are texts can always be written.
    serde_json::to_string(value).unwrap_or_default()
}

fn parsed<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom(format!("'{text}' is not as expected")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(number: usize) -> Sequence {
        Sequence::from_opaque(number)
    }

    #[test]
    fn a_record_reads_back_as_what_it_was_written_from() {
        let span = Span { first: sequence(4), last: sequence(5) };
        let watermark = Watermark {
            before: Text(sequence(1 << 60)),
            aside: vec![Text(span)],
            lost_since: Text(sequence(3)),
            dead_letters_since: [("orders".to_owned(), Text(sequence(2)))].into(),
        };
        let letters = Reason::ALL.map(|reason| Note::DeadLetter {
            sequence: sequence(7),
            source: "orders".into(),
            reason: Some(reason),
        });
        let lost = Note::Lost { start: sequence(8), end: sequence(9) };
        let notes = letters.into_iter().chain([lost]).map(Record::Note);
        for record in notes.chain([Record::Watermark(watermark)]) {
            let (key, value) = record.encode("3f2a");
            assert_eq!(Record::decode(key.as_bytes(), value.as_bytes()), Some(("3f2a", record)));
        }
    }

    #[test]
    fn the_form_is_one_that_people_can_read() {
        let lost = Record::Note(Note::Lost { start: sequence(8), end: sequence(9) });
        assert_eq!(lost.encode("3f2a"), ("3f2a/lost/8".to_owned(), r#"{"end":"9"}"#.to_owned()));
        let letter = Note::DeadLetter {
            sequence: sequence(7),
            source: "orders".into(),
            reason: Some(Reason::NotJson),
        };
        let (key, value) = Record::Note(letter).encode("3f2a");
        assert_eq!(key, "3f2a/dead_letter/7");
        assert_eq!(value, r#"{"source":"orders","reason":"not_json"}"#);
    }

    #[test]
    fn what_is_no_record_of_this_version_is_passed_over() {
        let value = br#"{"source":"orders","reason":"a_later_one","more":1}"#;
        let decoded = Record::decode(b"17/dead_letter/7", value);
        let (sequence, source) = (sequence(7), "orders".into());
        let letter = Note::DeadLetter { sequence, source, reason: None };
        assert_eq!(decoded, Some(("17", Record::Note(letter))), "what it says is not lost");
        for (key, value) in [
            ("", "{}"),
            ("17", "{}"),
            ("17", ""),
            ("17/lost/x", r#"{"end":"9"}"#),
            ("17/lost/8", r#"{"end":9}"#),
            ("17/lost/8/9", r#"{"end":"9"}"#),
            ("17/found/8", r#"{"end":"9"}"#),
        ] {
            assert_eq!(Record::decode(key.as_bytes(), value.as_bytes()), None, "{key} {value}");
        }
        assert_eq!(Record::decode(b"\xff", b"{}"), None);
    }
}
