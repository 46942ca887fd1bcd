//! How a feed is asked for what was missed: the key `resume` of a source.

use common::event::time::Unit;
use common::event::{Pointer, Step};
use serde::{Deserialize, Serialize};

/// How a feed is asked for the messages that were missed during an interruption.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Resume {
    /// The feed cannot be asked: every interruption is a gap.
    #[default]
    None,
    /// By a query parameter of the address with this name. Its value is the event time to begin with, in
    /// milliseconds since 1970.
    Query(String),
    /// The same in another unit.
    QueryIn(String, Unit),
    /// By the header `Last-Event-ID`, if the feed's events have ids.
    LastEventId,
    /// By a query parameter with this name. Its value is at this place in the answer before.
    Answer(String, Pointer),
    /// By a query parameter with this name. Its value is the highest one at this place in the messages before.
    Highest(String, Pointer),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Written {
    Word(String),
    From {
        query: String,
        from: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<Unit>,
    },
    Highest {
        query: String,
        highest: Pointer,
    },
}

impl Resume {
    /// The query parameter.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::None | Self::LastEventId => None,
            Self::Query(name)
            | Self::QueryIn(name, _)
            | Self::Answer(name, _)
            | Self::Highest(name, _) => Some(name),
        }
    }

    /// An event time as the feed is asked for it. `ms` is milliseconds since 1970.
    pub fn time(&self, ms: i64) -> i64 {
        match self {
            Self::QueryIn(_, Unit::S) => ms.div_euclid(1_000),
            Self::QueryIn(_, Unit::Us) => ms.saturating_mul(1_000),
            Self::QueryIn(_, Unit::Ns) => ms.saturating_mul(1_000_000),
            _ => ms,
        }
    }

    /// Stored cursors of one way mean nothing to another one; this tells the ways apart.
    pub(super) fn way(&self) -> String {
        match self {
            Self::None => " received".to_owned(),
            // The stored cursor is in milliseconds, whatever the feed is asked for.
            Self::Query(_) | Self::QueryIn(..) => String::new(),
            Self::LastEventId => " last_event_id".to_owned(),
            Self::Answer(name, place) => format!(" {name} from {place}"),
            Self::Highest(name, place) => format!(" {name} highest {place}"),
        }
    }

    /// What is wrong with it for a source of this kind.
    pub(super) fn problem(&self, kind: &str) -> Option<String> {
        let fits = match self {
            Self::None => true,
            Self::Query(_) | Self::QueryIn(..) => kind != "long_poll",
            Self::LastEventId => kind == "sse",
            Self::Answer(..) | Self::Highest(..) => kind == "long_poll",
        };
        if !fits {
            let ways = match kind {
                "long_poll" => {
                    "\"none\", { query = \"PARAMETER\", from = \"/next\" } or { query = \"PARAMETER\", highest = \"/id\" }"
                }
                "sse" => {
                    "\"last_event_id\", \"none\" or { query = \"PARAMETER\", from = \"time\" }"
                }
                _ => "\"none\" or { query = \"PARAMETER\", from = \"time\" }",
            };
            return Some(format!("resume: a source of kind \"{kind}\" has {ways}"));
        }
        if self.parameter() == Some("") {
            return Some("resume.query: must name the parameter, such as since".to_owned());
        }
        match self {
            Self::Answer(_, place) | Self::Highest(_, place)
                if place.steps().contains(&Step::Every) =>
            {
                Some(format!("resume: {place} may mean several values; name one, without *"))
            }
            _ => None,
        }
    }
}

impl TryFrom<Written> for Resume {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::From { query, from, unit } if from == "time" => match unit {
                None | Some(Unit::Ms) => Ok(Self::Query(query)),
                Some(Unit::Rfc3339) => {
                    Err("'rfc3339': a feed is asked by a number; write unit = \"s\", \"ms\", \"us\" or \"ns\"".to_owned())
                }
                Some(unit) => Ok(Self::QueryIn(query, unit)),
            },
            Written::From { unit: Some(_), .. } => {
                Err("unit: is for from = \"time\" only; remove it".to_owned())
            }
            Written::From { query, from, unit: None } => match from.parse() {
                Ok(place) => Ok(Self::Answer(query, place)),
                Err(_) => {
                    Err(format!("'{from}': write from = \"time\" or a path such as \"/next\""))
                }
            },
            Written::Highest { query, highest } => Ok(Self::Highest(query, highest)),
            Written::Word(word) if word == "none" => Ok(Self::None),
            Written::Word(word) if word == "last_event_id" => Ok(Self::LastEventId),
            Written::Word(word) => Err(format!(
                "'{word}': write \"none\" or {{ query = \"PARAMETER\", from = \"time\" }}"
            )),
        }
    }
}

impl From<Resume> for Written {
    fn from(resume: Resume) -> Self {
        match resume {
            Resume::None => Self::Word("none".to_owned()),
            Resume::LastEventId => Self::Word("last_event_id".to_owned()),
            Resume::Query(query) => Self::From { query, from: "time".to_owned(), unit: None },
            Resume::QueryIn(query, unit) => {
                Self::From { query, from: "time".to_owned(), unit: Some(unit) }
            }
            Resume::Answer(query, place) => {
                Self::From { query, from: place.to_string(), unit: None }
            }
            Resume::Highest(query, highest) => Self::Highest { query, highest },
        }
    }
}
