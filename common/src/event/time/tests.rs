use proptest::prelude::*;

use super::*;

fn number(text: &str, unit: Unit) -> Result<i64, Unreadable> {
    milliseconds(&Value::Number(text), unit)
}

fn text(text: &str, unit: Unit) -> Result<i64, Unreadable> {
    milliseconds(&Value::Text(text.into()), unit)
}

#[test]
fn one_moment_is_the_same_in_every_unit() {
    const MOMENT: i64 = 1_425_788_568_167;
    for (written, unit) in [
        ("1425788568167", Unit::Ms),
        ("1425788568167.9", Unit::Ms),
        ("1.425788568167e12", Unit::Ms),
        ("1425788568.167", Unit::S),
        ("1425788568.1679999999999999999999", Unit::S),
        ("1425788568167000", Unit::Us),
        ("1425788568167999", Unit::Us),
        ("1425788568167999.99", Unit::Us),
        ("1425788568167000000", Unit::Ns),
        ("1425788568167999999", Unit::Ns),
        ("1425788568167999999e0", Unit::Ns),
        ("14257885681670000000000e-4", Unit::Ns),
    ] {
        assert_eq!(number(written, unit), Ok(MOMENT), "{written} {unit:?}");
    }
    for written in [
        "2015-03-08T04:22:48.167Z",
        "2015-03-08t04:22:48.167z",
        "2015-03-08 04:22:48.167Z",
        "2015-03-08T04:22:48.167999999Z",
        "2015-03-08T05:22:48.167+01:00",
        "2015-03-07T23:22:48.167-05:00",
        "2015-03-08T09:52:48.1670+05:30",
        "2015-03-08T04:22:48.167-00:00",
    ] {
        assert_eq!(text(written, Unit::Rfc3339), Ok(MOMENT), "{written}");
    }
}

#[test]
fn times_before_1970_are_rounded_down_too() {
    for (written, unit, ms) in [
        ("-1", Unit::Ms, -1),
        ("-0.5", Unit::Ms, -1),
        ("-0", Unit::Ms, 0),
        ("-0.0e9", Unit::S, 0),
        ("-1", Unit::S, -1_000),
        ("-1.0005", Unit::S, -1_001),
        ("-1", Unit::Us, -1),
        ("-1000", Unit::Us, -1),
        ("-1001", Unit::Us, -2),
        ("-1", Unit::Ns, -1),
    ] {
        assert_eq!(number(written, unit), Ok(ms), "{written} {unit:?}");
    }
    assert_eq!(text("1969-12-31T23:59:59.9995Z", Unit::Rfc3339), Ok(-1));
    assert_eq!(text("1969-12-31T23:59:58.5Z", Unit::Rfc3339), Ok(-1_500));
    assert_eq!(text("0001-01-01T00:00:00Z", Unit::Rfc3339), Ok(-62_135_596_800_000));
}

#[test]
fn a_value_that_is_not_a_time_of_its_unit_is_refused_with_the_reason() {
    for unit in [Unit::Ms, Unit::S, Unit::Us, Unit::Ns] {
        assert_eq!(text("1425788568167", unit), Err(Unreadable::NoNumber));
        assert_eq!(text("2015-03-08T04:22:48Z", unit), Err(Unreadable::NoNumber));
        assert_eq!(milliseconds(&Value::Other, unit), Err(Unreadable::NoNumber));
        for far in ["1e400", "-1e400", "1e99999999999999999999", "18446744073709551616000000"] {
            assert_eq!(number(far, unit), Err(Unreadable::TooFar), "{far} {unit:?}");
        }
        assert_eq!(number("0e99999999999999999999", unit), Ok(0));
        assert_eq!(number("1e-99999999999999999999", unit), Ok(0));
    }
    assert_eq!(number("9007199254740992", Unit::Ms), Ok(MAX_MS));
    assert_eq!(number("9007199254740993", Unit::Ms), Err(Unreadable::TooFar));
    assert_eq!(number("9223372036854775807", Unit::S), Err(Unreadable::TooFar));
    assert_eq!(number("1425788568167", Unit::Rfc3339), Err(Unreadable::NoText));
    assert_eq!(milliseconds(&Value::Other, Unit::Rfc3339), Err(Unreadable::NoText));
    for wrong in [
        "",
        "now",
        "1425788568167",
        "2015-03-08",
        "2015-03-08T04:22:48",
        "2015-03-08T04:22:48.167",
        "2015-02-30T04:22:48Z",
        "2015-13-08T04:22:48Z",
        "2015-03-08T24:22:48Z",
        "2015-03-08T04:22:48Zx",
        "Sun, 08 Mar 2015 04:22:48 GMT",
        "2015-03-08T04:22:48+25:00:00:00",
    ] {
        assert_eq!(text(wrong, Unit::Rfc3339), Err(Unreadable::NoTimestamp), "{wrong}");
    }
}

/// Floor of `digits · 10^exponent`, computed with integers only.
fn floor(digits: i128, exponent: i32) -> i128 {
    if exponent < 0 {
        digits.div_euclid(10_i128.pow(exponent.unsigned_abs()))
    } else {
        digits * 10_i128.pow(exponent.unsigned_abs())
    }
}

/// A number with these `digits`, `places` of them after the point, times a power of ten.
fn decimal(digits: i64, places: usize, power: i32) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let all = format!("{:0>width$}", digits.unsigned_abs(), width = places + 1);
    let (whole, fraction) = all.split_at(all.len() - places);
    let point = if places > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}e{power}")
}

proptest! {
    #[test]
    fn a_number_is_scaled_exactly(digits in any::<i64>(), places in 0..8_usize, power in -9..6_i32) {
        let written = decimal(digits, places, power);
        for (unit, scale) in [(Unit::S, 3), (Unit::Ms, 0), (Unit::Us, -3), (Unit::Ns, -6)] {
            let exact = floor(digits.into(), power - places as i32 + scale);
            let expected = i64::try_from(exact).map_err(|_| Unreadable::TooFar).and_then(in_range);
            prop_assert_eq!(number(&written, unit), expected, "{} {:?}", written, unit);
        }
    }

    #[test]
    fn any_offset_names_the_same_moment(time_ms in -60_000_000_000_000_i64..250_000_000_000_000, minutes in -1439..1440_i64) {
        let local = Timestamp::from_millisecond(time_ms + minutes * 60_000).unwrap().to_string();
        let local = local.strip_suffix('Z').unwrap();
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
        let written = format!("{local}{sign}{hours:02}:{minutes:02}");
        prop_assert_eq!(text(&written, Unit::Rfc3339), Ok(time_ms), "{}", written);
    }

    #[test]
    fn no_value_makes_it_panic(written in ".{0,24}", digits in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,20})?") {
        let _ = text(&written, Unit::Rfc3339);
        for unit in [Unit::Ms, Unit::S, Unit::Us, Unit::Ns] {
            let _ = number(&digits, unit);
        }
    }
}
