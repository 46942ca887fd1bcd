//! When an event happened: turns the time that an event has into milliseconds since 1970.
//!
//! The result is exact. A number is scaled by its decimal digits, not as a floating-point value, and
//! fractions of a millisecond are rounded down, towards the past, before 1970 too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Value;

#[cfg(test)]
mod tests;

/// The largest time, in milliseconds since 1970; its negative is the smallest. 2^53 ms lie in the year
/// 287,396. With this bound, sums and differences of times and durations do not overflow 64 bits, and a JSON
/// reader that has only doubles reads every time exactly.
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
    /// A string such as `2015-09-12T00:49:12.942Z`, with any offset.
    Rfc3339,
}

/// Why a value is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// The unit is one of numbers, and the value is not a number.
    #[error("is not a number")]
    NoNumber,
    /// The unit is one of strings, and the value is not a string.
    #[error("is not a string")]
    NoText,
    /// The string is not a time of RFC 3339.
    #[error("is not a time such as 2015-09-12T00:49:12.942Z")]
    NoTimestamp,
    /// Beyond [`MAX_MS`].
    #[error("is too far from 1970")]
    TooFar,
}

/// The time that a value stands for, in milliseconds since 1970, between -[`MAX_MS`] and [`MAX_MS`].
///
/// # Errors
/// Why the value is not a time.
pub fn milliseconds(value: &Value<'_>, unit: Unit) -> Result<i64, Unreadable> {
    match (unit.exponent(), value) {
        (Some(exponent), Value::Number(number)) => scaled(number, exponent),
        (Some(_), Value::Text(_) | Value::Other) => Err(Unreadable::NoNumber),
        (None, Value::Text(text)) => timestamp(text),
        (None, Value::Number(_) | Value::Other) => Err(Unreadable::NoText),
    }
}

impl Unit {
    /// The unit as it is written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
            Self::Rfc3339 => "rfc3339",
        }
    }

    /// The power of ten that turns a number of this unit into milliseconds; `None` for a unit of strings.
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
    // `jiff` accepts more than RFC 3339, for example a time zone in brackets. That does no harm, because
    // every form that it accepts names exactly one moment.
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
    // A power that does not fit into an i64 may be replaced by the largest one, because no number has that
    // many digits.
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
