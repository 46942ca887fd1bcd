//! Paths into a JSON value, as an expression writes them.
//!
//! A path is steps with dots, `group.group_country`, `"odd name".x`, `tags[*]`, `coords[0]`, or a JSON pointer of the
//! project, `/group/group_topics/*/topic_name`. A plain name begins with a letter, `_`, `$` or `@` and goes on with
//! letters, digits, `_` and `$`; every other name stands in double quotes, in which `""` is one quote. A pointer ends
//! at white space, a quote, a bracket, a comma, or one of `= < > ! + % ; |`, so that a minus belongs to it.

use std::fmt;

use crate::event;

use super::limits::MAX_STEPS;

/// A path into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    steps: Box<[Step]>,
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The member of an object with this name.
    Key(String),
    /// Every element of an array.
    Every,
    /// The element of an array with this number, from 0.
    Index(usize),
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has too many steps.
    Steps,
    /// Something else, as a sentence.
    Written(&'static str),
}

/// The words that are no path unless they are quoted.
const RESERVED: [&str; 14] = [
    "AND", "BETWEEN", "CASE", "DISTINCT", "ESCAPE", "FALSE", "IN", "IS", "LIKE", "NOT", "NULL",
    "OR", "SELECT", "TRUE",
];

/// What stands in brackets.
const BRACKETS: &str = "write [*] for every element of an array, or [0] for one of them";

/// Whether a word is a path only in quotes.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// The plain name at the start of a text; empty if there is none.
pub(super) fn plain_name(text: &str) -> &str {
    let starts = |c: char| c.is_alphabetic() || matches!(c, '_' | '$' | '@');
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    if !text.starts_with(starts) {
        return "";
    }
    let end = text.char_indices().skip(1).find(|&(_, c)| !goes_on(c));
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

impl Path {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into() }
    }

    /// The steps from the root to the value.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it may lead to several values.
    pub fn has_every(&self) -> bool {
        self.steps.contains(&Step::Every)
    }

    /// Reads the path at the start of a text. Returns it and the length of its text, in bytes.
    pub(super) fn read(text: &str) -> Result<(Self, usize), Fault> {
        let (steps, len) = if text.starts_with('/') { pointer(text)? } else { dotted(text)? };
        if steps.len() > MAX_STEPS { Err(Fault::Steps) } else { Ok((Self::new(steps), len)) }
    }
}

fn pointer(text: &str) -> Result<(Vec<Step>, usize), Fault> {
    let ends = |c: char| c.is_whitespace() || "()[],'\"=<>!+%;|".contains(c);
    let end = text.find(ends).unwrap_or(text.len());
    let text = &text[..end];
    if text == "/" {
        return Err(Fault::Written("a name is expected after '/'"));
    }
    let pointer: event::Pointer = text.parse().map_err(|_| {
        Fault::Written("in a pointer, write ~1 for a slash and ~0 for a tilde in a name")
    })?;
    let steps = pointer.steps().iter().map(|step| match step {
        event::Step::Every => Ok(Step::Every),
        event::Step::Key(key) if key.contains('*') => Err(Fault::Written(
            "in a pointer, * is a step of its own: write white space before an operator",
        )),
        event::Step::Key(key) => Ok(Step::Key(key.clone())),
    });
    Ok((steps.collect::<Result<_, _>>()?, end))
}

fn dotted(text: &str) -> Result<(Vec<Step>, usize), Fault> {
    let mut steps = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let is_name = steps.is_empty() || rest.starts_with('.');
        let (step, len) = if rest.starts_with('[') {
            bracket(rest)?
        } else if is_name {
            let dot = usize::from(!steps.is_empty());
            let (name, len) = name(&rest[dot..])?;
            (Step::Key(name), dot + len)
        } else {
            return Ok((steps, at));
        };
        steps.push(step);
        at += len;
    }
}

/// `[*]` or `[0]`.
fn bracket(text: &str) -> Result<(Step, usize), Fault> {
    let inner = text.get(1..).and_then(|rest| rest.split_once(']')).map(|(inner, _)| inner);
    let inner = inner.ok_or(Fault::Written(BRACKETS))?;
    let is_number = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
    let step = match inner {
        "*" => Some(Step::Every),
        _ if is_number => inner.parse().ok().map(Step::Index),
        _ => None,
    };
    Ok((step.ok_or(Fault::Written(BRACKETS))?, inner.len() + 2))
}

fn name(text: &str) -> Result<(String, usize), Fault> {
    if !text.starts_with('"') {
        let name = plain_name(text);
        return match name {
            "" => Err(Fault::Written(
                "a name is expected after '.', and any that is not made of letters, digits and _ in double quotes",
            )),
            _ => Ok((name.to_owned(), name.len())),
        };
    }
    let mut name = String::new();
    let mut at = 1;
    while let Some(end) = text[at..].find('"') {
        name.push_str(&text[at..at + end]);
        at += end + 1;
        if !text[at..].starts_with('"') {
            // Positions are counted in lines, and a path stands in one.
            return match name.contains('\n') {
                true => Err(Fault::Written("a name in double quotes has no line break")),
                false => Ok((name, at)),
            };
        }
        name.push('"');
        at += 1;
    }
    Err(Fault::Written(
        "the double quote that ends the name is missing: texts are in single quotes",
    ))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps.iter().enumerate() {
            match step {
                Step::Every => f.write_str("[*]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if place == 0 { "" } else { "." })?;
                    let is_plain = plain_name(key).len() == key.len() && !key.is_empty();
                    if is_plain && !(place == 0 && is_reserved(key)) {
                        f.write_str(key)?;
                    } else {
                        write!(f, "\"{}\"", key.replace('"', "\"\""))?;
                    }
                }
            }
        }
        Ok(())
    }
}
