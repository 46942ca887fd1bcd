//! A reader of JSON (RFC 8259) that goes from left to right, checks everything and builds no tree.
//!
//! The collector reads an event's identity with it, the analyzer the fields that its queries name. They use
//! the same reader so that each tier can read what the other accepts. Strings are scanned 8 bytes at a time.
//! Skipping does not recurse: the reader keeps one bit for each open bracket, of which there may be
//! [`MAX_DEPTH`].
//!
//! Numbers of any size and lone surrogate escapes (`"\ud800"`, read as U+FFFD) are tolerated, because a
//! field that nobody reads must not cause an event to be rejected.

use std::borrow::Cow;

use super::{MAX_DEPTH, Reason, without_bom};

/// A JSON text and how far it is read.
///
/// A method that reads fails with [`Reason::NotJson`] where the text breaks the grammar, and with
/// [`Reason::TooDeep`] where a bracket would open inside [`MAX_DEPTH`] others.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Bit n is set when the bracket at depth n opened an object, and clear when it opened an array.
    objects: u128,
}

/// Where a string is in the text, in bytes, without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    /// First byte.
    pub start: usize,
    /// First byte after it.
    pub end: usize,
    /// Whether it has escapes, all of them valid.
    pub escaped: bool,
}

// One bit a bracket.
const _: () = assert!(MAX_DEPTH <= u128::BITS as usize);

impl<'a> Reader<'a> {
    /// A reader at the start of a text.
    #[inline]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, objects: 0 }
    }

    /// A reader at the start of a payload, after the byte order mark if it has one.
    ///
    /// # Errors
    /// [`Reason::Empty`] when there is nothing but white space, [`Reason::InvalidUtf8`].
    #[inline]
    pub fn of_payload(payload: &'a [u8]) -> Result<Self, Reason> {
        let text = without_bom(payload);
        if text.trim_ascii().is_empty() {
            return Err(Reason::Empty);
        }
        std::str::from_utf8(text).map(Self::new).map_err(|_| Reason::InvalidUtf8)
    }

    /// The position of the next byte in the text.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The whole text.
    #[inline]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// A string of this text with its escapes resolved.
    pub fn resolve(&self, raw: Raw) -> Cow<'a, str> {
        let text = &self.text[raw.start..raw.end];
        if !raw.escaped {
            return Cow::Borrowed(text);
        }
        let mut resolved = String::with_capacity(text.len());
        unescape(text, &mut resolved);
        Cow::Owned(resolved)
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Skips white space and returns the byte after it, which stays unread.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn next(&mut self) -> Result<u8, Reason> {
        let byte = self.peek().ok_or(Reason::NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        if self.next()? == byte { Ok(()) } else { Err(Reason::NotJson) }
    }

    /// Checks that nothing but white space follows.
    #[inline]
    pub fn end(&mut self) -> Result<(), Reason> {
        if self.peek().is_none() { Ok(()) } else { Err(Reason::NotJson) }
    }

    /// Reads `bracket`, `{` or `[`, if it comes next, and so enters an object or array. Returns whether it did.
    #[inline]
    pub fn open(&mut self, bracket: u8) -> Result<bool, Reason> {
        if self.peek() != Some(bracket) {
            return Ok(false);
        }
        self.at += 1;
        self.push(bracket == b'{')?;
        Ok(true)
    }

    #[inline]
    fn push(&mut self, is_object: bool) -> Result<(), Reason> {
        if self.depth == MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        let bit = 1 << self.depth;
        self.objects = if is_object { self.objects | bit } else { self.objects & !bit };
        self.depth += 1;
        Ok(())
    }

    /// Whether another member of an object follows; if not, leaves the object. `first` says that no member
    /// was read before.
    #[inline]
    pub fn member(&mut self, first: bool) -> Result<bool, Reason> {
        self.follows(b'}', first)
    }

    /// Whether another element of an array follows; if not, leaves the array. `first` says that no element
    /// was read before.
    #[inline]
    pub fn element(&mut self, first: bool) -> Result<bool, Reason> {
        self.follows(b']', first)
    }

    #[inline]
    fn follows(&mut self, bracket: u8, first: bool) -> Result<bool, Reason> {
        match self.peek() {
            Some(byte) if byte == bracket => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) | None => Err(Reason::NotJson),
        }
    }

    /// Reads the name of a member and the colon after it.
    #[inline]
    pub fn name(&mut self) -> Result<Raw, Reason> {
        self.expect(b'"')?;
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Reads the name of a member and the colon after it, if they come next and are written like this. Returns
    /// whether they do.
    #[inline]
    pub fn name_if(&mut self, written: &str) -> bool {
        self.peek();
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        let is_next = rest.starts_with(written.as_bytes());
        self.at += if is_next { written.len() } else { 0 };
        is_next
    }

    /// Reads the string that comes next; `None` if something else does.
    #[inline]
    pub fn open_string(&mut self) -> Result<Option<Raw>, Reason> {
        if self.peek() != Some(b'"') {
            return Ok(None);
        }
        self.at += 1;
        self.string().map(Some)
    }

    /// The rest of a string whose opening quote is read.
    #[inline]
    fn string(&mut self) -> Result<Raw, Reason> {
        let (bytes, start) = (self.bytes(), self.at);
        let mut escaped = false;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.at += special(rest);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Raw { start, end, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += escape(&bytes[self.at + 1..]).ok_or(Reason::NotJson)?;
                }
                // A control character, or the end of the text.
                Some(_) | None => return Err(Reason::NotJson),
            }
        }
    }

    /// Reads the number, `true`, `false` or `null` that comes next.
    #[inline]
    pub fn scalar(&mut self) -> Result<&'a str, Reason> {
        self.peek();
        let start = self.at;
        self.skip_scalar()?;
        Ok(&self.text[start..self.at])
    }

    /// Skips such a value. Unlike [`scalar`](Self::scalar) it does not slice the text, which would check
    /// for character boundaries.
    #[inline]
    fn skip_scalar(&mut self) -> Result<(), Reason> {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        let len = match rest.first() {
            Some(b't') => literal(rest, b"true"),
            Some(b'f') => literal(rest, b"false"),
            Some(b'n') => literal(rest, b"null"),
            Some(_) => number(rest),
            None => None,
        };
        self.at += len.ok_or(Reason::NotJson)?;
        Ok(())
    }

    /// Skips the value that comes next, whatever its type, and checks it.
    #[inline]
    pub fn skip(&mut self) -> Result<(), Reason> {
        let outside = self.depth;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    self.string()?;
                }
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.push(bracket == b'{')?;
                    if self.enter(true)? {
                        continue;
                    }
                }
                Some(_) | None => self.skip_scalar()?,
            }
            // Leaves the brackets that end here.
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                if self.enter(false)? {
                    break;
                }
            }
        }
    }

    /// Goes to the next value of the innermost object or array; returns false if it ended instead.
    #[inline]
    fn enter(&mut self, first: bool) -> Result<bool, Reason> {
        if self.objects >> (self.depth - 1) & 1 == 1 {
            let follows = self.member(first)?;
            if follows {
                self.name()?;
            }
            Ok(follows)
        } else {
            self.element(first)
        }
    }
}

/// How many bytes come before the next quote, backslash or control character, or before the end.
#[inline]
fn special(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    // Sets the top bit of each byte that is less than the limit (at most 128). Bits after the first one that
    // is set may be wrong, but only the first is used (Warren, Hacker's Delight, section 6-1).
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks();
    for (at, &word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(word);
        let marks = equal(word, b'"') | equal(word, b'\\') | below(word, b' ');
        if marks != 0 {
            return 8 * at + marks.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < b' ';
    bytes.len() - rest.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Length of an escape sequence, its backslash included. `bytes` start after the backslash.
fn escape(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

fn literal(bytes: &[u8], expected: &[u8]) -> Option<usize> {
    bytes.starts_with(expected).then_some(expected.len())
}

/// Length of the number at the start, by the grammar of RFC 8259 section 6.
fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let count = bytes.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut end = if bytes.get(start) == Some(&b'0') { start + 1 } else { digits(start)? };
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(sign))?;
    }
    Some(end)
}

/// Appends the string to `into` with its escapes resolved, which must be valid. A lone surrogate becomes
/// U+FFFD.
pub fn unescape(raw: &str, into: &mut String) {
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        into.push_str(plain);
        let resolved = match escape.as_bytes().first() {
            Some(b'u') => {
                let (character, len) = unicode(escape);
                into.push(character);
                rest = escape.get(len..).unwrap_or_default();
                continue;
            }
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(&same) => char::from(same),
            None => char::REPLACEMENT_CHARACTER,
        };
        into.push(resolved);
        rest = escape.get(1..).unwrap_or_default();
    }
    into.push_str(rest);
}

/// The character of `uXXXX`, or of `uXXXX\uXXXX` if that is a surrogate pair, and how many bytes it takes.
fn unicode(escape: &str) -> (char, usize) {
    let unit = |from: usize| u16::from_str_radix(escape.get(from..from + 4)?, 16).ok();
    let first = unit(1).unwrap_or(0xfffd);
    let pair = [first, unit(7).filter(|_| escape.get(5..7) == Some("\\u")).unwrap_or(0)];
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => (character, if character.len_utf16() == 2 { 11 } else { 5 }),
        Some(Err(_)) | None => (char::REPLACEMENT_CHARACTER, 5),
    }
}
