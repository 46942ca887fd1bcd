//! Sizes and durations as people write them on a command line.

use std::time::Duration;

/// A maximum of bytes; `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

/// Reads `500MiB`, `2GiB`, `1000000` or `unlimited`.
///
/// # Errors
/// What is wrong with it, for the command line.
pub fn limit(text: &str) -> Result<Limit, String> {
    if text == "unlimited" {
        return Ok(Limit(None));
    }
    let wrong = || format!("'{text}' is not a size; write for example 500MiB, 2GiB or unlimited");
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(0) => Err("0 would keep nothing; write for example 500MiB, or unlimited".to_owned()),
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(Limit(Some(bytes))),
        _ => Err(wrong()),
    }
}

/// Reads `500ms`, `90s`, `10m`, `1h30m`; more than 0, and at most a year.
///
/// # Errors
/// What is wrong with it, for the command line.
pub fn duration(text: &str) -> Result<Duration, String> {
    // Longer than any useful time, and short enough that clocks do not overflow.
    const LONGEST: Duration = Duration::from_secs(366 * 86_400);
    let duration = common::config::duration::parse(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > LONGEST {
        return Err(format!("'{text}' must be more than 0 and at most a year"));
    }
    Ok(duration)
}

/// Bytes in the largest unit that leaves a number above one.
pub fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// Splits a text into the digits at its beginning and the rest.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_a_thousand_and_of_1024() {
        let sizes = [("2GiB", 2 << 30), ("500MB", 500_000_000), ("7", 7), ("3 KiB", 3 << 10)];
        for (text, bytes) in sizes {
            assert_eq!(limit(text), Ok(Limit(Some(bytes))), "{text}");
        }
        assert_eq!(limit("unlimited"), Ok(Limit(None)));
        for wrong in ["", "0", "-1", "1.5GiB", "GiB", "2 parsecs", "99999999999GiB"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units_and_may_be_put_together() {
        let durations =
            [("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("1day", 86_400_000)];
        for (text, millis) in durations {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "0s", "10", "-1s", "soon", "99999999999999999999s", "1000d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_shown_in_a_unit_that_fits() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(3 << 19), "1.5 MiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
    }
}
