//! Patterns of `LIKE`: `%` stands for any characters, `_` for one.
//!
//! A pattern is cut at its `%`. The first part has to begin the text and the last one to end it; those between are looked
//! for from left to right, each as early as possible, which is right because what may lie between them is arbitrary. A
//! part without `_` is found by the standard library's search, and one with `_` by the Shift-And automaton (Baeza-Yates
//! and Gonnet, "A new approach to text searching", 1992), one bit for each of its characters. So the time is
//! proportional to the length of the text, whatever the pattern.

use std::fmt;

use super::limits::MAX_WILD;

/// A pattern of `LIKE`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    written: Box<str>,
    escape: Option<char>,
    /// What lies between the `%`, at least one part.
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Plain(Box<str>),
    Wild(Wild),
}

/// A part with a `_`.
#[derive(Debug, Clone, PartialEq)]
struct Wild {
    /// `None` is a `_`.
    characters: Box<[Option<char>]>,
    /// For each character of the part where it stands, ordered by the character. Every `_` is in all of them.
    masks: Box<[(char, u64)]>,
    /// Where the `_` stand.
    any: u64,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The escape character stands before a character that has no meaning, or at the end.
    Escape,
    /// A part with `_` is too long.
    Wild,
}

// === impl Pattern ===

impl Pattern {
    pub(super) fn new(written: &str, escape: Option<char>) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut characters = written.chars();
        while let Some(c) = characters.next() {
            if Some(c) == escape {
                let meant =
                    characters.next().filter(|c| matches!(c, '%' | '_') || Some(*c) == escape);
                part.push(Some(meant.ok_or(Fault::Escape)?));
            } else if c == '%' {
                parts.push(Part::new(&part)?);
                part.clear();
            } else {
                part.push(Some(c).filter(|c| *c != '_'));
            }
        }
        parts.push(Part::new(&part)?);
        Ok(Self { written: written.into(), escape, parts: parts.into() })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, rest @ ..] = &*self.parts else { return false };
        let Some(mut text) = first.strip_start(text) else { return false };
        let [between @ .., last] = rest else { return text.is_empty() };
        for part in between {
            match part.after_first(text) {
                Some(after) => text = after,
                None => return false,
            }
        }
        last.ends(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.written.replace('\'', "''"))?;
        match self.escape {
            Some('\'') => f.write_str(" ESCAPE ''''"),
            Some(escape) => write!(f, " ESCAPE '{escape}'"),
            None => Ok(()),
        }
    }
}

// === impl Part ===

impl Part {
    fn new(characters: &[Option<char>]) -> Result<Self, Fault> {
        if let Some(plain) = characters.iter().copied().collect::<Option<String>>() {
            return Ok(Self::Plain(plain.into()));
        }
        if characters.len() > MAX_WILD {
            Err(Fault::Wild)
        } else {
            Ok(Self::Wild(Wild::new(characters)))
        }
    }

    /// What follows the part at the start of the text.
    fn strip_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Plain(plain) => text.strip_prefix(&**plain),
            Self::Wild(wild) => {
                let mut rest = text.chars();
                let is_here = wild.characters.iter().all(|wanted| {
                    rest.next().is_some_and(|c| wanted.is_none_or(|wanted| wanted == c))
                });
                is_here.then_some(rest.as_str())
            }
        }
    }

    /// What follows the first place where the part is in the text.
    fn after_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Plain(plain) => text.find(&**plain).map(|at| &text[at + plain.len()..]),
            Self::Wild(wild) => wild.after_first(text),
        }
    }

    /// Whether the text ends with the part.
    fn ends(&self, text: &str) -> bool {
        match self {
            Self::Plain(plain) => text.ends_with(&**plain),
            Self::Wild(wild) => {
                let mut rest = text.chars();
                wild.characters.iter().rev().all(|wanted| {
                    rest.next_back().is_some_and(|c| wanted.is_none_or(|wanted| wanted == c))
                })
            }
        }
    }
}

// === impl Wild ===

impl Wild {
    fn new(characters: &[Option<char>]) -> Self {
        let positions = |is: &dyn Fn(Option<char>) -> bool| {
            let places = characters.iter().enumerate().filter(|(_, wanted)| is(**wanted));
            places.fold(0, |mask, (place, _)| mask | 1_u64 << place)
        };
        let mut masks: Vec<_> = characters
            .iter()
            .flatten()
            .map(|&c| (c, positions(&|wanted| wanted.is_none_or(|wanted| wanted == c))))
            .collect();
        masks.sort_unstable();
        masks.dedup();
        let any = positions(&|wanted| wanted.is_none());
        Self { characters: characters.into(), masks: masks.into(), any }
    }

    fn after_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        let found = 1_u64 << (self.characters.len() - 1);
        // Bit n is set when the last n + 1 characters are the first n + 1 of the part.
        let mut state = 0_u64;
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let known = self.masks.binary_search_by(|(known, _)| known.cmp(&c));
            let mask = known.map_or(self.any, |place| self.masks[place].1);
            state = (state << 1 | 1) & mask;
            if state & found != 0 {
                return Some(rest.as_str());
            }
        }
        None
    }
}
