//! From the bytes of an event to the items that the queries ask for, in one pass.
//!
//! The pointers of all queries form one trie, walked along with the text: values off the trie are
//! skipped, strings at its ends are *mentions*. Nothing is allocated per event: mentions point into the
//! payload, or, where escapes had to be resolved, into a buffer that is used again.
//!
//! Only strings are items; other types in their place are skipped. An item that an event names twice is
//! counted twice. Lone surrogate escapes read as U+FFFD. What is not an event is refused for the same
//! reasons as by the collector, except that names are not checked for being unique.

use common::event::json::{Raw, Reader, unescape};
use common::event::time::{self, Unit};
use common::event::{Pointer, Reason, Step, Time, Value};

use crate::core::hash::hash;

#[cfg(test)]
mod tests;

/// Longest item that is counted as it is. A longer one is cut to its first characters, then `…` and the
/// hash of the whole, so that different items stay different.
pub const MAX_ITEM_BYTES: usize = 256;

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
    time: Option<Unit>,
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
    pub fn new<'a>(items: impl IntoIterator<Item = &'a Pointer>, time: Option<&Time>) -> Self {
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
        if let Some(Time { path, unit }) = time {
            root.at(path.steps()).time = Some(*unit);
        }
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
        let mut reader = Reader::of_payload(payload)?;
        if reader.peek() != Some(b'{') {
            return Err(Reason::NotObject);
        }
        found.walk(&self.root, &mut reader)?;
        reader.end()?;
        Ok(Event { text: reader.text(), found })
    }

    /// Which pointer a query reads, see [`Event::mentions`].
    pub fn pointer(&self, query: usize) -> usize {
        self.pointers[query]
    }
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

    #[inline]
    fn child(&self, text: &str, Raw { start, end, escaped }: Raw) -> Option<&Self> {
        let find = |name: &[u8]| {
            self.keys.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, node)| node)
        };
        if !escaped {
            return find(&text.as_bytes()[start..end]);
        }
        let mut resolved = String::new();
        unescape(&text[start..end], &mut resolved);
        find(resolved.as_bytes())
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

    /// Reads the value at a node. Recurses no deeper than the longest pointer.
    fn walk(&mut self, node: &Node, reader: &mut Reader<'_>) -> Result<(), Reason> {
        if !node.keys.is_empty() && reader.open(b'{')? {
            let mut first = true;
            while let Some(name) = reader.name(first)? {
                first = false;
                match node.child(reader.text(), name) {
                    Some(child) => self.walk(child, reader)?,
                    None => reader.skip()?,
                }
            }
        } else if let Some(element) = &node.every
            && reader.open(b'[')?
        {
            let mut first = true;
            while reader.element(first)? {
                first = false;
                self.walk(element, reader)?;
            }
        } else if (node.pointer.is_some() || node.time == Some(Unit::Rfc3339))
            && let Some(text) = reader.open_string()?
        {
            if let Some(unit) = node.time {
                self.time_ms = time::milliseconds(&Value::Text(reader.resolve(text)), unit).ok();
            }
            if let Some(pointer) = node.pointer {
                self.mention(pointer, reader.text(), text);
            }
        } else if let Some(unit) = node.time
            && matches!(reader.peek(), Some(b'-' | b'0'..=b'9'))
        {
            self.time_ms = time::milliseconds(&Value::Number(reader.scalar()?), unit).ok();
        } else {
            reader.skip()?;
        }
        Ok(())
    }

    fn mention(&mut self, pointer: u32, text: &str, Raw { start, end, escaped }: Raw) {
        let raw = &text[start..end];
        let in_payload = !escaped && raw.len() <= MAX_ITEM_BYTES;
        let (start, item) = if in_payload {
            (start, raw)
        } else {
            let start = self.resolved.len();
            self.shortened += u64::from(resolve(raw, &mut self.resolved));
            (start, &self.resolved[start..])
        };
        self.mentions.push(Mention {
            hash: hash(item.as_bytes()),
            start: start as u32,
            len: item.len() as u32,
            pointer,
            in_payload,
        });
    }
}

/// Appends an item with its escapes resolved, cut if it is too long; says whether it was.
fn resolve(raw: &str, into: &mut String) -> bool {
    let start = into.len();
    unescape(raw, into);
    let item = &into[start..];
    if item.len() <= MAX_ITEM_BYTES {
        return false;
    }
    let suffix = format!("…{:016x}", hash(item.as_bytes()));
    let kept = item.floor_char_boundary(MAX_ITEM_BYTES - suffix.len());
    into.truncate(start + kept);
    into.push_str(&suffix);
    true
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
