//! The expression language: what SQL writes after `WHERE`, over the paths of a JSON event. The collector selects events
//! with it, the analyzer filters and groups by it, and clients of the access-api filter by it. docs/expressions.md
//! describes it for users.
//!
//! A text is read in four steps: its paths are taken out ([`mask`]), a dialect of `sqlparser` parses the rest
//! ([`grammar`]), the tree is checked and made compact ([`compile`]), and for each event the compact form is evaluated
//! ([`evaluate`]). The values of the paths are in numbered slots, in the order of [`Expr::paths`]. Whoever reads events
//! anyway fills them as a [`Row`]; for whole payloads [`Slots`] does.
//!
//! - **NULL.** What is absent, `null`, of a wrong type, or not computable is NULL, and the logic has three values. A filter
//!   takes what is true.
//! - **Every element.** A predicate, which is a comparison, `IN`, `LIKE`, `BETWEEN`, `IS` or a path by itself, with a path
//!   with `[*]` is true if it is for any element, and false otherwise; so it is never NULL. If there is no element, only
//!   an `IS` can be true, as if there were one that is NULL.
//! - **Bounds.** The cost of reading and of evaluating is bounded whatever the text, see the constants. Evaluating does not
//!   allocate, except for `lower` of what is not in small ASCII letters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod compile;
mod error;
mod evaluate;
mod grammar;
mod like;
mod limits;
mod mask;
mod node;
mod number;
mod path;
mod scalar;
mod slots;
#[cfg(test)]
mod tests;

pub use error::{Error, Excerpt, Kind, Position};
pub use grammar::Sql;
pub use limits::{
    MAX_DEPTH, MAX_ELEMENTS, MAX_LIST, MAX_NODES, MAX_PATHS, MAX_STEPS, MAX_TEXT, MAX_WILD,
};
pub use number::Number;
pub use path::{Path, Step};
pub use scalar::{Row, Scalar};
pub use slots::{Slots, Values};

use compile::Compiled;
use node::{Node, Written};

/// An expression: a path, or what is computed from the values of paths.
///
/// As a text it is canonical: what reads back as the same expression. That text has parentheses only where they are
/// needed, and spaces everywhere, so it may be longer than [`MAX_TEXT`] although the original was not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expr {
    node: Node,
    kind: Kind,
    paths: Box<[Path]>,
    every: Option<usize>,
}

/// An expression that is true, false or NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition(Expr);

// No literal is NaN, so that each expression equals itself.
impl Eq for Expr {}

// === impl Expr ===

impl Expr {
    /// Reads an expression.
    ///
    /// # Errors
    /// When the text is no expression, or exceeds a bound.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_sql(&Sql::read(text)?.expression()?)
    }

    /// The expression that a part of a statement is, which was parsed from [`Sql::parser`].
    ///
    /// # Errors
    /// When the language does not have it, or it exceeds a bound.
    pub fn from_sql(ast: &sqlparser::ast::Expr) -> Result<Self, Error> {
        compile::expression(ast).map(Self::from)
    }

    /// What the expression gives, as far as its text tells.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The different paths, in the order of their slots.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Whether it may give several values, because a path with `[*]` is outside of its conditions.
    pub fn has_every(&self) -> bool {
        self.every.is_some()
    }

    /// The value for an event, which is the one for the first element if there are several.
    pub fn value<'a, R: Row>(&'a self, row: &'a R) -> Scalar<'a> {
        let first = self.every.and_then(|slot| row.values(slot).next());
        evaluate::scalar(&self.node, row, &first.unwrap_or(Scalar::Null))
    }

    /// The values for an event: one, or with `[*]` one for each element.
    pub fn values<'a, R: Row>(&'a self, row: &'a R) -> impl Iterator<Item = Scalar<'a>> {
        let elements = self.every.map(|slot| row.values(slot)).into_iter().flatten();
        let single = self.every.is_none().then(|| self.value(row));
        elements.map(|element| evaluate::scalar(&self.node, row, &element)).chain(single)
    }
}

impl From<Compiled> for Expr {
    fn from(Compiled { node, kind, paths, every }: Compiled) -> Self {
        Self { node, kind, paths: paths.into(), every }
    }
}

impl FromStr for Expr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Written { node: &self.node, paths: &self.paths }.fmt(f)
    }
}

impl TryFrom<String> for Expr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Expr> for String {
    fn from(expr: Expr) -> Self {
        expr.to_string()
    }
}

// === impl Condition ===

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// When the text is no condition, or exceeds a bound.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_sql(&Sql::read(text)?.expression()?)
    }

    /// The condition that a part of a statement is, which was parsed from [`Sql::parser`].
    ///
    /// # Errors
    /// When the language does not have it, it is no condition, or it exceeds a bound.
    pub fn from_sql(ast: &sqlparser::ast::Expr) -> Result<Self, Error> {
        compile::condition(ast).map(|compiled| Self(compiled.into()))
    }

    /// The different paths, in the order of their slots.
    pub fn paths(&self) -> &[Path] {
        self.0.paths()
    }

    /// Whether it holds for an event whose values are known; `None` is NULL.
    pub fn truth<R: Row>(&self, row: &R) -> Option<bool> {
        evaluate::truth(&self.0.node, row, &Scalar::Null)
    }

    /// Whether it holds for the event that a payload is; `None` is NULL, which it also is for what is no event.
    pub fn holds(&self, payload: &[u8], slots: &mut Slots) -> Option<bool> {
        let values = slots.fill(self.paths(), payload).ok()?;
        self.truth(&values)
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Condition {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.to_string()
    }
}
