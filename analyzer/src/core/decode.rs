//! Reads everything that a tally needs of an event, in one pass over its bytes: whether it is an event, its id
//! and key, when it happened, and the items that the queries name.
//!
//! The pointers of the schema and of all queries form one trie, which is walked along with the text; the decoder adds
//! the other names of the events to it, see [`shape`]. Strings and numbers at the end of a query's pointer are
//! *mentions*; values at the end of the schema's pointers go into numbered slots. Both are kept as positions in the
//! payload. Where escapes had to be resolved, or a number is not written in its shortest form, a mention is a position
//! in a buffer, which is reused for every event.
//!
//! A payload that is not an event is refused by the rules of [`identify`](common::event::identity::identify),
//! so that a record of another producer counts exactly if the collector would have accepted it. A test compares
//! the two. An item that an event names twice is counted twice. Lone surrogate escapes read as U+FFFD.

use common::event::identity::fingerprint;
use common::event::json::{Raw, Reader, unescape};
use common::event::time::{self, Unit, Unreadable};
use common::event::{Id, Pointer, Reason, Schema, Value};

use crate::core::hash::hash;

mod escapes;
mod long_items;
mod names;
mod number;
mod shape;
#[cfg(test)]
mod tests;

use escapes::resolve;
pub use long_items::MAX_ITEM_BYTES;
use long_items::shorten;
use names::Names;
use shape::{Object, Place};

/// What to look for in an event, compiled; what the events have been like so far; and the last one of them.
#[derive(Debug)]
pub struct Decoder {
    /// What queries and the schema want.
    wanted: Place,
    /// The same, with what was learned of the events, and of how many.
    root: Place,
    learned_from: u32,
    found: Found,
    /// For each query, the number of its pointer among the distinct ones.
    pointers: Vec<usize>,
    id: IdRule,
    /// The slot of the key that the schema names.
    key: Option<usize>,
    time: Option<(usize, Unit)>,
}

/// How many places are learned, at most.
const MAX_LEARNED: usize = 1_000;

/// For how many events what was learned is used. Then it is learned anew, because a feed may change, and because strange
/// events may have taken up all the room.
const LEARNED_FOR: u32 = 100_000;

/// Where the id comes from.
#[derive(Debug)]
enum IdRule {
    Slots(Vec<usize>),
    Payload,
    None,
}

/// What was found in an event. It is reused for every event, to save allocations.
#[derive(Debug)]
struct Found {
    mentions: Vec<Mention>,
    resolved: String,
    slots: Vec<Option<Slot>>,
    names: Names,
    /// How many places may still be learned.
    room: usize,
    id: String,
    key: String,
    shortened: u64,
}

/// A string or number at the end of a query's pointer.
#[derive(Debug, Clone, Copy)]
struct Mention {
    /// [`hash`] of the item.
    hash: u64,
    start: u32,
    len: u32,
    pointer: u32,
    in_payload: bool,
}

/// The value at the end of one of the schema's pointers.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Number { start: u32, end: u32 },
    Text(Raw),
    Other,
}

/// An event that was decoded.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    text: &'a str,
    decoder: &'a Decoder,
    has_id: bool,
    has_key: bool,
    time: Time<'a>,
}

/// When an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time<'a> {
    /// Milliseconds since 1970, and the time as it is written in the event.
    At(i64, &'a str),
    /// The event has no time, or the schema names none.
    Missing,
    /// The time as it is written in the event, and why it cannot be read.
    Unreadable(&'a str, Unreadable),
}

// === impl Decoder ===

impl Decoder {
    /// A decoder for the items of the queries, in their order, and for events of this schema.
    pub fn new<'a>(items: impl IntoIterator<Item = &'a Pointer>, schema: &Schema) -> Self {
        let mut root = Place::default();
        let mut different: Vec<&Pointer> = Vec::new();
        let mut pointers = Vec::new();
        for item in items {
            let place = different.iter().position(|known| *known == item).unwrap_or_else(|| {
                root.descend(item.steps()).pointer = Some(different.len() as u32);
                different.push(item);
                different.len() - 1
            });
            pointers.push(place);
        }
        let mut slots = 0;
        let mut slot = |pointer: &Pointer| {
            let slot = root.descend(pointer.steps()).slot.get_or_insert_with(|| {
                slots += 1;
                slots - 1
            });
            *slot as usize
        };
        let id = match &schema.id {
            Id::Fields(fields) => IdRule::Slots(fields.iter().map(&mut slot).collect()),
            Id::Payload => IdRule::Payload,
            Id::None => IdRule::None,
        };
        let key = schema.key.as_ref().map(&mut slot);
        let time = schema.time.as_ref().map(|time| (slot(&time.path), time.unit));
        let found = Found {
            mentions: Vec::new(),
            resolved: String::new(),
            slots: vec![None; slots as usize],
            names: Names::default(),
            room: MAX_LEARNED,
            id: String::new(),
            key: String::new(),
            shortened: 0,
        };
        let wanted = root.clone();
        Self { wanted, root, learned_from: 0, found, pointers, id, key, time }
    }

    /// Finds the items that the queries ask for, and the event's key, id and time.
    ///
    /// # Errors
    /// Why the payload is not an event.
    pub fn decode<'a>(&'a mut self, payload: &'a [u8]) -> Result<Event<'a>, Reason> {
        let Self { wanted, root, learned_from, found, .. } = self;
        found.clear();
        if *learned_from == LEARNED_FOR {
            root.clone_from(wanted);
            found.room = MAX_LEARNED;
            *learned_from = 0;
        }
        *learned_from += 1;
        if u32::try_from(payload.len()).is_err() {
            return Err(Reason::TooLarge);
        }
        let mut reader = Reader::of_payload(payload)?;
        let is_object = reader.peek() == Some(b'{');
        found.value(Some(root), &mut reader)?;
        reader.end()?;
        if !is_object {
            return Err(Reason::NotObject);
        }
        if found.names.duplicate {
            return Err(Reason::DuplicateKey);
        }
        let text = reader.text();
        let (has_id, has_key) = self.identify(payload, text)?;
        let time = self.time(text);
        Ok(Event { text, decoder: self, has_id, has_key, time })
    }

    /// Notes the id and the key. Returns whether there is an id, and whether there is a key.
    fn identify(&mut self, payload: &[u8], text: &str) -> Result<(bool, bool), Reason> {
        let Found { slots, id, key, .. } = &mut self.found;
        let value = |slot: usize| slots[slot].map(|slot| slot.value(text));
        let keyed = match (&self.id, self.key) {
            (_, Some(slot)) => Some(slot),
            (IdRule::Slots(parts), None) => parts.first().copied(),
            (IdRule::Payload | IdRule::None, None) => None,
        };
        if let Some(slot) = keyed {
            key.push_str(value(slot).ok_or(Reason::MissingId)?.name()?);
        }
        match &self.id {
            IdRule::Slots(parts) => {
                Id::join(parts.iter().map(|&slot| value(slot)), id)?;
                Ok((true, keyed.is_some()))
            }
            IdRule::Payload => {
                id.push_str(&fingerprint(payload));
                if keyed.is_none() {
                    key.push_str(id);
                }
                Ok((true, true))
            }
            IdRule::None => Ok((false, keyed.is_some())),
        }
    }

    fn time<'a>(&self, text: &'a str) -> Time<'a> {
        let Some((slot, unit)) = self.time else { return Time::Missing };
        let Some(slot) = self.found.slots[slot] else { return Time::Missing };
        let written = slot.written(text);
        match time::milliseconds(&slot.value(text), unit) {
            Ok(time_ms) => Time::At(time_ms, written),
            Err(why) => Time::Unreadable(written, why),
        }
    }
}

// === impl Slot ===

impl Slot {
    fn value<'a>(&self, text: &'a str) -> Value<'a> {
        match *self {
            Self::Number { start, end } => Value::Number(&text[start as usize..end as usize]),
            Self::Text(raw) => Value::Text(resolve(text, raw)),
            Self::Other => Value::Other,
        }
    }

    /// The value as it is written in the event, for people.
    fn written<'a>(&self, text: &'a str) -> &'a str {
        match *self {
            Self::Number { start, end } => &text[start as usize..end as usize],
            Self::Text(raw) => &text[raw.start - 1..=raw.end],
            Self::Other => "neither a number nor a text",
        }
    }
}

// === impl Found ===

impl Found {
    fn clear(&mut self) {
        self.mentions.clear();
        self.resolved.clear();
        self.slots.fill(None);
        self.names.clear();
        self.id.clear();
        self.key.clear();
        self.shortened = 0;
    }

    /// Reads the value that comes next; `place` is where it is, if that is known. The recursion is bounded, because
    /// the reader refuses to open more than `MAX_DEPTH` brackets.
    fn value(&mut self, place: Option<&mut Place>, reader: &mut Reader<'_>) -> Result<(), Reason> {
        match reader.peek() {
            Some(b'{') => {
                self.fill(place.as_deref(), Slot::Other);
                self.members(place, reader)
            }
            Some(b'[') => {
                self.fill(place.as_deref(), Slot::Other);
                let mut element = place.and_then(|place| place.element(&mut self.room));
                reader.open(b'[')?;
                let mut first = true;
                while reader.element(first)? {
                    first = false;
                    self.value(element.as_deref_mut(), reader)?;
                }
                Ok(())
            }
            _ => match place {
                Some(place) if place.is_wanted() => self.leaf(place, reader),
                Some(_) | None => reader.skip(),
            },
        }
    }

    fn members(
        &mut self,
        mut place: Option<&mut Place>,
        reader: &mut Reader<'_>,
    ) -> Result<(), Reason> {
        reader.open(b'{')?;
        let mut object = Object::enter(place.as_deref(), &self.names);
        let mut first = true;
        while reader.member(first)? {
            first = false;
            let below = match place.as_deref_mut() {
                Some(place) => {
                    place.member(&mut object, reader, &mut self.names, &mut self.room)?
                }
                None => {
                    object.placeless_member(reader, &mut self.names)?;
                    None
                }
            };
            self.value(below, reader)?;
        }
        object.leave(&mut self.names, reader.text());
        Ok(())
    }

    /// Reads a string, a number or a literal that a query or the schema names.
    fn leaf(&mut self, place: &Place, reader: &mut Reader<'_>) -> Result<(), Reason> {
        if let Some(raw) = reader.open_string()? {
            self.fill(Some(place), Slot::Text(raw));
            if let Some(pointer) = place.pointer {
                self.mention(pointer, reader.text(), raw);
            }
            return Ok(());
        }
        let scalar = reader.scalar()?;
        if !scalar.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            self.fill(Some(place), Slot::Other);
            return Ok(());
        }
        // `scalar` is a slice of the text, so the distance of the two pointers is its position.
        let start = scalar.as_ptr() as usize - reader.text().as_ptr() as usize;
        let end = start + scalar.len();
        self.fill(Some(place), Slot::Number { start: start as u32, end: end as u32 });
        if let Some(pointer) = place.pointer {
            if number::is_shortest(scalar) {
                self.mention(pointer, reader.text(), Raw { start, end, escaped: false });
            } else {
                let item = self.resolved.len();
                number::write_shortest(scalar, &mut self.resolved);
                self.shortened += u64::from(shorten(&mut self.resolved, item));
                self.push_mention(pointer, item, None);
            }
        }
        Ok(())
    }

    #[inline]
    fn fill(&mut self, place: Option<&Place>, value: Slot) {
        if let Some(slot) = place.and_then(|place| place.slot) {
            self.slots[slot as usize] = Some(value);
        }
    }

    fn mention(&mut self, pointer: u32, text: &str, Raw { start, end, escaped }: Raw) {
        let raw = &text[start..end];
        if !escaped && raw.len() <= MAX_ITEM_BYTES {
            self.push_mention(pointer, start, Some(raw));
        } else {
            let item = self.resolved.len();
            unescape(raw, &mut self.resolved);
            self.shortened += u64::from(shorten(&mut self.resolved, item));
            self.push_mention(pointer, item, None);
        }
    }

    /// Notes an item that is at `start` of the payload (`in_payload`), or from `start` to the end of `resolved`.
    fn push_mention(&mut self, pointer: u32, start: usize, in_payload: Option<&str>) {
        let item = in_payload.unwrap_or_else(|| &self.resolved[start..]);
        self.mentions.push(Mention {
            hash: hash(item.as_bytes()),
            start: start as u32,
            len: item.len() as u32,
            pointer,
            in_payload: in_payload.is_some(),
        });
    }
}

// === impl Event ===

impl<'a> Event<'a> {
    /// Its id; `None` if each record is an event of its own.
    pub fn id(&self) -> Option<&'a str> {
        self.has_id.then_some(self.decoder.found.id.as_str())
    }

    /// The key that its record should have; `None` if any key will do.
    pub fn key(&self) -> Option<&'a str> {
        self.has_key.then_some(self.decoder.found.key.as_str())
    }

    /// When it happened.
    pub fn time(&self) -> Time<'a> {
        self.time
    }

    /// How many of its mentions had to be shortened to [`MAX_ITEM_BYTES`].
    pub fn shortened(&self) -> u64 {
        self.decoder.found.shortened
    }

    /// The items of a query, with their hashes, in the order of the text. `query` is its place in the order of
    /// [`Decoder::new`].
    pub fn mentions(&self, query: usize) -> impl Iterator<Item = (u64, &'a str)> + use<'a> {
        let Self { text, decoder: Decoder { found, pointers, .. }, .. } = *self;
        let pointer = pointers[query];
        let here = found.mentions.iter().filter(move |mention| mention.pointer as usize == pointer);
        here.map(move |mention| {
            let source = if mention.in_payload { text } else { found.resolved.as_str() };
            let start = mention.start as usize;
            (mention.hash, &source[start..start + mention.len as usize])
        })
    }
}
