//! How many messages a frame holds: the key `framing` of a source.

use common::event::{Pointer, Step};
use serde::{Deserialize, Serialize};

/// How many messages one frame of a source holds, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Framing {
    /// The frame is the message.
    #[default]
    One,
    /// Every line that is not blank is a message.
    Lines,
    /// The frame has JSON texts one after another, with or without white space between them; each is a message.
    Concatenated,
    /// The frame is a JSON array, or has one at this place inside it; every element is a message.
    Array(Option<Pointer>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(Word),
    Within(Within),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    One,
    Lines,
    Concatenated,
    Array,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Within {
    array: Pointer,
}

impl TryFrom<Written> for Framing {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        Ok(match written {
            Written::Word(Word::One) => Self::One,
            Written::Word(Word::Lines) => Self::Lines,
            Written::Word(Word::Concatenated) => Self::Concatenated,
            Written::Word(Word::Array) => Self::Array(None),
            Written::Within(Within { array }) if array.steps().contains(&Step::Every) => {
                return Err(format!(
                    "{array} may mean several arrays; name exactly one, without *"
                ));
            }
            Written::Within(Within { array }) => Self::Array(Some(array)),
        })
    }
}

impl From<Framing> for Written {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::One => Self::Word(Word::One),
            Framing::Lines => Self::Word(Word::Lines),
            Framing::Concatenated => Self::Word(Word::Concatenated),
            Framing::Array(None) => Self::Word(Word::Array),
            Framing::Array(Some(array)) => Self::Within(Within { array }),
        }
    }
}
