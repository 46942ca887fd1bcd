//! Durations as people write them: `5s`, `30m`, `1h 30m`, `1day`. Used by `#[serde(with = "duration")]` and
//! by flags.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanParser, SpanPrinter};
use jiff::{SignedDuration, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serializer};

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration: write a number and a unit, such as 500ms, 5s, 30m, 12h or 1day")]
pub struct InvalidDuration(pub String);

/// Reads a duration; days have 24 hours.
///
/// # Errors
/// When the text is not a duration, has no fixed length (months, years), or is negative.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let span = SpanParser::new().parse_span(text.trim()).map_err(|_| invalid())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
    Duration::try_from(length).map_err(|_| invalid())
}

/// The duration in the form that [`parse`] reads: `30m`, `1h30m`, `2days`.
pub fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds > 0 && seconds.is_multiple_of(86_400) && duration.subsec_nanos() == 0 {
        let days = seconds / 86_400;
        return format!("{days}day{}", if days == 1 { "" } else { "s" });
    }
    let printer = SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::None);
    let length = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    printer.duration_to_string(&length)
}

/// Writes the duration as [`text`] does.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// Reads a duration as [`parse`] does.
///
/// # Errors
/// Those of the deserializer, and those of [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (written, ms) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("30m", 1_800_000),
            ("90 minutes", 5_400_000),
            ("1h 30m", 5_400_000),
            (" 1day ", 86_400_000),
            ("2 days", 172_800_000),
            ("1w", 604_800_000),
            ("1.5s", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(parse(written), Ok(Duration::from_millis(ms)), "{written}");
        }
    }

    #[test]
    fn what_has_no_unit_no_fixed_length_or_a_sign_is_refused_with_what_to_write() {
        for wrong in ["", "30", "m", "-5s", "5s ago", "1 month", "1y", "soon", "5 s x"] {
            assert_eq!(parse(wrong), Err(InvalidDuration(wrong.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_what_it_prints(ms in 0..(200_u64 * 366 * 86_400_000)) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&text(duration)), Ok(duration));
            let days = Duration::from_secs(ms / 86_400_000 * 86_400);
            prop_assert_eq!(parse(&text(days)), Ok(days));
        }
    }
}
