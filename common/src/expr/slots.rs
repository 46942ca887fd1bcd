//! Finds the values of an expression's paths in an event, in one pass over its bytes.
//!
//! While it goes through the event, one bit for each path says whether the steps so far led here. What no path leads to
//! is skipped, but checked. All of the payload is read, so that what is no event gives no value, wherever it is broken. An
//! object in which a name that is looked for stands twice makes it no event, as it does for
//! [`identify`](crate::event::identity::identify); another name that stands twice is not noticed.

use std::borrow::Cow;

use crate::event::Reason;
use crate::event::json::{Raw, Reader, unescape};

use super::limits::{MAX_ELEMENTS, MAX_PATHS};
use super::number::Number;
use super::path::{Path, Step};
use super::scalar::{Row, Scalar};

// One bit a path.
const _: () = assert!(MAX_PATHS <= u32::BITS as usize);

/// Room for the values of paths. It is used again for each event, to save allocations, also by other expressions.
#[derive(Debug, Default)]
pub struct Slots {
    found: Vec<Vec<Found>>,
    /// The texts whose escapes were resolved.
    resolved: String,
}

/// The values of an expression's paths in one event.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    text: &'a str,
    slots: &'a Slots,
}

#[derive(Debug, Clone, Copy)]
enum Found {
    Null,
    Bool(bool),
    Number(Number),
    /// A part of the payload.
    Text {
        start: usize,
        end: usize,
    },
    /// A part of what was resolved.
    Resolved {
        start: usize,
        end: usize,
    },
    Other,
}

/// The pass over a payload.
struct Scan<'p, 's> {
    reader: Reader<'p>,
    paths: &'s [Path],
    slots: &'s mut Slots,
}

// === impl Slots ===

impl Slots {
    /// Finds the values of the paths in a payload, up to [`MAX_ELEMENTS`] of a path.
    ///
    /// # Errors
    /// Why the payload is not an event.
    pub fn fill<'a>(&'a mut self, paths: &[Path], payload: &'a [u8]) -> Result<Values<'a>, Reason> {
        self.found.iter_mut().for_each(Vec::clear);
        self.resolved.clear();
        if self.found.len() < paths.len() {
            self.found.resize_with(paths.len(), Vec::new);
        }
        let reader = Reader::of_payload(payload)?;
        let text = reader.text();
        let mut scan = Scan { reader, paths, slots: self };
        let every = (1_u64 << paths.len().min(MAX_PATHS)) - 1;
        scan.value(0, every as u32)?;
        scan.reader.end()?;
        Ok(Values { text, slots: self })
    }
}

// === impl Values ===

impl Row for Values<'_> {
    #[inline]
    fn values(&self, slot: usize) -> impl Iterator<Item = Scalar<'_>> {
        let found = self.slots.found.get(slot).map(Vec::as_slice).unwrap_or_default();
        found.iter().map(|found| match *found {
            Found::Null => Scalar::Null,
            Found::Bool(value) => Scalar::Bool(value),
            Found::Number(number) => Scalar::Number(number),
            Found::Text { start, end } => Scalar::Text(Cow::Borrowed(&self.text[start..end])),
            Found::Resolved { start, end } => {
                Scalar::Text(Cow::Borrowed(&self.slots.resolved[start..end]))
            }
            Found::Other => Scalar::Other,
        })
    }
}

// === impl Scan ===

impl Scan<'_, '_> {
    /// Reads the value to which the first `depth` steps of the paths `here` lead. The recursion is bounded by the longest
    /// path.
    fn value(&mut self, depth: usize, here: u32) -> Result<(), Reason> {
        let ending = self.those(here, |path| path.steps().len() == depth);
        let going_on = here & !ending;
        match self.reader.peek() {
            Some(b'{') => {
                self.keep(ending, Found::Other);
                if going_on == 0 { self.reader.skip() } else { self.members(depth, going_on) }
            }
            Some(b'[') => {
                self.keep(ending, Found::Other);
                if going_on == 0 { self.reader.skip() } else { self.elements(depth, going_on) }
            }
            _ if ending == 0 => self.reader.skip(),
            _ => {
                let found = self.leaf()?;
                self.keep(ending, found);
                Ok(())
            }
        }
    }

    fn members(&mut self, depth: usize, here: u32) -> Result<(), Reason> {
        self.reader.open(b'{')?;
        let (mut first, mut seen) = (true, 0);
        while self.reader.member(first)? {
            first = false;
            let name = self.reader.name()?;
            let below = self.named(depth, here, name);
            if below & seen != 0 {
                return Err(Reason::DuplicateKey);
            }
            seen |= below;
            if below == 0 {
                self.reader.skip()?;
            } else {
                self.value(depth + 1, below)?;
            }
        }
        Ok(())
    }

    fn elements(&mut self, depth: usize, here: u32) -> Result<(), Reason> {
        self.reader.open(b'[')?;
        let mut place = 0;
        while self.reader.element(place == 0)? {
            let below = self.those(here, |path| match path.steps().get(depth) {
                Some(Step::Every) => true,
                Some(Step::Index(index)) => *index == place,
                Some(Step::Key(_)) | None => false,
            });
            self.value(depth + 1, below)?;
            place += 1;
        }
        Ok(())
    }

    /// The paths that go on with the member of this name.
    #[inline]
    fn named(&self, depth: usize, here: u32, raw: Raw) -> u32 {
        let resolved;
        let name = if raw.escaped {
            resolved = self.reader.resolve(raw);
            resolved.as_bytes()
        } else {
            &self.reader.text().as_bytes()[raw.start..raw.end]
        };
        self.those(here, |path| {
            matches!(path.steps().get(depth), Some(Step::Key(key)) if key.as_bytes() == name)
        })
    }

    /// Those of the paths for which this is so.
    #[inline]
    fn those(&self, among: u32, is: impl Fn(&Path) -> bool) -> u32 {
        let (mut rest, mut those) = (among, 0);
        while rest != 0 {
            let slot = rest.trailing_zeros();
            rest &= rest - 1;
            those |= u32::from(is(&self.paths[slot as usize])) << slot;
        }
        those
    }

    /// Reads a string, number or literal.
    fn leaf(&mut self) -> Result<Found, Reason> {
        let Some(Raw { start, end, escaped }) = self.reader.open_string()? else {
            return Ok(match self.reader.scalar()? {
                "null" => Found::Null,
                "true" => Found::Bool(true),
                "false" => Found::Bool(false),
                number => Number::of_json(number).map_or(Found::Null, Found::Number),
            });
        };
        if !escaped {
            return Ok(Found::Text { start, end });
        }
        let resolved = &mut self.slots.resolved;
        let at = resolved.len();
        unescape(&self.reader.text()[start..end], resolved);
        Ok(Found::Resolved { start: at, end: resolved.len() })
    }

    fn keep(&mut self, slots: u32, found: Found) {
        let mut rest = slots;
        while rest != 0 {
            let values = &mut self.slots.found[rest.trailing_zeros() as usize];
            rest &= rest - 1;
            if values.len() < MAX_ELEMENTS {
                values.push(found);
            }
        }
    }
}
