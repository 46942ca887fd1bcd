//! One path: how often there was something, of which types, and what is below it.

use super::values::Values;
use super::{MANY_NAMES, MAX_NAME_BYTES, MAX_NAMES};

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A number without a fraction and an exponent.
    Integer,
    /// Any other number.
    Fraction,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// An object.
    Object,
    /// An array.
    Array,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Text,
        Self::Integer,
        Self::Fraction,
        Self::Bool,
        Self::Null,
        Self::Object,
        Self::Array,
    ];

    /// The name of the type in JSON Schema.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Fraction => "number",
            Self::Bool => "boolean",
            Self::Null => "null",
            Self::Object => "object",
            Self::Array => "array",
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Node {
    kinds: [u64; Kind::ALL.len()],
    events: u64,
    last_event: u64,
    bytes: u64,
    values: Option<Box<Values>>,
    /// In the order in which they came first.
    members: Vec<(Box<str>, Self)>,
    /// Where the next member is looked for first: after the last one that was found.
    next: usize,
    /// All members, if this is a map.
    any_member: Option<Box<Self>>,
    element: Option<Box<Self>>,
}

impl Node {
    /// How many values there were.
    pub fn seen(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// How many of them are of this type.
    pub const fn of_kind(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// The types that occurred, the most frequent first.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> =
            Kind::ALL.into_iter().filter(|&kind| self.of_kind(kind) > 0).collect();
        kinds.sort_by_key(|&kind| std::cmp::Reverse(self.of_kind(kind)));
        kinds
    }

    /// How many events have at least one value here.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The bytes of all values, as written.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is known of its strings, numbers, `true` and `false`.
    pub fn values(&self) -> Option<&Values> {
        self.values.as_deref()
    }

    /// Its members by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.members.iter().map(|(name, node)| (&**name, node))
    }

    /// All of its members, if it is a map.
    pub fn any_member(&self) -> Option<&Self> {
        self.any_member.as_deref()
    }

    /// Its elements.
    pub fn element(&self) -> Option<&Self> {
        self.element.as_deref()
    }

    pub(super) fn count(&mut self, kind: Kind, event: u64) {
        self.kinds[kind as usize] += 1;
        if self.last_event != event {
            self.last_event = event;
            self.events += 1;
        }
    }

    pub(super) const fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) fn text(&mut self, text: &str, now_ms: i64) {
        self.values.get_or_insert_default().text(text, now_ms);
    }

    pub(super) fn bool(&mut self, word: &str) {
        self.values.get_or_insert_default().bool(word);
    }

    pub(super) fn number(&mut self, number: &str, now_ms: i64) -> Kind {
        self.values.get_or_insert_default().number(number, now_ms);
        let is_digit = |byte: u8| byte == b'-' || byte.is_ascii_digit();
        if number.bytes().all(is_digit) { Kind::Integer } else { Kind::Fraction }
    }

    /// The member `name`, which is made if there is `room`.
    pub(super) fn member(&mut self, name: &str, room: &mut usize) -> Option<&mut Self> {
        if self.any_member.is_none() {
            if let Some(at) = self.find(name) {
                self.next = at + 1;
                return self.members.get_mut(at).map(|(_, node)| node);
            }
            if !self.is_map() {
                if name.len() > MAX_NAME_BYTES {
                    return None;
                }
                *room = room.checked_sub(1)?;
                self.members.push((name.into(), Self::default()));
                return self.members.last_mut().map(|(_, node)| node);
            }
            *room += self.become_map();
        }
        self.any_member.as_deref_mut()
    }

    fn find(&self, name: &str) -> Option<usize> {
        let from = self.next.min(self.members.len());
        let (before, after) = self.members.split_at(from);
        let position =
            |members: &[(Box<str>, Self)]| members.iter().position(|(n, _)| **n == *name);
        position(after).map(|at| at + from).or_else(|| position(before))
    }

    /// Whether a further name makes it a map.
    fn is_map(&self) -> bool {
        let names = self.members.len();
        names >= MAX_NAMES || names >= MANY_NAMES && self.rare(|_| true) * 4 >= names * 3
    }

    /// How many of the names that are `counted` are in fewer than a tenth of its objects.
    fn rare(&self, counted: impl Fn(&str) -> bool) -> usize {
        let objects = self.of_kind(Kind::Object);
        let rare = |(name, node): &&(Box<str>, Self)| counted(name) && node.events * 10 < objects;
        self.members.iter().filter(rare).count()
    }

    /// Makes all members one. Returns how many paths that frees.
    fn become_map(&mut self) -> usize {
        let before: usize = self.members.iter().map(|(_, node)| node.paths()).sum();
        let mut all = Self::default();
        for (_, member) in std::mem::take(&mut self.members) {
            all.absorb(member);
        }
        all.cap(self.events, self.last_event);
        let freed = before.saturating_sub(all.paths());
        self.any_member = Some(Box::new(all));
        freed
    }

    /// No path is in more events than what is above it, but members of one event were counted each by itself. The last event is
    /// still being read, and counts where it has been.
    fn cap(&mut self, events: u64, last: u64) {
        let most = if self.last_event == last { events } else { events.saturating_sub(1) };
        self.events = self.events.min(most);
        let below = self.any_member.iter_mut().chain(&mut self.element);
        below.for_each(|node| node.cap(events, last));
        self.members.iter_mut().for_each(|(_, node)| node.cap(events, last));
    }

    fn absorb(&mut self, other: Self) {
        for (mine, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            *mine += theirs;
        }
        self.events += other.events;
        self.last_event = self.last_event.max(other.last_event);
        self.bytes += other.bytes;
        match (&mut self.values, other.values) {
            (Some(mine), Some(theirs)) => mine.absorb(*theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
        for (mine, theirs) in
            [(&mut self.any_member, other.any_member), (&mut self.element, other.element)]
        {
            match (mine, theirs) {
                (Some(mine), Some(theirs)) => mine.absorb(*theirs),
                (mine @ None, theirs) => *mine = theirs,
                (Some(_), None) => {}
            }
        }
        for (name, member) in other.members {
            if let Some(all) = &mut self.any_member {
                all.absorb(member);
            } else if let Some(at) = self.find(&name) {
                self.members[at].1.absorb(member);
            } else {
                self.members.push((name, member));
                if self.members.len() > MAX_NAMES {
                    self.become_map();
                }
            }
        }
    }

    /// The element, which is made if there is `room`.
    pub(super) fn element_mut(&mut self, room: &mut usize) -> Option<&mut Self> {
        if self.element.is_none() {
            *room = room.checked_sub(1)?;
        }
        Some(self.element.get_or_insert_default())
    }

    /// How many paths there are from here on.
    fn paths(&self) -> usize {
        let below = self.any_member.iter().chain(&self.element);
        let members = self.members.iter().map(|(_, node)| node.paths());
        1 + below.map(|node| node.paths()).sum::<usize>() + members.sum::<usize>()
    }

    /// Takes objects for maps whose names have digits and are rare. Returns how many paths that frees.
    pub(super) fn settle(&mut self) -> usize {
        const FEW: usize = 12;
        let has_digit = |name: &str| name.bytes().any(|byte| byte.is_ascii_digit());
        let names = self.members.len();
        let is_map = names >= FEW && self.rare(has_digit) * 4 >= names * 3;
        let mut freed = if is_map { self.become_map() } else { 0 };
        let below = self.any_member.iter_mut().chain(&mut self.element);
        freed += below.map(|node| node.settle()).sum::<usize>();
        freed + self.members.iter_mut().map(|(_, node)| node.settle()).sum::<usize>()
    }
}
