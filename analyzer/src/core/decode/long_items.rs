//! Shortens items that are too long.

use crate::core::hash::hash;

/// The longest item, in bytes. A longer text is cut to its first characters, followed by `…` and the hash of
/// the whole text, so that different items stay different.
pub const MAX_ITEM_BYTES: usize = 256;

/// Cuts the item from `start` to the end of `text` if it is too long. Returns whether it was.
pub(super) fn shorten(text: &mut String, start: usize) -> bool {
    let item = &text[start..];
    if item.len() <= MAX_ITEM_BYTES {
        return false;
    }
    let suffix = format!("…{:016x}", hash(item.as_bytes()));
    let kept = item.floor_char_boundary(MAX_ITEM_BYTES - suffix.len());
    text.truncate(start + kept);
    text.push_str(&suffix);
    true
}
