//! Reads the times of events, without the pipeline's code and without the library that it uses.

use serde_json::Value;

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds since 1970.
    Ms,
    /// Seconds since 1970.
    S,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
    /// `2015-09-12T00:49:12.942Z`, with any offset.
    Rfc3339,
}

/// Milliseconds since 1970, if the value is a time of this unit. Fractions of a millisecond are rounded down.
pub fn ms(value: &Value, unit: Unit) -> Option<i64> {
    let per_ms = match unit {
        Unit::Rfc3339 => return rfc3339(value.as_str()?),
        Unit::S => 0.001,
        Unit::Ms => 1.0,
        Unit::Us => 1e3,
        Unit::Ns => 1e6,
    };
    match value.as_i64() {
        Some(integer) if unit == Unit::S => integer.checked_mul(1_000),
        Some(integer) => Some(integer.div_euclid(per_ms as i64)),
        None => value.as_f64().map(|number| (number / per_ms).floor() as i64),
    }
}

fn rfc3339(text: &str) -> Option<i64> {
    let number = |from: usize, len: usize| text.get(from..from + len)?.parse::<i64>().ok();
    let is = |at: usize, wanted: &[u8]| wanted.contains(text.as_bytes().get(at)?).then_some(());
    for (at, wanted) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        is(at, wanted.as_bytes())?;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let rest = &text[19..];
    let digits = rest
        .strip_prefix('.')
        .map_or(0, |digits| digits.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = if digits == 0 { ("", rest) } else { rest[1..].split_at(digits) };
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let offset_minutes = match offset {
        "Z" | "z" => 0,
        _ => {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?)
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - offset_minutes * 60) * 1_000 + millis)
}

/// Days since 1970 in the Gregorian calendar, counted year by year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: i64| match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let years: i64 = if year >= 1970 {
        (1970..year).map(|year| 365 + i64::from(leap(year))).sum()
    } else {
        -(year..1970).map(|year| 365 + i64::from(leap(year))).sum::<i64>()
    };
    years + (1..month).map(length).sum::<i64>() + day - 1
}
