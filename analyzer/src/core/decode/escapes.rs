//! Resolves the escapes of strings.

use std::borrow::Cow;

use common::event::json::{Raw, unescape};

/// The string at a place of `text`, with its escapes resolved.
pub(super) fn resolve(text: &str, Raw { start, end, escaped }: Raw) -> Cow<'_, str> {
    if !escaped {
        return Cow::Borrowed(&text[start..end]);
    }
    let mut resolved = String::new();
    unescape(&text[start..end], &mut resolved);
    Cow::Owned(resolved)
}
