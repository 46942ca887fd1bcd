//! Numbers as items: each value has one text, so that `5`, `5.0` and `5e0` are one item.
//!
//! The text is exact, whatever the size of the number, because its digits are only moved, never computed with.
//! It is the shortest decimal: no exponent, no leading or trailing zeros. Only a number that is closer to zero
//! than 0.0001, or whose integer part has more than [`MAX_ITEM_BYTES`](super::long_items::MAX_ITEM_BYTES) digits, has
//! an exponent. It has at least two digits, as in `1e-05`, which is how most languages print such numbers.

use std::fmt::Write as _;

use super::long_items::MAX_ITEM_BYTES;

/// Whether a JSON number is surely in the shortest form already: it is an integer of few enough digits.
#[inline]
pub(super) fn is_shortest(number: &str) -> bool {
    let is_integer = number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    is_integer && number.len() <= MAX_ITEM_BYTES && number != "-0"
}

/// Appends the shortest form of a JSON number to `into`.
pub(super) fn write_shortest(number: &str, into: &mut String) {
    let (negative, magnitude) =
        number.strip_prefix('-').map_or((false, number), |magnitude| (true, magnitude));
    let (mantissa, power) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let significant = all.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        into.push('0');
        return;
    }
    // A power that does not fit into an i64 cannot be computed with: such a number keeps its own text.
    let Ok(power) = power.parse::<i64>() else {
        into.push_str(number);
        return;
    };
    // The value is 0.DIGITS times ten to the power of `point`.
    let leading = (all.len() - significant.len()) as i64;
    let point = power.saturating_add(whole.len() as i64 - leading);
    if negative {
        into.push('-');
    }
    let count = digits.len() as i64;
    if point > MAX_ITEM_BYTES as i64 || point < -3 {
        let (first, rest) = digits.split_at(1);
        into.push_str(first);
        if !rest.is_empty() {
            into.push('.');
            into.push_str(rest);
        }
        let exponent = point.saturating_sub(1);
        let sign = if exponent < 0 { '-' } else { '+' };
        let size = exponent.unsigned_abs();
        // Writing to a String cannot fail.
        let _ = write!(into, "e{sign}{size:02}");
    } else if point <= 0 {
        into.push_str("0.");
        into.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        into.push_str(digits);
    } else if point >= count {
        into.push_str(digits);
        into.extend(std::iter::repeat_n('0', (point - count) as usize));
    } else {
        let (before, after) = digits.split_at(point as usize);
        into.push_str(before);
        into.push('.');
        into.push_str(after);
    }
}
