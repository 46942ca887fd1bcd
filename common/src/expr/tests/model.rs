//! What an expression means, written as simply as possible: over the tree of a JSON value, without slots, and
//! with every step copied. Properties compare the module with it.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::like::matches;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Key(String),
    Every,
    Index(usize),
}

#[derive(Debug, Clone)]
pub(super) enum Term {
    /// The text of a literal, and its value.
    Literal(String, Val),
    Path(Vec<Step>),
    Compute(Box<Term>, char, Box<Term>),
    Negate(Box<Term>),
    Lower(Box<Term>),
    Length(Box<Term>),
    Bucket(Box<Term>, Vec<i64>),
    Condition(Box<Cond>),
}

#[derive(Debug, Clone)]
pub(super) enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Truth(Term),
    Compare(Term, &'static str, Term),
    Between(Term, bool, Term, Term),
    In(Term, bool, Vec<Term>),
    Like(Term, bool, String),
    Is(Term, bool, Option<bool>),
}

/// The value of a term. Integers are those of 64 bits, with or without a sign.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Val {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Other,
}

impl Val {
    fn of(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::number(&number.to_string()),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(_) | Json::Object(_) => Self::Other,
        }
    }

    pub(super) fn number(text: &str) -> Self {
        let integer = text.parse::<i128>().ok();
        integer.and_then(Self::integer).unwrap_or_else(|| Self::float(text.parse().unwrap()))
    }

    fn integer(value: i128) -> Option<Self> {
        let fits = value >= i64::MIN.into() && value <= u64::MAX.into();
        fits.then_some(Self::Integer(value))
    }

    fn float(value: f64) -> Self {
        if value.is_finite() { Self::Float(value) } else { Self::Null }
    }

    /// As a number: what a text writes by the grammar of JSON.
    fn numeric(&self) -> Self {
        match self {
            Self::Text(text) => match serde_json::from_str::<Json>(text) {
                Ok(Json::Number(_)) if text.trim() == text => Self::number(text),
                _ => Self::Null,
            },
            Self::Integer(_) | Self::Float(_) => self.clone(),
            _ => Self::Null,
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            // A float with a fraction is far below 2^63, one without is an integer.
            (Self::Integer(a), Self::Float(b)) if b.fract() == 0.0 && b.abs() < 1e30 => {
                Some(a.cmp(&(*b as i128)))
            }
            (Self::Integer(_), Self::Float(b)) if b.abs() >= 1e30 => 0.0.partial_cmp(b),
            (Self::Integer(a), Self::Float(b)) => {
                Some(a.cmp(&(b.floor() as i128)).then(Ordering::Less))
            }
            (Self::Float(_), Self::Integer(_)) => other.compare(self).map(Ordering::reverse),
            (Self::Text(_), Self::Integer(_) | Self::Float(_))
            | (Self::Integer(_) | Self::Float(_), Self::Text(_)) => {
                self.numeric().compare(&other.numeric())
            }
            _ => None,
        }
    }

    fn compute(&self, sign: char, other: &Self) -> Self {
        let (a, b) = (self.numeric(), other.numeric());
        if let (Self::Integer(a), Self::Integer(b)) = (&a, &b) {
            let exact = match sign {
                '+' => Some(a + b),
                '-' => Some(a - b),
                '*' => a.checked_mul(*b),
                _ if *b == 0 => return Self::Null,
                '%' => Some(a % b),
                _ => (a % b == 0).then(|| a / b),
            };
            if let Some(exact) = exact.and_then(Self::integer) {
                return exact;
            }
        }
        let float = |value: &Self| match value {
            Self::Integer(value) => *value as f64,
            Self::Float(value) => *value,
            _ => f64::NAN,
        };
        let (a, b) = (float(&a), float(&b));
        Self::float(match sign {
            '+' => a + b,
            '-' => a - b,
            '*' => a * b,
            '%' => a % b,
            _ => a / b,
        })
    }
}

fn find(json: &Json, steps: &[Step]) -> Vec<Val> {
    let Some((step, rest)) = steps.split_first() else { return vec![Val::of(json)] };
    match (step, json) {
        (Step::Key(key), Json::Object(members)) => {
            members.get(key).map(|below| find(below, rest)).unwrap_or_default()
        }
        (Step::Index(index), Json::Array(elements)) => {
            elements.get(*index).map(|below| find(below, rest)).unwrap_or_default()
        }
        (Step::Every, Json::Array(elements)) => {
            elements.iter().flat_map(|below| find(below, rest)).collect()
        }
        _ => Vec::new(),
    }
}

impl Term {
    /// The path with `[*]` in the term, but not in its conditions.
    fn every(&self) -> Option<&[Step]> {
        match self {
            Self::Path(steps) if steps.contains(&Step::Every) => Some(steps),
            Self::Literal(..) | Self::Path(_) | Self::Condition(_) => None,
            Self::Compute(a, _, b) => a.every().or_else(|| b.every()),
            Self::Negate(a) | Self::Lower(a) | Self::Length(a) | Self::Bucket(a, _) => a.every(),
        }
    }

    pub(super) fn value(&self, json: &Json, element: &Val) -> Val {
        match self {
            Self::Literal(_, value) => value.clone(),
            Self::Path(steps) if steps.contains(&Step::Every) => element.clone(),
            Self::Path(steps) => find(json, steps).first().cloned().unwrap_or(Val::Null),
            Self::Compute(a, sign, b) => {
                a.value(json, element).compute(*sign, &b.value(json, element))
            }
            // Not 0 - x, which is not the negative zero.
            Self::Negate(a) => Val::Integer(-1).compute('*', &a.value(json, element)),
            Self::Lower(a) => match a.value(json, element) {
                Val::Text(text) => Val::Text(text.to_lowercase()),
                _ => Val::Null,
            },
            Self::Length(a) => match a.value(json, element) {
                Val::Text(text) => Val::Integer(text.chars().count() as i128),
                _ => Val::Null,
            },
            Self::Bucket(a, bounds) => {
                let value = a.value(json, element).numeric();
                let below = |bound: &&i64| {
                    Val::Integer((**bound).into()).compare(&value).is_some_and(Ordering::is_gt)
                };
                let at_least = bounds.iter().rfind(|bound| !below(bound));
                match (at_least, bounds.iter().find(below)) {
                    _ if value == Val::Null => Val::Null,
                    (None, Some(high)) => Val::Text(format!("<{high}")),
                    (Some(low), Some(high)) => Val::Text(format!("{low}-{high}")),
                    (low, None) => Val::Text(format!(">={}", low.unwrap())),
                }
            }
            Self::Condition(condition) => condition.truth(json).map_or(Val::Null, Val::Bool),
        }
    }
}

impl Cond {
    fn terms(&self) -> Vec<&Term> {
        match self {
            Self::And(_) | Self::Or(_) | Self::Not(_) => Vec::new(),
            Self::Truth(a) | Self::In(a, ..) | Self::Like(a, ..) | Self::Is(a, ..) => vec![a],
            Self::Compare(a, _, b) => vec![a, b],
            Self::Between(a, _, b, c) => vec![a, b, c],
        }
    }

    pub(super) fn truth(&self, json: &Json) -> Option<bool> {
        let Some(every) = self.terms().into_iter().find_map(Term::every) else {
            return self.predicate(json, &Val::Null);
        };
        let mut elements = find(json, every);
        if elements.is_empty() && matches!(self, Self::Is(..)) {
            elements.push(Val::Null);
        }
        Some(elements.iter().any(|element| self.predicate(json, element) == Some(true)))
    }

    fn predicate(&self, json: &Json, element: &Val) -> Option<bool> {
        let value = |term: &Term| term.value(json, element);
        let compared = |a: &Val, sign: &str, b: &Val| {
            let ordering = a.compare(b)?;
            Some(match sign {
                "=" => ordering.is_eq(),
                "<>" | "!=" => ordering.is_ne(),
                "<" => ordering.is_lt(),
                "<=" => ordering.is_le(),
                ">" => ordering.is_gt(),
                _ => ordering.is_ge(),
            })
        };
        let not_if = |negated: bool, truth: Option<bool>| truth.map(|truth| truth != negated);
        match self {
            Self::And(conditions) => all(conditions.iter().map(|one| one.truth(json))),
            Self::Or(conditions) => {
                all(conditions.iter().map(|one| one.truth(json).map(|truth| !truth)))
                    .map(|none| !none)
            }
            Self::Not(a) => a.truth(json).map(|truth| !truth),
            Self::Truth(a) => match value(a) {
                Val::Bool(truth) => Some(truth),
                _ => None,
            },
            Self::Compare(a, sign, b) => compared(&value(a), sign, &value(b)),
            Self::Between(a, negated, b, c) => {
                let a = value(a);
                not_if(
                    *negated,
                    all([compared(&a, ">=", &value(b)), compared(&a, "<=", &value(c))]),
                )
            }
            Self::In(a, negated, list) => {
                let a = value(a);
                let none = all(list.iter().map(|member| compared(&a, "<>", &value(member))));
                not_if(!*negated, none)
            }
            Self::Like(a, negated, pattern) => match value(a) {
                Val::Text(text) => {
                    let (pattern, text): (Vec<_>, Vec<_>) =
                        (pattern.chars().collect(), text.chars().collect());
                    Some(matches(&pattern, None, &text) != *negated)
                }
                _ => None,
            },
            Self::Is(a, negated, what) => {
                let value = value(a);
                let is = match what {
                    None => value == Val::Null,
                    Some(what) => value == Val::Bool(*what),
                };
                Some(is != *negated)
            }
        }
    }
}

/// AND of the three-valued logic.
fn all(truths: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let truths: Vec<_> = truths.into_iter().collect();
    if truths.contains(&Some(false)) {
        Some(false)
    } else if truths.contains(&None) {
        None
    } else {
        Some(true)
    }
}
