//! Numbers: those of JSON, compared by value and computed with.

use std::cmp::Ordering;
use std::fmt;

use crate::event::json::Reader;

/// A number. Integers from -2^63 to 2^64-1 are exact, every other number is the `f64` that is nearest to it. It is
/// never NaN or infinite.
#[derive(Debug, Clone, Copy)]
pub struct Number(Repr);

#[derive(Debug, Clone, Copy)]
enum Repr {
    Signed(i64),
    /// More than `i64::MAX`.
    Large(u64),
    Float(f64),
}

/// What is done with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A longer text is read as no number, so that it costs little, however often it is compared: 309 digits are the largest finite
/// `f64`, and what further ones add is below its precision.
const MAX_DIGITS: usize = 400;
/// The first power of two that is no `u64`.
const ABOVE_U64: f64 = 18_446_744_073_709_551_616.0;

impl Number {
    /// The number that a text is by the grammar of JSON, without white space around it; `None` if it is none, or too
    /// large for an `f64`, or longer than 400 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        text.bytes().next().filter(|first| *first == b'-' || first.is_ascii_digit())?;
        if text.len() > MAX_DIGITS {
            return None;
        }
        let mut reader = Reader::new(text);
        let is_number = reader.scalar().is_ok_and(|scalar| scalar.len() == text.len());
        if is_number { Self::of_json(text) } else { None }
    }

    /// The value of a text that is a number of JSON.
    #[inline]
    pub(super) fn of_json(text: &str) -> Option<Self> {
        if let Ok(signed) = text.parse() {
            return Some(Self(Repr::Signed(signed)));
        }
        if let Ok(large) = text.parse() {
            return Some(Self(Repr::Large(large)));
        }
        text.parse().ok().and_then(Self::of_f64)
    }

    /// The number, unless it is NaN or infinite.
    pub fn of_f64(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(Repr::Float(value)))
    }

    /// The nearest `f64`.
    pub fn as_f64(self) -> f64 {
        match self.0 {
            Repr::Signed(value) => value as f64,
            Repr::Large(value) => value as f64,
            Repr::Float(value) => value,
        }
    }

    fn integer(self) -> Option<i128> {
        match self.0 {
            Repr::Signed(value) => Some(value.into()),
            Repr::Large(value) => Some(value.into()),
            Repr::Float(_) => None,
        }
    }

    fn of_integer(value: i128) -> Option<Self> {
        let large = || u64::try_from(value).map(Repr::Large);
        i64::try_from(value).map(Repr::Signed).or_else(|_| large()).ok().map(Self)
    }

    /// Compares by value, exactly.
    #[inline]
    pub fn compare(self, other: Self) -> Ordering {
        match (self.0, other.0) {
            (Repr::Signed(left), Repr::Signed(right)) => left.cmp(&right),
            // Neither is NaN.
            (Repr::Float(left), Repr::Float(right)) => {
                left.partial_cmp(&right).unwrap_or(Ordering::Equal)
            }
            _ => self.compare_mixed(other),
        }
    }

    fn compare_mixed(self, other: Self) -> Ordering {
        match (self.integer(), other.integer()) {
            (Some(left), Some(right)) => left.cmp(&right),
            (Some(left), None) => integer_and_float(left, other.as_f64()),
            (None, Some(right)) => integer_and_float(right, self.as_f64()).reverse(),
            (None, None) => Ordering::Equal,
        }
    }

    /// The result; `None` for a division by zero, or if it is too large.
    pub(super) fn compute(self, operation: Operation, other: Self) -> Option<Self> {
        if let (Some(left), Some(right)) = (self.integer(), other.integer()) {
            let exact = match operation {
                Operation::Add => left.checked_add(right),
                Operation::Subtract => left.checked_sub(right),
                Operation::Multiply => left.checked_mul(right),
                Operation::Remainder => Some(left.checked_rem(right)?),
                Operation::Divide if left.checked_rem(right)? == 0 => left.checked_div(right),
                Operation::Divide => None,
            };
            if let Some(exact) = exact.and_then(Self::of_integer) {
                return Some(exact);
            }
        }
        let (left, right) = (self.as_f64(), other.as_f64());
        // What is divided by zero is infinite or NaN.
        Self::of_f64(match operation {
            Operation::Add => left + right,
            Operation::Subtract => left - right,
            Operation::Multiply => left * right,
            Operation::Divide => left / right,
            Operation::Remainder => left % right,
        })
    }

    /// The number with the other sign.
    pub(super) fn negate(self) -> Self {
        let negated = self.integer().and_then(|value| Self::of_integer(-value));
        negated.unwrap_or(Self(Repr::Float(-self.as_f64())))
    }

    /// Writes the number so that it reads back as the same, and a whole `f64` not as an integer.
    pub(super) fn write_literal(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Float(value) => write!(f, "{value:?}"),
            Repr::Signed(_) | Repr::Large(_) => write!(f, "{self}"),
        }
    }
}

/// Compares an integer of at most 65 bits with a finite float.
fn integer_and_float(integer: i128, float: f64) -> Ordering {
    if float >= ABOVE_U64 {
        return Ordering::Less;
    }
    if float < i64::MIN as f64 {
        return Ordering::Greater;
    }
    // Within these bounds the integer part converts exactly.
    let whole = float.trunc();
    let fraction = float - whole;
    integer.cmp(&(whole as i128)).then(0.0_f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal))
}

impl PartialEq for Number {
    /// Whether both are the same literal: `1` and `1.0` are equal by value, but are computed with differently.
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Repr::Signed(left), Repr::Signed(right)) => left == right,
            (Repr::Large(left), Repr::Large(right)) => left == right,
            (Repr::Float(left), Repr::Float(right)) => left == right,
            _ => false,
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(Repr::Signed(value))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(i64::try_from(value).map_or(Repr::Large(value), Repr::Signed))
    }
}

impl fmt::Display for Number {
    /// Plain digits, without an exponent: `20`, `0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Signed(value) => write!(f, "{value}"),
            Repr::Large(value) => write!(f, "{value}"),
            Repr::Float(value) => write!(f, "{value}"),
        }
    }
}
