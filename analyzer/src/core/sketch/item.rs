//! A counted item's text, in place when it is short: most are, and a lookup then touches no second
//! cache line.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Longest text kept in place; with its length it fills 32 bytes.
const INLINE: usize = 30;

/// The text of an item.
#[derive(Clone)]
pub struct Item(Repr);

#[derive(Clone)]
enum Repr {
    Short { len: u8, bytes: [u8; INLINE] },
    Long(Arc<str>),
}

impl Item {
    /// The text's bytes, UTF-8.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(text) => text.as_bytes(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        #[expect(clippy::expect_used, reason = "made from a &str and never changed")]
        std::str::from_utf8(self.as_bytes()).expect("an item's bytes are those of a &str")
    }
}

impl From<&str> for Item {
    #[inline]
    fn from(text: &str) -> Self {
        if text.len() > INLINE {
            return Self(Repr::Long(text.into()));
        }
        let mut bytes = [0; INLINE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Repr::Short { len: text.len() as u8, bytes })
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By bytes, which for UTF-8 is by code point.
impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
