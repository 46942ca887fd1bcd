//! Takes the paths out of a text before the tokenizer of SQL sees it.
//!
//! SQL has no paths such as `tags[*]` or `/group/group_topics/*/topic_name` (of which it would take `/*` for a comment).
//! So each path is read by [`Path`] and replaced by as many [`MASK`]s as it has characters, which the tokenizer takes for a
//! word, and every other token stays where it was. A `/` begins a pointer where an operand is expected, and divides
//! where an operator is.

use sqlparser::tokenizer::Location;

use super::error::Error;
use super::path::{Fault, Path, is_reserved, plain_name};

/// The character that stands for those of a path. No text has it outside of quotes, or it is refused there.
pub(super) const MASK: char = '\u{e000}';

/// The words after which an operand is expected.
const OPERATORS: [&str; 12] = [
    "AND", "BETWEEN", "BY", "DISTINCT", "ESCAPE", "IN", "IS", "LIKE", "NOT", "OR", "SELECT",
    "WHERE",
];

/// The words after which a statement names something that is no path.
const NAMING: [&str; 2] = ["AS", "FROM"];

/// A text without its paths.
#[derive(Debug)]
pub(super) struct Masked {
    pub(super) text: String,
    /// The paths, in the order of the text, and where they begin.
    pub(super) paths: Vec<(Location, Path)>,
    /// The end of the text.
    pub(super) end: Location,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Operand,
    Operator,
    /// The name of a table or column.
    Name,
}

/// Masks the paths of a text.
pub(super) fn mask(text: &str) -> Result<Masked, Error> {
    let mut masked = Masked {
        text: String::with_capacity(text.len()),
        paths: Vec::new(),
        end: Location { line: 1, column: 1 },
    };
    let mut expected = Expected::Operand;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") || rest.starts_with("/*") && expected != Expected::Operand {
            let what = "there are no comments: write a space between two minuses";
            return Err(Error::Malformed { at: masked.end.into(), what });
        }
        let len;
        (len, expected) = match first {
            '\'' => (quoted(rest), Expected::Operator),
            '"' | '[' | '/' if expected == Expected::Operand => {
                (masked.path(rest)?, Expected::Operator)
            }
            '"' => (quoted(rest), Expected::Operator),
            _ if first.is_ascii_digit() || first == '.' => (number(rest), Expected::Operator),
            _ if !plain_name(rest).is_empty() => masked.word(rest, expected)?,
            // Every column of a statement.
            '*' if expected == Expected::Operand => (1, Expected::Operator),
            ')' | ']' => (1, Expected::Operator),
            _ if first.is_whitespace() => (first.len_utf8(), expected),
            _ => (first.len_utf8(), Expected::Operand),
        };
        let (token, after) = rest.split_at(len);
        masked.pass(token);
        rest = after;
    }
    Ok(masked)
}

/// The length of what is in quotes, these included, or of the rest of the text.
fn quoted(text: &str) -> usize {
    let quote = &text[..1];
    text[1..].find(quote).map_or(text.len(), |end| end + 2)
}

fn number(text: &str) -> usize {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    text.find(|c| !goes_on(c)).unwrap_or(text.len())
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

// === impl Masked ===

impl Masked {
    /// Reads a path and returns its length. Its steps are not in the text.
    fn path(&mut self, rest: &str) -> Result<usize, Error> {
        let at = self.end.into();
        let (path, len) = Path::read(rest).map_err(|fault| match fault {
            Fault::Steps => Error::TooManySteps(at),
            Fault::Written(what) => Error::Malformed { at, what },
        })?;
        // Glued to the path, it would be read as a part of the word that stands for it, and be lost.
        if let Some(glued) = rest[len..].chars().next()
            && (glued.is_alphanumeric() || matches!(glued, '_' | '$' | '@' | MASK))
        {
            self.pass(&rest[..len]);
            let what = "a dot or an operator is expected here, after a path";
            return Err(Error::Malformed { at: self.end.into(), what });
        }
        self.paths.push((self.end, path));
        Ok(len)
    }

    /// Reads a word and returns its length and what is expected after it.
    fn word(&mut self, rest: &str, expected: Expected) -> Result<(usize, Expected), Error> {
        let word = plain_name(rest);
        let is_function = rest[word.len()..].trim_start().starts_with('(');
        if expected == Expected::Operand && !is_function && !is_reserved(word) {
            return Ok((self.path(rest)?, Expected::Operator));
        }
        let next = if expected == Expected::Name {
            Expected::Operator
        } else if is_one_of(word, &OPERATORS) {
            Expected::Operand
        } else if expected == Expected::Operator && is_one_of(word, &NAMING) {
            Expected::Name
        } else {
            Expected::Operator
        };
        Ok((word.len(), next))
    }

    /// Appends a token, masked if it is a path.
    fn pass(&mut self, token: &str) {
        let is_path = self.paths.last().is_some_and(|(start, _)| *start == self.end);
        for c in token.chars() {
            self.text.push(if is_path { MASK } else { c });
            if c == '\n' {
                self.end = Location { line: self.end.line + 1, column: 1 };
            } else {
                self.end.column += 1;
            }
        }
    }
}
