//! The shape of a feed: every path of its events, with what was found there. Pure: the time of day is an argument.
//!
//! It takes bounded memory whatever comes, about 60 MiB at most:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | paths | [`MAX_PATHS`], of [`MAX_STEPS`] steps | values are counted in [`Shape::left_out`] |
//! | names of one object | [`MAX_NAMES`] | the object is a map: all its members are one path, `/{}` |
//! | different values of a path | 256, then a HyperLogLog of 16 KiB | the number is an estimate |
//! | examples of a path | 8, of 64 characters | the most frequent ones stay |
//!
//! An object is a map, whose keys are ids, also if it has more than [`MANY_NAMES`] names most of which are in fewer than a
//! tenth of such objects, or if at the end of the watch its names have digits and are as rare.

use std::collections::BTreeMap;

use common::event::identity::identify;
use common::event::json::Reader;
use common::event::{Id, Reason, Schema};

mod node;
mod times;
mod values;

pub use node::{Kind, Node};
pub use times::Times;
pub use values::{Example, Values};

#[cfg(test)]
mod tests;

/// The most paths that are kept.
pub const MAX_PATHS: usize = 2_000;
/// The most steps of a path that is looked at. A query's pointer can have as many.
pub const MAX_STEPS: usize = 32;
/// The most names that an object may have and not be a map.
pub const MAX_NAMES: usize = 512;
/// The most names that an object may have and not be a map if most are rare.
pub const MANY_NAMES: usize = 64;
/// The longest name that is kept, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// What was seen of a feed.
#[derive(Debug)]
pub struct Shape {
    events: u64,
    bytes: u64,
    refused: BTreeMap<Reason, u64>,
    left_out: u64,
    room: usize,
    root: Node,
    any: Schema,
}

/// A path, and what was found there.
#[derive(Debug, Clone)]
pub struct Path<'a> {
    /// As a JSON pointer; `*` is every element of an array, `{}` every member of a map.
    pub pointer: String,
    /// How many steps it has.
    pub steps: usize,
    /// Whether it goes through an array.
    pub in_array: bool,
    /// Whether it goes through a map, so that no query can name it.
    pub in_map: bool,
    /// What was found.
    pub node: &'a Node,
    /// The share of events in which it is present, from 0 to 1.
    pub share: f64,
}

impl Shape {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        let any = Schema { id: Id::None, key: None, time: None, ..Schema::default() };
        Self {
            events: 0,
            bytes: 0,
            refused: BTreeMap::new(),
            left_out: 0,
            room: MAX_PATHS,
            root: Node::default(),
            any,
        }
    }

    /// Takes in a message that was received at `now_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// Why the collector would make it a dead letter. It is counted.
    pub fn observe(&mut self, payload: &[u8], now_ms: i64) -> Result<(), Reason> {
        let walked = identify(payload, &self.any).and_then(|_| self.walk(payload, now_ms));
        if let Err(reason) = walked {
            self.refuse(reason);
        }
        walked
    }

    /// Counts a message that is no event.
    pub fn refuse(&mut self, reason: Reason) {
        *self.refused.entry(reason).or_default() += 1;
    }

    fn walk(&mut self, payload: &[u8], now_ms: i64) -> Result<(), Reason> {
        self.events += 1;
        self.bytes += payload.len() as u64;
        let reader = Reader::of_payload(payload)?;
        let (event, room, left_out) = (self.events, &mut self.room, &mut self.left_out);
        Walk { reader, event, now_ms, room, left_out }.value(&mut self.root, 0)
    }

    /// How many events were seen.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Their bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Messages that are no events, by reason.
    pub const fn refused(&self) -> &BTreeMap<Reason, u64> {
        &self.refused
    }

    /// Values at paths for which there was no room.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// How many paths there are.
    pub const fn width(&self) -> usize {
        MAX_PATHS - self.room
    }

    /// Takes objects whose rare names look like ids for maps. To be called at the end of the watch.
    pub fn settle(&mut self) {
        self.room += self.root.settle();
    }

    /// All paths, in the order in which they came first.
    pub fn paths(&self) -> Vec<Path<'_>> {
        let mut paths = Vec::new();
        let root = Path {
            pointer: String::new(),
            steps: 0,
            in_array: false,
            in_map: false,
            node: &self.root,
            share: 1.0,
        };
        self.below(&root, &mut paths);
        paths
    }

    fn below<'a>(&self, at: &Path<'a>, paths: &mut Vec<Path<'a>>) {
        let mut add = |step: &str, node: &'a Node, array: bool, map: bool| {
            let path = Path {
                pointer: format!("{}/{step}", at.pointer),
                steps: at.steps + 1,
                in_array: at.in_array || array,
                in_map: at.in_map || map,
                node,
                share: node.events() as f64 / self.events.max(1) as f64,
            };
            paths.push(path.clone());
            self.below(&path, paths);
        };
        for (name, node) in at.node.members() {
            // A step of this name means each element, so that no path can name such a member alone.
            let has_no_name = name == "*" || name == "{}";
            add(&name.replace('~', "~0").replace('/', "~1"), node, false, has_no_name);
        }
        if let Some(node) = at.node.any_member() {
            add("{}", node, false, true);
        }
        if let Some(node) = at.node.element() {
            add("*", node, true, false);
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::new()
    }
}

/// The pass over one event. The recursion ends at [`MAX_STEPS`].
struct Walk<'a> {
    reader: Reader<'a>,
    event: u64,
    now_ms: i64,
    room: &'a mut usize,
    left_out: &'a mut u64,
}

impl Walk<'_> {
    fn value(&mut self, node: &mut Node, steps: usize) -> Result<(), Reason> {
        let first = self.reader.peek();
        let start = self.reader.position();
        let kind = match first {
            Some(b'"') => {
                if let Some(raw) = self.reader.open_string()? {
                    node.text(&self.reader.resolve(raw), self.now_ms);
                }
                Kind::Text
            }
            Some(b'{' | b'[') if steps == MAX_STEPS => {
                self.reader.skip()?;
                *self.left_out += 1;
                if first == Some(b'{') { Kind::Object } else { Kind::Array }
            }
            Some(b'{') => {
                // Counted before its members, whose rarity is judged by it.
                node.count(Kind::Object, self.event);
                self.reader.open(b'{')?;
                self.members(node, steps)?;
                node.add_bytes(self.reader.position() - start);
                return Ok(());
            }
            Some(b'[') => {
                self.reader.open(b'[')?;
                self.elements(node, steps)?;
                Kind::Array
            }
            _ => match self.reader.scalar()? {
                "null" => Kind::Null,
                word @ ("true" | "false") => {
                    node.bool(word);
                    Kind::Bool
                }
                number => node.number(number, self.now_ms),
            },
        };
        node.count(kind, self.event);
        node.add_bytes(self.reader.position() - start);
        Ok(())
    }

    fn members(&mut self, node: &mut Node, steps: usize) -> Result<(), Reason> {
        let mut first = true;
        while self.reader.member(first)? {
            first = false;
            let raw = self.reader.name()?;
            let name = self.reader.resolve(raw);
            match node.member(&name, self.room) {
                Some(member) => self.value(member, steps + 1)?,
                None => self.leave_out()?,
            }
        }
        Ok(())
    }

    fn elements(&mut self, node: &mut Node, steps: usize) -> Result<(), Reason> {
        let mut first = true;
        while self.reader.element(first)? {
            first = false;
            match node.element_mut(self.room) {
                Some(element) => self.value(element, steps + 1)?,
                None => self.leave_out()?,
            }
        }
        Ok(())
    }

    fn leave_out(&mut self) -> Result<(), Reason> {
        *self.left_out += 1;
        self.reader.skip()
    }
}
