//! The value that a pointer leads to.

use std::borrow::Cow;

use super::Reason;

/// What stands at the end of a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, as written.
    Number(&'a str),
    /// A string, its escapes resolved.
    Text(Cow<'a, str>),
    /// `true`, `false`, `null`, an object or an array.
    Other,
}

impl Value<'_> {
    /// The value as a key or as a part of an id. Strings and integers are compared by their text, so that `7`
    /// and `"7"` are the same.
    ///
    /// # Errors
    /// [`Reason::BadId`] for anything else. That includes numbers with a fraction or an exponent, because one
    /// such number can be written in many ways.
    pub fn name(&self) -> Result<&str, Reason> {
        match self {
            // The only integer that JSON can write in two ways.
            Self::Number("-0") => Ok("0"),
            Self::Number(text)
                if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) =>
            {
                Ok(text)
            }
            Self::Text(text) => Ok(text),
            Self::Number(_) | Self::Other => Err(Reason::BadId),
        }
    }
}
