//! How a feed is asked for what was missed: the key `resume` of a source.

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
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    Query(ByQuery),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByQuery {
    query: String,
    from: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Value {
    Time,
}

impl Resume {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        matches!(self, Self::Query(name) if name.is_empty())
            .then(|| "resume.query: must name the parameter, such as since".to_owned())
    }
}

impl TryFrom<Written> for Resume {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Query(ByQuery { query, from: Value::Time }) => Ok(Self::Query(query)),
            Written::Word(word) if word == "none" => Ok(Self::None),
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
            Resume::Query(query) => Self::Query(ByQuery { query, from: Value::Time }),
        }
    }
}
