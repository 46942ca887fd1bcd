//! Values of paths and expressions.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::number::Number;

/// What a path or an expression gives for one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// Nothing: what is not there, the `null` of JSON, or what cannot be computed.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string, its escapes resolved.
    Text(Cow<'a, str>),
    /// An object or an array: all that is known of it is that it is not NULL.
    Other,
}

/// The values of the paths of an expression, for one event.
pub trait Row {
    /// The values at the end of the path with this number in the order of the expression's paths: one at most, unless
    /// the path has `[*]`.
    fn values(&self, slot: usize) -> impl Iterator<Item = Scalar<'_>>;
}

impl Scalar<'_> {
    /// Compares two values; `None` if one of them is NULL, or if they are not of one type. A text is compared with a
    /// number as the number that it writes.
    #[inline]
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => Some(left.compare(*right)),
            (Self::Text(left), Self::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            (Self::Number(left), Self::Text(_)) => Some(left.compare(other.number()?)),
            (Self::Text(_), Self::Number(right)) => Some(self.number()?.compare(*right)),
            _ => None,
        }
    }

    /// The value as a number; `None` if it is neither one nor a text that writes one.
    #[inline]
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => Number::parse(text),
            Self::Null | Self::Bool(_) | Self::Other => None,
        }
    }

    /// The value as a condition.
    #[inline]
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Null | Self::Number(_) | Self::Text(_) | Self::Other => None,
        }
    }
}

impl From<Option<bool>> for Scalar<'_> {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Self::Null, Self::Bool)
    }
}

impl From<Option<Number>> for Scalar<'_> {
    fn from(number: Option<Number>) -> Self {
        number.map_or(Self::Null, Self::Number)
    }
}
