//! The shape of events: which places there are in them, what queries and the schema want from each, and in which
//! order the members of their objects usually come.
//!
//! The places that queries and the schema name are there from the beginning. The others are learned from the events:
//! those of one feed have the same names in nearly the same order. So a member is mostly recognised by comparing the
//! text with how its name was written before, and need not be looked for. And since each member has a number, one bit
//! for each tells whether an object has a name twice.
//!
//! What is learned makes reading faster and changes no result. It is bounded; the names for which there is no room
//! are left to [`Names`]. As there never is room again while an event is read, a name is either marked by its bit or
//! among those, but not once this and once that.

use common::event::json::Reader;
use common::event::{Reason, Step};

use super::escapes::resolve;
use super::names::{self, Names, fingerprint};

/// How many members of an object have a bit. More than these are not learned.
const MARKED: usize = u64::BITS as usize;

/// The longest name that is learned, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A place in an event, and those below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The query pointer that ends here.
    pub(super) pointer: Option<u32>,
    /// The slot that is filled from here.
    pub(super) slot: Option<u32>,
    /// The members of an object.
    members: Vec<Member>,
    /// The member with which an object began lately.
    first: usize,
    /// The elements of an array.
    every: Option<Box<Self>>,
}

#[derive(Debug, Clone)]
struct Member {
    name: Box<str>,
    /// Of the name, so that most others are told apart without comparing texts.
    fingerprint: u32,
    /// Its name and the colon, as in a text.
    written: Box<str>,
    /// The member that came after it lately; one that has a bit.
    next: usize,
    place: Place,
}

/// An open object.
#[derive(Debug)]
pub(super) struct Object {
    /// One bit for each member that it has.
    marks: u64,
    is_duplicate: bool,
    previous: Option<usize>,
    expected: usize,
    unmarked: names::Object,
}

impl Place {
    /// The place at the end of the steps, which is created if it does not exist.
    pub(super) fn descend(&mut self, steps: &[Step]) -> &mut Self {
        let Some((step, rest)) = steps.split_first() else { return self };
        let below = match step {
            Step::Every => self.every.get_or_insert_default(),
            Step::Key(name) => {
                let number = self.number_of(name).unwrap_or_else(|| {
                    let written = format!("{}:", serde_json::Value::from(name.as_str()));
                    self.push(name, written)
                });
                &mut self.members[number].place
            }
        };
        below.descend(rest)
    }

    /// Whether its strings and numbers are of use.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.pointer.is_some() || self.slot.is_some()
    }

    /// The place of an array's elements.
    #[inline]
    pub(super) fn element(&mut self, room: &mut usize) -> Option<&mut Self> {
        if self.every.is_none() && *room > 0 {
            *room -= 1;
            self.every = Some(Box::default());
        }
        self.every.as_deref_mut()
    }

    /// Reads the name of the next member of an object and its colon, and returns the member's place.
    #[inline]
    pub(super) fn member(
        &mut self,
        object: &mut Object,
        reader: &mut Reader<'_>,
        names: &mut Names,
        room: &mut usize,
    ) -> Result<Option<&mut Self>, Reason> {
        let expected = self.members.get(object.expected);
        let number = if expected.is_some_and(|member| reader.name_if(&member.written)) {
            object.expected
        } else {
            match self.other_member(object, reader, names, room)? {
                Some(number) => number,
                None => return Ok(None),
            }
        };
        let member = &mut self.members[number];
        let mark = 1_u64.checked_shl(number as u32).unwrap_or(0);
        object.is_duplicate |= object.marks & mark != 0;
        object.marks |= mark;
        object.previous = Some(number);
        object.expected = member.next;
        Ok(Some(&mut member.place))
    }

    /// Reads a name that was not expected. Returns the member's number, if it has one.
    fn other_member(
        &mut self,
        object: &mut Object,
        reader: &mut Reader<'_>,
        names: &mut Names,
        room: &mut usize,
    ) -> Result<Option<usize>, Reason> {
        let raw = reader.name()?;
        let name = resolve(reader.text(), raw);
        let mut number = self.number_of(&name);
        if number.is_none()
            && *room > 0
            && self.members.len() < MARKED
            && name.len() <= MAX_NAME_BYTES
        {
            *room -= 1;
            number = Some(self.push(&name, format!("\"{}\":", &reader.text()[raw.start..raw.end])));
        }
        match number {
            Some(number) if number < MARKED => {
                let before = object.previous.map(|previous| &mut self.members[previous].next);
                *before.unwrap_or(&mut self.first) = number;
            }
            Some(_) | None => names.add(&mut object.unmarked, reader.text(), raw),
        }
        Ok(number)
    }

    fn number_of(&self, name: &str) -> Option<usize> {
        let fingerprint = fingerprint(name.as_bytes());
        let is_same = |member: &Member| member.fingerprint == fingerprint && *member.name == *name;
        self.members.iter().position(is_same)
    }

    fn push(&mut self, name: &str, written: String) -> usize {
        let number = self.members.len();
        let next = (number + 1) % MARKED;
        self.members.push(Member {
            name: name.into(),
            fingerprint: fingerprint(name.as_bytes()),
            written: written.into(),
            next,
            place: Self::default(),
        });
        number
    }
}

impl Object {
    /// Begins an object at a place.
    #[inline]
    pub(super) fn enter(place: Option<&Place>, names: &Names) -> Self {
        Self {
            marks: 0,
            is_duplicate: false,
            previous: None,
            expected: place.map_or(0, |place| place.first),
            unmarked: names.enter(),
        }
    }

    /// Reads the name of a member of an object at no place.
    #[inline]
    pub(super) fn placeless_member(
        &mut self,
        reader: &mut Reader<'_>,
        names: &mut Names,
    ) -> Result<(), Reason> {
        let raw = reader.name()?;
        names.add(&mut self.unmarked, reader.text(), raw);
        Ok(())
    }

    /// Ends the object.
    #[inline]
    pub(super) fn leave(&self, names: &mut Names, text: &str) {
        names.duplicate |= self.is_duplicate;
        names.leave(&self.unmarked, text);
    }
}
