//! When an event happened: from what it says to milliseconds since 1970.
//!
//! All is exact: a number is scaled by its decimal digits, not as a floating-point value, and what is finer
//! than a millisecond is rounded down, before 1970 too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Value;

#[cfg(test)]
mod tests;

/// The largest time, and its negative the smallest: 2^53 ms, in the year 287,396. Sums and differences of
/// times and durations stay far from the ends of 64 bits, and a JSON reader that knows only doubles loses
/// nothing.
pub const MAX_MS: i64 = 1 << 53;

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A number, of milliseconds since 1970.
    #[default]
    Ms,
    /// A number, of seconds since 1970.
    S,
    /// A number, of microseconds since 1970.
    Us,
    /// A number, of nanoseconds since 1970.
    Ns,
    /// A text such as `2015-09-12T00:49:12.942Z`, with any offset.
    Rfc3339,
}

/// Why a value is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// Numbers are expected.
    #[error("is no number")]
    NoNumber,
    /// Texts are expected.
    #[error("is no text")]
    NoText,
    /// The text is not a time of RFC 3339.
    #[error("is no time such as 2015-09-12T00:49:12.942Z")]
    NoTimestamp,
    /// Beyond [`MAX_MS`].
    #[error("is too far from 1970")]
    TooFar,
}

/// The time that a value stands for, in milliseconds since 1970.
///
/// # Errors
/// Why it stands for none.
pub fn milliseconds(value: &Value<'_>, unit: Unit) -> Result<i64, Unreadable> {
    match (unit.exponent(), value) {
        (Some(exponent), Value::Number(number)) => scaled(number, exponent),
        (Some(_), Value::Text(_) | Value::Other) => Err(Unreadable::NoNumber),
        (None, Value::Text(text)) => timestamp(text),
        (None, Value::Number(_) | Value::Other) => Err(Unreadable::NoText),
    }
}

impl Unit {
    /// As it is written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
            Self::Rfc3339 => "rfc3339",
        }
    }

    /// The power of ten by which a number of this unit becomes one of milliseconds.
    const fn exponent(self) -> Option<i64> {
        match self {
            Self::S => Some(3),
            Self::Ms => Some(0),
            Self::Us => Some(-3),
            Self::Ns => Some(-6),
            Self::Rfc3339 => None,
        }
    }
}

fn in_range(time_ms: i64) -> Result<i64, Unreadable> {
    if (-MAX_MS..=MAX_MS).contains(&time_ms) { Ok(time_ms) } else { Err(Unreadable::TooFar) }
}

fn timestamp(text: &str) -> Result<i64, Unreadable> {
    // The crate's reader takes more than RFC 3339 has, such as a time zone in brackets, and all of it names
    // one moment.
    let moment: Timestamp = text.parse().map_err(|_| Unreadable::NoTimestamp)?;
    let subsecond_ms = i64::from(moment.subsec_nanosecond()).div_euclid(1_000_000);
    in_range(moment.as_second() * 1_000 + subsecond_ms)
}

/// A JSON number times a power of ten, rounded down.
fn scaled(number: &str, exponent: i64) -> Result<i64, Unreadable> {
    if let Ok(integer) = number.parse::<i64>() {
        let power = 10_i64.pow(exponent.unsigned_abs() as u32);
        let time_ms =
            if exponent < 0 { Some(integer.div_euclid(power)) } else { integer.checked_mul(power) };
        return time_ms.ok_or(Unreadable::TooFar).and_then(in_range);
    }
    let (negative, magnitude) =
        number.strip_prefix('-').map_or((false, number), |magnitude| (true, magnitude));
    let (mantissa, power) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes()).map(|digit| i64::from(digit - b'0'));
    if digits().all(|digit| digit == 0) {
        return Ok(0);
    }
    // A power that no i64 holds is as good as the largest: the digits are not that many.
    let power = power.parse().unwrap_or(if power.starts_with('-') { i64::MIN } else { i64::MAX });
    // How many digits stand before the decimal point of the result.
    let before = power.saturating_add(exponent).saturating_add(whole.len() as i64);
    let end = before.max((whole.len() + fraction.len()) as i64);
    let mut time_ms = 0_i64;
    let mut inexact = false;
    for (place, digit) in (0..end).zip(digits().chain(std::iter::repeat(0))) {
        if place < before {
            time_ms = time_ms * 10 + digit;
            if time_ms > MAX_MS {
                return Err(Unreadable::TooFar);
            }
        } else {
            inexact |= digit != 0;
        }
    }
    in_range(if negative { -time_ms - i64::from(inexact) } else { time_ms })
}
