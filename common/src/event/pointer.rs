//! Paths into a JSON event.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A JSON pointer (RFC 6901) in which a step `*` stands for every element of an array:
/// `/group/group_topics/*/topic_name`. A single element of an array cannot be named: `/0` is the member
/// called `0` of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    steps: Vec<Step>,
}

/// One step of a [`Pointer`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The member of an object with this name.
    Key(String),
    /// Every element of an array.
    Every,
}

/// A text that is not a [`Pointer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a JSON pointer: write a path such as /group/group_topics/*/topic_name, with ~1 for / and ~0 for ~"
)]
pub struct InvalidPointer(pub String);

impl Pointer {
    /// The member `name` of the root.
    pub fn member(name: &str) -> Self {
        Self { steps: vec![Step::Key(name.to_owned())] }
    }

    /// The steps from the root to the value.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPointer(text.to_owned());
        let steps = text.strip_prefix('/').ok_or_else(invalid)?.split('/').map(|step| match step {
            "*" => Ok(Step::Every),
            key => unescape(key).map(Step::Key).ok_or_else(invalid),
        });
        Ok(Self { steps: steps.collect::<Result<_, _>>()? })
    }
}

/// `~1` is a slash and `~0` a tilde; any other use of a tilde is an error (RFC 6901 section 3).
fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut key = parts.next()?.to_owned();
    for part in parts {
        key.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        key.push_str(&part[1..]);
    }
    Some(key)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| match step {
            Step::Every => f.write_str("/*"),
            Step::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
        })
    }
}

impl TryFrom<String> for Pointer {
    type Error = InvalidPointer;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_those_of_rfc_6901() {
        let pointer: Pointer = "/a~1b/~0/*/".parse().unwrap();
        let key = |k: &str| Step::Key(k.to_owned());
        assert_eq!(pointer.steps(), [key("a/b"), key("~"), Step::Every, key("")]);
        for bad in ["", "a", "/~", "/~2", "/a~"] {
            assert_eq!(bad.parse::<Pointer>(), Err(InvalidPointer(bad.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn a_pointer_reads_back_what_it_prints(keys in prop::collection::vec("[a-z~/ü]{0,5}", 1..5)) {
            let pointer = Pointer { steps: keys.into_iter().map(Step::Key).collect() };
            prop_assert_eq!(pointer.to_string().parse::<Pointer>().unwrap(), pointer);
        }
    }
}
