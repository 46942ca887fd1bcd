//! Why a text is no expression, as a sentence that says what is allowed instead.

use std::fmt;

use sqlparser::tokenizer::Location;

use super::limits::{MAX_DEPTH, MAX_LIST, MAX_NODES, MAX_PATHS, MAX_STEPS, MAX_TEXT, MAX_WILD};

/// A place in the text of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1; one more than there are at the end of the text.
    pub column: usize,
}

/// What an expression gives, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Condition,
    /// A number.
    Number,
    /// A text.
    Text,
    /// The literal `NULL`.
    Null,
    /// What a path leads to, which only the event tells.
    Any,
}

/// The beginning of a part of the text, for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no text.
    #[error("an expression is expected, and there is none: write a condition such as price > 0")]
    Empty,
    /// More than [`MAX_TEXT`].
    #[error("an expression has at most {MAX_TEXT} bytes, and this one has {0}")]
    TooLong(usize),
    /// More than [`MAX_DEPTH`].
    #[error("an expression is nested at most {MAX_DEPTH} deep, and this one is deeper")]
    TooDeep,
    /// More than [`MAX_NODES`].
    #[error(
        "an expression has at most {MAX_NODES} operators, functions, paths and literals, and this one has more: \
         several comparisons of one path may be one IN"
    )]
    TooManyNodes,
    /// More than [`MAX_PATHS`].
    #[error("{0}: an expression has at most {MAX_PATHS} different paths, and this is one more")]
    TooManyPaths(Position),
    /// More than [`MAX_STEPS`].
    #[error("{0}: a path has at most {MAX_STEPS} steps, and this one has more")]
    TooManySteps(Position),
    /// More than [`MAX_LIST`].
    #[error("{0}: a list has at most {MAX_LIST} members, and this one has more")]
    ListTooLong(Position),
    /// More than [`MAX_WILD`].
    #[error(
        "{0}: at most {MAX_WILD} characters of a pattern stand between two % if there is a _ among them"
    )]
    WildTooLong(Position),
    /// Something that does not belong there.
    #[error("{at}: {expected} is expected here, and this is {found}")]
    Unexpected {
        /// Where.
        at: Position,
        /// What would belong there.
        expected: &'static str,
        /// What is there.
        found: Excerpt,
    },
    /// Something else that is wrong with how the text is written.
    #[error("{at}: {what}")]
    Malformed {
        /// Where.
        at: Position,
        /// What is wrong and what is allowed, a sentence.
        what: &'static str,
    },
    /// SQL that this language does not have.
    #[error("{at}: {what} is not part of the language: {allowed}")]
    Unsupported {
        /// Where.
        at: Position,
        /// What.
        what: Excerpt,
        /// What there is instead.
        allowed: &'static str,
    },
    /// A function that there is not.
    #[error("{at}: there is no function '{name}': bucket, length and lower are known")]
    UnknownFunction {
        /// Where.
        at: Position,
        /// Its name.
        name: Excerpt,
    },
    /// A function with other arguments than it takes.
    #[error("{at}: write {usage}")]
    Arguments {
        /// Where.
        at: Position,
        /// How the function is called.
        usage: &'static str,
    },
    /// A part of another type than its place takes.
    #[error("{at}: {expected} is expected, and this is {found}")]
    Type {
        /// Where.
        at: Position,
        /// What its place takes.
        expected: Kind,
        /// What it gives.
        found: Kind,
    },
    /// A comparison that no event can make true.
    #[error(
        "{at}: {left} is never equal to, less or greater than {right}: compare values of one type"
    )]
    Incomparable {
        /// Where.
        at: Position,
        /// What the left side gives.
        left: Kind,
        /// What the right side gives.
        right: Kind,
    },
    /// A comparison with `NULL`, which is always NULL.
    #[error("{0}: a comparison with NULL is never true: use IS NULL or IS NOT NULL")]
    ComparesNull(Position),
    /// Two paths with `[*]` in one predicate.
    #[error(
        "{0}: this is the second path with [*] in one comparison: only one side may stand for every element"
    )]
    TwoEvery(Position),
    /// What the parser of SQL says of a statement around the expression.
    #[error("{0}")]
    Statement(Excerpt),
}

impl Error {
    /// Where the text is wrong; `None` if all of it is.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Empty
            | Self::TooLong(_)
            | Self::TooDeep
            | Self::TooManyNodes
            | Self::Statement(_) => None,
            Self::TooManyPaths(at)
            | Self::TooManySteps(at)
            | Self::ListTooLong(at)
            | Self::WildTooLong(at)
            | Self::ComparesNull(at)
            | Self::TwoEvery(at)
            | Self::Unexpected { at, .. }
            | Self::Malformed { at, .. }
            | Self::Unsupported { at, .. }
            | Self::UnknownFunction { at, .. }
            | Self::Arguments { at, .. }
            | Self::Type { at, .. }
            | Self::Incomparable { at, .. } => Some(*at),
        }
    }
}

impl Excerpt {
    /// The longest excerpt, in characters.
    const MAX: usize = 40;

    /// The beginning of a text. Control characters, which a terminal or a log would obey, are replaced.
    pub(super) fn of(text: &str) -> Self {
        let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let mut excerpt: String = text.chars().take(Self::MAX).map(printable).collect();
        if text.chars().nth(Self::MAX).is_some() {
            excerpt.push('…');
        }
        Self(excerpt)
    }

    /// The same in quotes.
    pub(super) fn quoted(text: &str) -> Self {
        Self(format!("'{}'", Self::of(text)))
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl From<Location> for Position {
    /// A location without a line, which the parser gives to what has no text, becomes the start of the text.
    fn from(location: Location) -> Self {
        Self { line: location.line.max(1) as usize, column: location.column.max(1) as usize }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Condition => "a condition",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Null => "NULL",
            Self::Any => "a path",
        })
    }
}
