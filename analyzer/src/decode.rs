//! From the bytes of an event to the items that the queries ask for, in one pass.
//!
//! The pointers of all queries form one trie, walked along with the parser: values off the trie are
//! skipped, strings at its ends are *mentions*. Nothing is allocated per event: mentions point into the
//! payload, or, where escapes had to be resolved, into a buffer that is used again.
//!
//! Only strings are items; other types in their place are skipped. An item that an event names twice is
//! counted twice. Lone surrogate escapes read as U+FFFD. The parser (sonic-rs) recurses into skipped
//! values, so nesting is checked first: deeper than [`MAX_DEPTH`] is not decoded.

use std::borrow::Cow;
use std::fmt;

use common::event::{MAX_DEPTH, Pointer, Reason, Step, without_bom};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::hash::hash;

#[cfg(test)]
mod tests;

/// Longest item that is counted as it is. A longer one is cut to its first characters, then `…` and the
/// hash of the whole, so that different items stay different.
pub const MAX_ITEM_BYTES: usize = 256;

/// Times beyond this are taken for absent: arithmetic on the others cannot overflow. 2^53.
const MAX_TIME_MS: i64 = 1 << 53;

/// What to look for in an event, compiled.
#[derive(Debug)]
pub struct Decoder {
    root: Node,
    /// Which of the different pointers each query reads, in the order of the queries.
    pointers: Vec<usize>,
}

/// A place in the events; its children are the places below it.
#[derive(Debug, Default)]
struct Node {
    keys: Vec<(Box<str>, Node)>,
    every: Option<Box<Node>>,
    /// The pointer that ends here.
    pointer: Option<u32>,
    is_time: bool,
}

/// What was found in an event. Made once, used for every event.
#[derive(Debug, Default)]
pub struct Found {
    mentions: Vec<Mention>,
    resolved: String,
    time_ms: Option<i64>,
    shortened: u64,
}

/// A string at the end of a pointer.
#[derive(Debug, Clone, Copy)]
pub struct Mention {
    /// [`hash`] of the item.
    pub hash: u64,
    start: u32,
    len: u32,
    pointer: u32,
    in_payload: bool,
}

/// An event that was decoded.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    text: &'a str,
    found: &'a Found,
}

// === impl Decoder ===

impl Decoder {
    /// For the items of queries, in their order, and the time of events.
    pub fn new<'a>(items: impl IntoIterator<Item = &'a Pointer>, time: &Pointer) -> Self {
        let mut root = Node::default();
        let mut different: Vec<&Pointer> = Vec::new();
        let mut pointers = Vec::new();
        for item in items {
            let at = different.iter().position(|known| *known == item).unwrap_or_else(|| {
                root.at(item.steps()).pointer = Some(different.len() as u32);
                different.push(item);
                different.len() - 1
            });
            pointers.push(at);
        }
        root.at(time.steps()).is_time = true;
        Self { root, pointers }
    }

    /// Finds what the queries ask for.
    ///
    /// # Errors
    /// Why the payload is not an event.
    pub fn decode<'a>(&self, payload: &'a [u8], found: &'a mut Found) -> Result<Event<'a>, Reason> {
        found.clear();
        if u32::try_from(payload.len()).is_err() {
            return Err(Reason::TooLarge);
        }
        let text = std::str::from_utf8(without_bom(payload)).map_err(|_| Reason::InvalidUtf8)?;
        check_depth(text.as_bytes())?;
        match text.bytes().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(_) => return Err(Reason::NotObject),
            None => return Err(Reason::Empty),
        }
        let mut parser = sonic_rs::Deserializer::from_str(text).utf8_lossy();
        let walk = Walk { node: &self.root, base: text.as_ptr() as usize, found };
        walk.deserialize(&mut parser).map_err(|_| Reason::NotJson)?;
        parser.end().map_err(|_| Reason::NotJson)?;
        Ok(Event { text, found })
    }

    /// Which pointer a query reads, see [`Event::mentions`].
    pub fn pointer(&self, query: usize) -> usize {
        self.pointers[query]
    }
}

/// Brackets in strings count too, so that the usual event is decided by a sum that the compiler makes
/// of vector instructions; only what has many brackets is read closely.
fn check_depth(json: &[u8]) -> Result<(), Reason> {
    // '{' and '[' differ in one bit, which is set in '{'.
    let opens = |chunk: &[u8]| {
        chunk.iter().map(|&byte| u8::from(byte | 0x20 == b'{')).fold(0_u8, u8::wrapping_add)
    };
    let brackets: usize = json.chunks(255).map(|chunk| usize::from(opens(chunk))).sum();
    if brackets > MAX_DEPTH && depth(json) > MAX_DEPTH { Err(Reason::TooDeep) } else { Ok(()) }
}

/// How deep the brackets outside of strings are nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

// === impl Node ===

impl Node {
    /// The node at the end of the steps, made if need be.
    fn at(&mut self, steps: &[Step]) -> &mut Self {
        let Some((step, rest)) = steps.split_first() else { return self };
        let child = match step {
            Step::Every => self.every.get_or_insert_default(),
            Step::Key(key) => {
                let at =
                    self.keys.iter().position(|(known, _)| **known == **key).unwrap_or_else(|| {
                        self.keys.push((key.as_str().into(), Self::default()));
                        self.keys.len() - 1
                    });
                &mut self.keys[at].1
            }
        };
        child.at(rest)
    }

    fn child(&self, key: &str) -> Option<&Self> {
        self.keys.iter().find(|(known, _)| **known == *key).map(|(_, node)| node)
    }
}

// === impl Found ===

impl Found {
    fn clear(&mut self) {
        self.mentions.clear();
        self.resolved.clear();
        self.time_ms = None;
        self.shortened = 0;
    }

    fn mention(&mut self, pointer: u32, text: Text<'_>) {
        let (item, base) = match text {
            Text::Payload { text, base } if text.len() <= MAX_ITEM_BYTES => (text, Some(base)),
            Text::Payload { text, .. } | Text::Resolved(text) => (text, None),
        };
        let (start, len, item_hash) = match base {
            Some(base) => (item.as_ptr() as usize - base, item.len(), hash(item.as_bytes())),
            None => {
                let item = self.shorten(item);
                let start = self.resolved.len();
                self.resolved.push_str(&item);
                (start, item.len(), hash(item.as_bytes()))
            }
        };
        self.mentions.push(Mention {
            hash: item_hash,
            start: start as u32,
            len: len as u32,
            pointer,
            in_payload: base.is_some(),
        });
    }

    fn shorten<'a>(&mut self, item: &'a str) -> Cow<'a, str> {
        if item.len() <= MAX_ITEM_BYTES {
            return Cow::Borrowed(item);
        }
        self.shortened += 1;
        let suffix = format!("…{:016x}", hash(item.as_bytes()));
        let kept = &item[..item.floor_char_boundary(MAX_ITEM_BYTES - suffix.len())];
        Cow::Owned(format!("{kept}{suffix}"))
    }
}

// === impl Event ===

impl<'a> Event<'a> {
    /// When it happened, in milliseconds since 1970, if it says so.
    pub fn time_ms(&self) -> Option<i64> {
        self.found.time_ms
    }

    /// How many of its items had to be shortened.
    pub fn shortened(&self) -> u64 {
        self.found.shortened
    }

    /// The items at a pointer ([`Decoder::pointer`]), with their hashes, in the order of the text.
    pub fn mentions(&self, pointer: usize) -> impl Iterator<Item = (u64, &'a str)> + use<'a> {
        let Self { text, found } = *self;
        let here = found.mentions.iter().filter(move |mention| mention.pointer as usize == pointer);
        here.map(move |mention| {
            let source = if mention.in_payload { text } else { found.resolved.as_str() };
            let start = mention.start as usize;
            (mention.hash, &source[start..start + mention.len as usize])
        })
    }
}

// === the walk ===

enum Text<'a> {
    /// A part of the payload's text, which begins at the address `base`.
    Payload { text: &'a str, base: usize },
    /// Somewhere else, for now.
    Resolved(&'a str),
}

/// The value at a node.
struct Walk<'t, 'f> {
    node: &'t Node,
    base: usize,
    found: &'f mut Found,
}

/// The name of a member: the node below it, if there is one.
struct Name<'t>(&'t Node);

impl Walk<'_, '_> {
    fn text(self, text: Text<'_>) {
        if let Some(pointer) = self.node.pointer {
            self.found.mention(pointer, text);
        }
    }

    fn time(self, time_ms: Option<i64>) {
        if self.node.is_time {
            self.found.time_ms = time_ms.filter(|time| (-MAX_TIME_MS..=MAX_TIME_MS).contains(time));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        let base = self.base;
        self.text(Text::Payload { text, base });
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(Text::Resolved(text));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.time(Some(number));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.time(i64::try_from(number).ok());
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        // Saturates where there is no such i64, and those are beyond MAX_TIME_MS.
        self.time(Some(number.floor() as i64));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { node, base, found } = self;
        match &node.every {
            Some(node) => {
                while elements.next_element_seed(Walk { node, base, found: &mut *found })?.is_some()
                {
                }
            }
            None => while elements.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { node, base, found } = self;
        while let Some(child) = members.next_key_seed(Name(node))? {
            match child {
                Some(node) => members.next_value_seed(Walk { node, base, found: &mut *found })?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de, 't> DeserializeSeed<'de> for Name<'t> {
    type Value = Option<&'t Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Name<'t> {
    type Value = Option<&'t Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}
