//! Compiled expressions, and their canonical text.

use std::cmp::Ordering;
use std::fmt;

use super::like::Pattern;
use super::number::{Number, Operation};
use super::path::Path;

/// A part of an expression, checked: its operands are of types that its operator takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    /// The value of a path, which is in this slot.
    Path(usize),
    /// The value of a path with `[*]` in this slot: one after the other of those that the surrounding [`Any`](Self::Any)
    /// goes through.
    Element(usize),
    /// Whether any element in the slot fulfils the predicate.
    Any {
        slot: usize,
        predicate: Box<Self>,
    },
    Not(Box<Self>),
    And(Box<[Self]>),
    Or(Box<[Self]>),
    Compare {
        left: Box<Self>,
        by: Comparison,
        right: Box<Self>,
    },
    Between {
        value: Box<Self>,
        low: Box<Self>,
        high: Box<Self>,
        negated: bool,
    },
    In {
        value: Box<Self>,
        list: Box<[Self]>,
        negated: bool,
    },
    Like {
        value: Box<Self>,
        pattern: Pattern,
        negated: bool,
    },
    /// Whether the value is `what`: `None` is NULL.
    Is {
        value: Box<Self>,
        what: Option<bool>,
        negated: bool,
    },
    Compute {
        left: Box<Self>,
        operation: Operation,
        right: Box<Self>,
    },
    Negate(Box<Self>),
    Lower(Box<Self>),
    Length(Box<Self>),
    Bucket {
        value: Box<Self>,
        buckets: Buckets,
    },
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The bounds of `bucket`, and the name of what is below each of them and of what is above all.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Buckets {
    bounds: Box<[Number]>,
    names: Box<[Box<str>]>,
}

/// How tight a node binds, for parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Predicate,
    Sum,
    Product,
    Minus,
    Operand,
}

// === impl Comparison ===

impl Comparison {
    #[inline]
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

// === impl Buckets ===

impl Buckets {
    /// Buckets with these bounds, of which there is at least one; `None` if they do not ascend.
    pub(super) fn new(bounds: Vec<Number>) -> Option<Self> {
        let ascend = bounds.windows(2).all(|pair| pair[0].compare(pair[1]).is_lt());
        let (first, last) = (bounds.first().filter(|_| ascend)?, bounds.last()?);
        let between = bounds.windows(2).map(|pair| format!("{}-{}", pair[0], pair[1]));
        let names = std::iter::once(format!("<{first}"))
            .chain(between)
            .chain(std::iter::once(format!(">={last}")));
        Some(Self { names: names.map(String::into_boxed_str).collect(), bounds: bounds.into() })
    }

    /// The name of the bucket that a number is in. A bucket includes its lower bound.
    pub(super) fn name(&self, number: Number) -> &str {
        let place = self.bounds.partition_point(|bound| bound.compare(number).is_le());
        &self.names[place]
    }
}

// === impl Node ===

impl Node {
    fn binding(&self) -> Binding {
        match self {
            Self::Or(_) => Binding::Or,
            Self::And(_) => Binding::And,
            Self::Not(_) => Binding::Not,
            Self::Any { predicate, .. } => predicate.binding(),
            Self::Compare { .. }
            | Self::Between { .. }
            | Self::In { .. }
            | Self::Like { .. }
            | Self::Is { .. } => Binding::Predicate,
            Self::Compute { operation: Operation::Add | Operation::Subtract, .. } => Binding::Sum,
            Self::Compute { .. } => Binding::Product,
            Self::Negate(_) => Binding::Minus,
            Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Path(_)
            | Self::Element(_)
            | Self::Lower(_)
            | Self::Length(_)
            | Self::Bucket { .. } => Binding::Operand,
        }
    }
}

/// Writes a node whose slots are these paths.
pub(super) struct Written<'a> {
    pub(super) node: &'a Node,
    pub(super) paths: &'a [Path],
}

impl<'a> Written<'a> {
    fn of(&self, node: &'a Node) -> Self {
        Self { node, paths: self.paths }
    }

    /// Writes an operand, in parentheses if it binds less tight than it has to.
    fn operand(
        &self,
        f: &mut fmt::Formatter<'_>,
        node: &'a Node,
        at_least: Binding,
    ) -> fmt::Result {
        let written = self.of(node);
        if node.binding() < at_least { write!(f, "({written})") } else { write!(f, "{written}") }
    }

    /// Writes what several operands are joined to.
    fn joined(
        &self,
        f: &mut fmt::Formatter<'_>,
        nodes: &'a [Node],
        by: &str,
        binding: Binding,
    ) -> fmt::Result {
        for (place, node) in nodes.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { by })?;
            // The same operator further in is one that was in parentheses.
            if node.binding() <= binding {
                write!(f, "({})", self.of(node))?;
            } else {
                write!(f, "{}", self.of(node))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self.node {
            Node::Null => f.write_str("NULL"),
            Node::Bool(true) => f.write_str("TRUE"),
            Node::Bool(false) => f.write_str("FALSE"),
            Node::Number(number) => number.write_literal(f),
            Node::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Node::Path(slot) | Node::Element(slot) => write!(f, "{}", self.paths[*slot]),
            Node::Any { predicate, .. } => write!(f, "{}", self.of(predicate)),
            Node::Not(inner) => {
                f.write_str("NOT ")?;
                self.operand(f, inner, Binding::Not)
            }
            Node::And(nodes) => self.joined(f, nodes, " AND ", Binding::And),
            Node::Or(nodes) => self.joined(f, nodes, " OR ", Binding::Or),
            Node::Compare { left, by, right } => {
                self.operand(f, left, Binding::Sum)?;
                write!(f, " {} ", by.sign())?;
                self.operand(f, right, Binding::Sum)
            }
            Node::Between { value, low, high, negated } => {
                self.operand(f, value, Binding::Sum)?;
                write!(f, " {}BETWEEN ", not(negated))?;
                self.operand(f, low, Binding::Sum)?;
                f.write_str(" AND ")?;
                self.operand(f, high, Binding::Sum)
            }
            Node::In { value, list, negated } => {
                self.operand(f, value, Binding::Sum)?;
                write!(f, " {}IN (", not(negated))?;
                for (place, member) in list.iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { ", " })?;
                    write!(f, "{}", self.of(member))?;
                }
                f.write_str(")")
            }
            Node::Like { value, pattern, negated } => {
                self.operand(f, value, Binding::Sum)?;
                write!(f, " {}LIKE {pattern}", not(negated))
            }
            Node::Is { value, what, negated } => {
                self.operand(f, value, Binding::Sum)?;
                let what = match what {
                    None => "NULL",
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                };
                write!(f, " IS {}{what}", not(negated))
            }
            Node::Compute { left, operation, right } => {
                let (sign, binding, tighter) = match operation {
                    Operation::Add => ('+', Binding::Sum, Binding::Product),
                    Operation::Subtract => ('-', Binding::Sum, Binding::Product),
                    Operation::Multiply => ('*', Binding::Product, Binding::Minus),
                    Operation::Divide => ('/', Binding::Product, Binding::Minus),
                    Operation::Remainder => ('%', Binding::Product, Binding::Minus),
                };
                self.operand(f, left, binding)?;
                write!(f, " {sign} ")?;
                self.operand(f, right, tighter)
            }
            Node::Negate(inner) => {
                // Two minuses would begin a comment; a negative number is never negated, but computed.
                f.write_str("-")?;
                self.operand(f, inner, Binding::Operand)
            }
            Node::Lower(inner) => write!(f, "lower({})", self.of(inner)),
            Node::Length(inner) => write!(f, "length({})", self.of(inner)),
            Node::Bucket { value, buckets } => {
                write!(f, "bucket({}", self.of(value))?;
                for bound in &buckets.bounds {
                    f.write_str(", ")?;
                    bound.write_literal(f)?;
                }
                f.write_str(")")
            }
        }
    }
}
