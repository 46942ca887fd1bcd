//! Texts of an event: their escapes, and their length as items.

use std::borrow::Cow;

use common::event::json::{Raw, unescape};

use crate::core::hash::hash;

/// Longest item that is counted as it is. A longer one is cut to its first characters, then `…` and the
/// hash of the whole, so that different items stay different.
pub const MAX_ITEM_BYTES: usize = 256;

/// The text that stands at a place of the payload, without its escapes.
pub(super) fn resolve(text: &str, Raw { start, end, escaped }: Raw) -> Cow<'_, str> {
    if !escaped {
        return Cow::Borrowed(&text[start..end]);
    }
    let mut resolved = String::new();
    unescape(&text[start..end], &mut resolved);
    Cow::Owned(resolved)
}

/// Cuts the item that begins at `start` and goes to the end if it is too long; says whether it was.
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
