//! The pass itself: an iterative JSON reader that checks everything and keeps next to nothing.

use std::borrow::Cow;

use crate::event::{MAX_DEPTH, Reason, Step, without_bom};

/// A place to look at, and what stood there.
#[derive(Debug)]
pub(super) struct Field<'s, 'p> {
    steps: &'s [Step],
    /// How many leading steps the path to the current value has in common with `steps`.
    matched: usize,
    pub(super) found: Option<Found<'p>>,
}

/// A value of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'p> {
    /// A number as written.
    Number(&'p str),
    /// A string, escapes resolved.
    Text(Cow<'p, str>),
    /// `true`, `false`, `null`, an object or an array.
    Other,
}

/// Checks that `payload` is one JSON object and fills in `fields`.
pub(super) fn object<'p>(payload: &'p [u8], fields: &mut [Field<'_, 'p>]) -> Result<(), Reason> {
    let payload = without_bom(payload);
    if payload.trim_ascii().is_empty() {
        return Err(Reason::Empty);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Reason::InvalidUtf8)?;
    let mut scan = Scan {
        text,
        bytes: text.as_bytes(),
        at: 0,
        open: Vec::with_capacity(8),
        names: Vec::with_capacity(32),
        duplicate: false,
        reach: 0,
        fields,
    };
    scan.space();
    let is_object = scan.peek() == Some(b'{');
    scan.document()?;
    if !is_object {
        Err(Reason::NotObject)
    } else if scan.duplicate {
        Err(Reason::DuplicateKey)
    } else {
        Ok(())
    }
}

// === impl Field ===

impl<'s> Field<'s, '_> {
    pub(super) fn new(steps: &'s [Step]) -> Self {
        Self { steps, matched: 0, found: None }
    }
}

/// An object or array that is not closed yet.
enum Open {
    /// Where its names begin in `Scan::names`.
    Object { names: usize },
    /// The index of the current element.
    Array { index: usize },
}

struct Scan<'p, 'f, 's> {
    text: &'p str,
    bytes: &'p [u8],
    at: usize,
    open: Vec<Open>,
    /// The names of all open objects, outermost first.
    names: Vec<Cow<'p, str>>,
    duplicate: bool,
    /// The largest `matched` of all fields: below it no value can be of interest.
    reach: usize,
    fields: &'f mut [Field<'s, 'p>],
}

// === impl Scan ===

impl<'p> Scan<'p, '_, '_> {
    fn document(&mut self) -> Result<(), Reason> {
        loop {
            // At the start of a value; an object or array that is not empty leads to its first value.
            if !self.value()? {
                continue;
            }
            // After a value: on to the next one, closing what ends here.
            loop {
                self.leave();
                self.space();
                match self.open.last_mut() {
                    None if self.at == self.bytes.len() => return Ok(()),
                    None => return Err(Reason::NotJson),
                    Some(Open::Object { .. }) => match self.next() {
                        Some(b',') => {
                            self.name()?;
                            break;
                        }
                        Some(b'}') => self.close(),
                        _ => return Err(Reason::NotJson),
                    },
                    Some(Open::Array { index }) => {
                        *index += 1;
                        match self.next() {
                            Some(b',') => {
                                self.element();
                                break;
                            }
                            Some(b']') => self.close(),
                            _ => return Err(Reason::NotJson),
                        }
                    }
                }
            }
        }
    }

    /// Reads a value; `false` if it is an object or array whose first value comes next.
    fn value(&mut self) -> Result<bool, Reason> {
        self.space();
        let start = self.at;
        match self.next() {
            Some(b'"') => {
                let raw = self.string()?;
                if self.wanted() {
                    self.keep(&Found::Text(raw.decode()));
                }
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = start;
                self.number()?;
                self.keep(&Found::Number(&self.text[start..self.at]));
            }
            Some(b'{') => {
                self.keep(&Found::Other);
                self.nest(Open::Object { names: self.names.len() })?;
                if !self.closes_at_once(b'}') {
                    self.name()?;
                    return Ok(false);
                }
            }
            Some(b'[') => {
                self.keep(&Found::Other);
                self.nest(Open::Array { index: 0 })?;
                if !self.closes_at_once(b']') {
                    self.element();
                    return Ok(false);
                }
            }
            Some(b't') => self.literal("rue")?,
            Some(b'f') => self.literal("alse")?,
            Some(b'n') => self.literal("ull")?,
            _ => return Err(Reason::NotJson),
        }
        Ok(true)
    }

    fn nest(&mut self, open: Open) -> Result<(), Reason> {
        if self.open.len() == MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        self.open.push(open);
        Ok(())
    }

    fn closes_at_once(&mut self, end: u8) -> bool {
        self.space();
        let closes = self.peek() == Some(end);
        if closes {
            self.at += 1;
            self.open.pop();
        }
        closes
    }

    fn close(&mut self) {
        if let Some(Open::Object { names }) = self.open.pop() {
            // Sorted once at the end, so that an object of a hundred thousand names costs n log n.
            let own = &mut self.names[names..];
            own.sort_unstable();
            self.duplicate |= own.windows(2).any(|pair| pair[0] == pair[1]);
            self.names.truncate(names);
        }
    }

    /// Reads `"name":` of the current object.
    fn name(&mut self) -> Result<(), Reason> {
        self.space();
        if self.next() != Some(b'"') {
            return Err(Reason::NotJson);
        }
        let name = self.string()?.decode();
        self.enter(|step| matches!(step, Step::Key(key) if *key == name));
        self.names.push(name);
        self.space();
        if self.next() == Some(b':') { Ok(()) } else { Err(Reason::NotJson) }
    }

    /// Begins an element of the current array.
    fn element(&mut self) {
        if let Some(&Open::Array { index }) = self.open.last() {
            self.enter(|step| matches!(step, Step::Key(key) if *key == index.to_string()));
        }
    }

    // The path to the current value has as many steps as there are open objects and arrays.

    fn enter(&mut self, is: impl Fn(&Step) -> bool) {
        let depth = self.open.len();
        if self.reach + 1 != depth {
            return;
        }
        for field in self.fields.iter_mut() {
            if field.matched + 1 == depth && field.steps.get(depth - 1).is_some_and(&is) {
                field.matched = depth;
                self.reach = depth;
            }
        }
    }

    fn leave(&mut self) {
        let depth = self.open.len();
        if depth == 0 || self.reach != depth {
            return;
        }
        for field in self.fields.iter_mut().filter(|field| field.matched == depth) {
            field.matched -= 1;
        }
        self.reach -= 1;
    }

    fn wanted(&self) -> bool {
        let depth = self.open.len();
        self.reach == depth
            && self.fields.iter().any(|field| field.matched == depth && field.steps.len() == depth)
    }

    fn keep(&mut self, found: &Found<'p>) {
        let depth = self.open.len();
        if self.reach != depth {
            return;
        }
        for field in self.fields.iter_mut() {
            if field.matched == depth && field.steps.len() == depth {
                field.found = Some(found.clone());
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &str) -> Result<(), Reason> {
        if !self.bytes[self.at..].starts_with(rest.as_bytes()) {
            return Err(Reason::NotJson);
        }
        self.at += rest.len();
        self.keep(&Found::Other);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Reason> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Reason> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Reason::NotJson) }
    }

    /// Reads a string after its opening quote, and the closing quote.
    fn string(&mut self) -> Result<Raw<'p>, Reason> {
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.next() {
                Some(b'"') => return Ok(Raw { text: &self.text[start..self.at - 1], escaped }),
                Some(b'\\') => {
                    escaped = true;
                    match self.next() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            let digits =
                                self.bytes.get(self.at..self.at + 4).ok_or(Reason::NotJson)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return Err(Reason::NotJson);
                            }
                            self.at += 4;
                        }
                        _ => return Err(Reason::NotJson),
                    }
                }
                // A control character, or the end.
                _ => return Err(Reason::NotJson),
            }
        }
    }
}

/// How many leading bytes are plain text of a string: neither a quote nor `\` nor a control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight at a time. The lowest flagged byte is exact: a borrow only ever runs upwards.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH;
    let mut at = 0;
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*chunk);
        let special = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    rest.map_or(bytes.len(), |offset| at + offset)
}

/// A string whose escapes have been checked, but not resolved.
struct Raw<'p> {
    text: &'p str,
    escaped: bool,
}

// === impl Raw ===

impl<'p> Raw<'p> {
    fn decode(&self) -> Cow<'p, str> {
        if !self.escaped {
            return Cow::Borrowed(self.text);
        }
        let mut decoded = String::with_capacity(self.text.len());
        let mut rest = self.text;
        while let Some(at) = rest.find('\\') {
            decoded.push_str(&rest[..at]);
            let (character, used) = escape(&rest[at..]);
            decoded.push(character);
            rest = &rest[at + used..];
        }
        decoded.push_str(rest);
        Cow::Owned(decoded)
    }
}

/// The character that a checked escape at the start of `text` stands for, and the escape's length.
fn escape(text: &str) -> (char, usize) {
    let simple = match text.as_bytes()[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(text),
        // A quote, a slash or a backslash stands for itself.
        other => char::from(other),
    };
    (simple, 2)
}

fn unicode(text: &str) -> (char, usize) {
    let unit = |text: &str| u32::from_str_radix(text.get(2..6)?, 16).ok();
    let Some(high) = unit(text) else { return (char::REPLACEMENT_CHARACTER, 6) };
    if let Some(character) = char::from_u32(high) {
        return (character, 6);
    }
    let low = text.get(6..).filter(|next| next.starts_with("\\u")).and_then(unit);
    if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (high, low) {
        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::REPLACEMENT_CHARACTER, 6)
}
