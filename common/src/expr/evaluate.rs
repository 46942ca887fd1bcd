//! Evaluates compiled expressions, by the three-valued logic of SQL.
//!
//! The recursion goes as deep as the expression, which is bounded. Nothing is allocated, except for `lower` of a text that
//! has capitals or other than ASCII characters.

use std::borrow::Cow;

use super::node::{Comparison, Node};
use super::number::Number;
use super::scalar::{Row, Scalar};

/// Whether a condition holds; `None` is NULL. `element` is the value of the path with `[*]`.
pub(super) fn truth<'a, R: Row>(node: &'a Node, row: &'a R, element: &Scalar<'a>) -> Option<bool> {
    let scalar = |node| scalar(node, row, element);
    match node {
        Node::And(nodes) => decided(nodes, false, |node| truth(node, row, element)),
        Node::Or(nodes) => decided(nodes, true, |node| truth(node, row, element)),
        Node::Not(inner) => truth(inner, row, element).map(|holds| !holds),
        Node::Compare { left, by, right } => {
            scalar(left).compare(&scalar(right)).map(|ordering| by.holds(ordering))
        }
        Node::In { value, list, negated } => {
            let value = scalar(value);
            let equal = |member| Some(value.compare(&scalar(member))?.is_eq());
            decided(list, true, equal).map(|found| found != *negated)
        }
        Node::Between { value, low, high, negated } => {
            let value = scalar(value);
            let is = |bound, by: Comparison| Some(by.holds(value.compare(&scalar(bound))?));
            let above = is(low, Comparison::GreaterOrEqual);
            let below = is(high, Comparison::LessOrEqual);
            let between = match (above, below) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            between.map(|between| between != *negated)
        }
        Node::Like { value, pattern, negated } => match scalar(value) {
            Scalar::Text(text) => Some(pattern.matches(&text) != *negated),
            _ => None,
        },
        Node::Is { value, what, negated } => {
            let value = scalar(value);
            let is = match what {
                None => value == Scalar::Null,
                Some(_) => value.truth() == *what,
            };
            Some(is != *negated)
        }
        Node::Any { slot, predicate } => Some(any(*slot, predicate, row)),
        Node::Null
        | Node::Bool(_)
        | Node::Number(_)
        | Node::Text(_)
        | Node::Path(_)
        | Node::Element(_)
        | Node::Compute { .. }
        | Node::Negate(_)
        | Node::Lower(_)
        | Node::Length(_)
        | Node::Bucket { .. } => scalar(node).truth(),
    }
}

/// Whether any element fulfils a predicate. No element is like one that is NULL for an `IS`, and fulfils nothing else.
fn any<R: Row>(slot: usize, predicate: &Node, row: &R) -> bool {
    let mut elements = row.values(slot).peekable();
    if elements.peek().is_none() {
        let is_asked = matches!(predicate, Node::Is { .. });
        return is_asked && truth(predicate, row, &Scalar::Null) == Some(true);
    }
    elements.any(|element| truth(predicate, row, &element) == Some(true))
}

/// Whether any node is `what`, which decides; NULL if none is, but one is NULL.
#[inline]
fn decided<'a>(
    nodes: &'a [Node],
    what: bool,
    mut of: impl FnMut(&'a Node) -> Option<bool>,
) -> Option<bool> {
    let mut result = Some(!what);
    for node in nodes {
        match of(node) {
            Some(holds) if holds == what => return Some(what),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

/// The value of an expression. `element` is the value of the path with `[*]`.
pub(super) fn scalar<'a, R: Row>(node: &'a Node, row: &'a R, element: &Scalar<'a>) -> Scalar<'a> {
    let number = |node| scalar(node, row, element).number();
    match node {
        Node::Null => Scalar::Null,
        Node::Bool(value) => Scalar::Bool(*value),
        Node::Number(number) => Scalar::Number(*number),
        Node::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        Node::Path(slot) => row.values(*slot).next().unwrap_or(Scalar::Null),
        Node::Element(_) => element.clone(),
        Node::Compute { left, operation, right } => {
            let operands = number(left).zip(number(right));
            operands.and_then(|(left, right)| left.compute(*operation, right)).into()
        }
        Node::Negate(inner) => number(inner).map(Number::negate).into(),
        Node::Lower(inner) => match scalar(inner, row, element) {
            Scalar::Text(text) => Scalar::Text(lower(text)),
            _ => Scalar::Null,
        },
        Node::Length(inner) => match scalar(inner, row, element) {
            Scalar::Text(text) => Scalar::Number((text.chars().count() as u64).into()),
            _ => Scalar::Null,
        },
        Node::Bucket { value, buckets } => match number(value) {
            Some(number) => Scalar::Text(Cow::Borrowed(buckets.name(number))),
            None => Scalar::Null,
        },
        Node::And(_)
        | Node::Or(_)
        | Node::Not(_)
        | Node::Compare { .. }
        | Node::In { .. }
        | Node::Between { .. }
        | Node::Like { .. }
        | Node::Is { .. }
        | Node::Any { .. } => truth(node, row, element).into(),
    }
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        text
    } else {
        Cow::Owned(text.to_lowercase())
    }
}
