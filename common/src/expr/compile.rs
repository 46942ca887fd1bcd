//! Turns the syntax tree of SQL into an expression, and refuses what the language does not have.
//!
//! Types are checked as far as the text tells them: only what a path leads to is known later. The recursion goes at most
//! [`MAX_DEPTH`] deep; chains of `AND` and `OR`, and parentheses, are followed in loops.

use sqlparser::ast::{
    BinaryOperator, Expr as Ast, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    InTarget, Spanned, UnaryOperator, Value, ValueWithSpan,
};

use super::error::{Error, Excerpt, Kind, Position};
use super::grammar::path_of;
use super::like::{Fault, Pattern};
use super::limits::{MAX_DEPTH, MAX_LIST, MAX_NODES, MAX_PATHS};
use super::node::{Buckets, Comparison, Node};
use super::number::{Number, Operation};
use super::path::Path;

/// What an expression is compiled to.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) node: Node,
    pub(super) kind: Kind,
    pub(super) paths: Vec<Path>,
    /// The slot of the path with `[*]` that is outside of all predicates.
    pub(super) every: Option<usize>,
}

/// Compiles an expression that may give anything.
pub(super) fn expression(ast: &Ast) -> Result<Compiled, Error> {
    let mut compiler = Compiler::default();
    let (node, kind) = compiler.value(ast, 1)?;
    Ok(Compiled { node, kind, paths: compiler.paths, every: compiler.every })
}

/// Compiles an expression that has to be a condition.
pub(super) fn condition(ast: &Ast) -> Result<Compiled, Error> {
    let mut compiler = Compiler::default();
    let node = compiler.condition(ast, 1)?;
    Ok(Compiled { node, kind: Kind::Condition, paths: compiler.paths, every: None })
}

#[derive(Debug, Default)]
struct Compiler {
    paths: Vec<Path>,
    nodes: usize,
    /// The slot of the path with `[*]` in the predicate that is being compiled.
    every: Option<usize>,
}

const BUCKET: &str = "bucket(path, 20, 30): a value, and numbers that ascend";

fn at(ast: &Ast) -> Position {
    ast.span().start.into()
}

/// The expression without parentheses around it.
fn bare(mut ast: &Ast) -> &Ast {
    while let Ast::Nested(inner) = ast {
        ast = inner;
    }
    ast
}

fn check(ast: &Ast, found: Kind, expected: Kind) -> Result<(), Error> {
    if found == expected || found == Kind::Any {
        Ok(())
    } else {
        Err(Error::Type { at: at(ast), expected, found })
    }
}

/// Checks that values of these types can be compared.
fn check_comparable(left: (&Ast, Kind), right: (&Ast, Kind)) -> Result<(), Error> {
    match (left.1, right.1) {
        (Kind::Null, _) => Err(Error::ComparesNull(at(left.0))),
        (_, Kind::Null) => Err(Error::ComparesNull(at(right.0))),
        (Kind::Any, _) | (_, Kind::Any) => Ok(()),
        (left, right) if left == right => Ok(()),
        (found, other) => Err(Error::Incomparable { at: at(right.0), left: found, right: other }),
    }
}

fn unsupported(ast: &Ast) -> Error {
    let allowed = "see docs/expressions.md for what is";
    // Not the text of the tree, which may be long and is not what was written.
    let what = match ast {
        Ast::Collate { .. } => "COLLATE",
        Ast::AnyOp { .. } => "ANY",
        Ast::AllOp { .. } => "ALL",
        Ast::In { .. } | Ast::Subquery(_) | Ast::Exists { .. } => "a query in a query",
        Ast::Case { .. } => "CASE",
        Ast::Cast { .. } => "CAST",
        Ast::ILike { .. } => "ILIKE",
        Ast::CompoundFieldAccess { .. } => "a step of what is no path",
        _ => "this part of SQL",
    };
    Error::Unsupported { at: at(ast), what: Excerpt::of(what), allowed }
}

// === impl Compiler ===

impl Compiler {
    /// Counts a node at this depth.
    fn enter(&mut self, depth: usize) -> Result<(), Error> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            Err(Error::TooDeep)
        } else if self.nodes > MAX_NODES {
            Err(Error::TooManyNodes)
        } else {
            Ok(())
        }
    }

    /// An expression that has to be true, false or NULL.
    fn condition(&mut self, ast: &Ast, depth: usize) -> Result<Node, Error> {
        let ast = bare(ast);
        match ast {
            Ast::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => {
                self.enter(depth)?;
                let mut operands = Vec::new();
                for operand in chain(ast, op) {
                    operands.push(self.condition(operand, depth + 1)?);
                }
                let operands = operands.into();
                let is_and = *op == BinaryOperator::And;
                Ok(if is_and { Node::And(operands) } else { Node::Or(operands) })
            }
            Ast::UnaryOp { op: UnaryOperator::Not, expr } => {
                self.enter(depth)?;
                Ok(Node::Not(Box::new(self.condition(expr, depth + 1)?)))
            }
            _ => {
                // The predicate may be an operand of another one, which has its own path with `[*]`.
                let outer = self.every.take();
                let (node, kind) = self.predicate(ast, depth)?;
                check(ast, kind, Kind::Condition)?;
                Ok(match std::mem::replace(&mut self.every, outer) {
                    Some(slot) => Node::Any { slot, predicate: Box::new(node) },
                    None => node,
                })
            }
        }
    }

    /// An expression of any type.
    fn value(&mut self, ast: &Ast, depth: usize) -> Result<(Node, Kind), Error> {
        let ast = bare(ast);
        let is_condition = match ast {
            Ast::BinaryOp { op, .. } => {
                comparison(op).is_some() || matches!(op, BinaryOperator::And | BinaryOperator::Or)
            }
            Ast::UnaryOp { op, .. } => *op == UnaryOperator::Not,
            Ast::IsNull(_)
            | Ast::IsNotNull(_)
            | Ast::IsTrue(_)
            | Ast::IsNotTrue(_)
            | Ast::IsFalse(_)
            | Ast::IsNotFalse(_)
            | Ast::In { .. }
            | Ast::Between { .. }
            | Ast::Like { .. } => true,
            _ => false,
        };
        if is_condition {
            Ok((self.condition(ast, depth)?, Kind::Condition))
        } else {
            self.predicate(ast, depth)
        }
    }

    /// An expression that is neither AND, OR nor NOT.
    fn predicate(&mut self, ast: &Ast, depth: usize) -> Result<(Node, Kind), Error> {
        self.enter(depth)?;
        let below = depth + 1;
        let condition = |node| Ok((node, Kind::Condition));
        match ast {
            Ast::Value(value) => literal(value),
            Ast::Identifier(ident) => self.path(ast, std::slice::from_ref(ident)),
            Ast::CompoundIdentifier(idents) => self.path(ast, idents),
            Ast::Function(function) => self.function(ast, function, below),
            Ast::UnaryOp { op: UnaryOperator::Minus, expr } => {
                let inner = self.typed(expr, Kind::Number, below)?;
                let node = match inner {
                    Node::Number(number) => Node::Number(number.negate()),
                    inner => Node::Negate(Box::new(inner)),
                };
                Ok((node, Kind::Number))
            }
            Ast::BinaryOp { left, op, right } => self.binary(ast, (left, op, right), below),
            Ast::Between { expr, negated, low, high } => {
                let (value, kind) = self.value(expr, below)?;
                let mut bound = |ast: &Ast| {
                    let (node, bound) = self.value(ast, below)?;
                    check_comparable((expr, kind), (ast, bound))?;
                    Ok::<_, Error>(Box::new(node))
                };
                let (low, high) = (bound(low)?, bound(high)?);
                condition(Node::Between { value: Box::new(value), low, high, negated: *negated })
            }
            Ast::In { expr, target: InTarget::List(list), negated, global: false } => {
                let (value, kind) = self.value(expr, below)?;
                let list = members((expr, kind), list)?;
                condition(Node::In { value: Box::new(value), list, negated: *negated })
            }
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                let value = Box::new(self.typed(expr, Kind::Text, below)?);
                let pattern = like(pattern, escape_char.as_deref())?;
                condition(Node::Like { value, pattern, negated: *negated })
            }
            Ast::IsNull(value) => self.is((value, None, false), below),
            Ast::IsNotNull(value) => self.is((value, None, true), below),
            Ast::IsTrue(value) => self.is((value, Some(true), false), below),
            Ast::IsNotTrue(value) => self.is((value, Some(true), true), below),
            Ast::IsFalse(value) => self.is((value, Some(false), false), below),
            Ast::IsNotFalse(value) => self.is((value, Some(false), true), below),
            _ => Err(unsupported(ast)),
        }
    }

    /// An operand of this type.
    fn typed(&mut self, ast: &Ast, expected: Kind, depth: usize) -> Result<Node, Error> {
        let (node, found) = self.value(ast, depth)?;
        check(ast, found, expected)?;
        Ok(node)
    }

    fn is(
        &mut self,
        (value, what, negated): (&Ast, Option<bool>, bool),
        depth: usize,
    ) -> Result<(Node, Kind), Error> {
        let (node, kind) = self.value(value, depth)?;
        if what.is_some() {
            check(value, kind, Kind::Condition)?;
        }
        Ok((Node::Is { value: Box::new(node), what, negated }, Kind::Condition))
    }

    fn binary(
        &mut self,
        ast: &Ast,
        (left, op, right): (&Ast, &BinaryOperator, &Ast),
        depth: usize,
    ) -> Result<(Node, Kind), Error> {
        if let Some(by) = comparison(op) {
            let (left_node, left_kind) = self.value(left, depth)?;
            let (right_node, right_kind) = self.value(right, depth)?;
            check_comparable((left, left_kind), (right, right_kind))?;
            let (left, right) = (Box::new(left_node), Box::new(right_node));
            return Ok((Node::Compare { left, by, right }, Kind::Condition));
        }
        let operation = match op {
            BinaryOperator::Plus => Operation::Add,
            BinaryOperator::Minus => Operation::Subtract,
            BinaryOperator::Multiply => Operation::Multiply,
            BinaryOperator::Divide => Operation::Divide,
            BinaryOperator::Modulo => Operation::Remainder,
            _ => return Err(unsupported(ast)),
        };
        let left = Box::new(self.typed(left, Kind::Number, depth)?);
        let right = Box::new(self.typed(right, Kind::Number, depth)?);
        Ok((Node::Compute { left, operation, right }, Kind::Number))
    }

    fn path(&mut self, ast: &Ast, idents: &[Ident]) -> Result<(Node, Kind), Error> {
        let path = path_of(idents);
        let has_every = path.has_every();
        let known = self.paths.iter().position(|known| *known == path);
        let slot = known.unwrap_or(self.paths.len());
        if known.is_none() {
            if slot == MAX_PATHS {
                return Err(Error::TooManyPaths(at(ast)));
            }
            self.paths.push(path);
        }
        if !has_every {
            return Ok((Node::Path(slot), Kind::Any));
        }
        if self.every.replace(slot).is_some() {
            return Err(Error::TwoEvery(at(ast)));
        }
        Ok((Node::Element(slot), Kind::Any))
    }

    fn function(
        &mut self,
        ast: &Ast,
        function: &Function,
        depth: usize,
    ) -> Result<(Node, Kind), Error> {
        let Some(name) = function.name.0.first().and_then(|part| part.as_ident()) else {
            return Err(unsupported(ast));
        };
        let at = name.span.start.into();
        let wrong = |usage| Err(Error::Arguments { at, usage });
        let known = ["bucket", "length", "lower"];
        let Some(known) = known.iter().find(|known| known.eq_ignore_ascii_case(&name.value)) else {
            return Err(Error::UnknownFunction { at, name: Excerpt::of(&name.value) });
        };
        let args = arguments(function);
        match (*known, &*args) {
            ("bucket", [value, bounds @ ..]) if !bounds.is_empty() => {
                if bounds.len() > MAX_LIST {
                    return Err(Error::ListTooLong(at));
                }
                let value = Box::new(self.typed(value, Kind::Number, depth)?);
                let bounds: Option<Vec<_>> = bounds.iter().map(|bound| number(bound)).collect();
                match bounds.and_then(Buckets::new) {
                    Some(buckets) => Ok((Node::Bucket { value, buckets }, Kind::Text)),
                    None => wrong(BUCKET),
                }
            }
            ("bucket", _) => wrong(BUCKET),
            ("lower", [value]) => {
                Ok((Node::Lower(Box::new(self.typed(value, Kind::Text, depth)?)), Kind::Text))
            }
            ("lower", _) => wrong("lower(path), with one text"),
            (_, [value]) => {
                Ok((Node::Length(Box::new(self.typed(value, Kind::Text, depth)?)), Kind::Number))
            }
            _ => wrong("length(path), with one text"),
        }
    }
}

/// The arguments of a function; none if they are not all plain expressions.
fn arguments(function: &Function) -> Vec<&Ast> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg),
        _ => None,
    });
    args.collect::<Option<_>>().unwrap_or_default()
}

/// The operands of a chain of one operator, from left to right.
fn chain<'a>(ast: &'a Ast, by: &BinaryOperator) -> Vec<&'a Ast> {
    let mut operands = Vec::new();
    let mut ast = ast;
    while let Ast::BinaryOp { left, op, right } = bare(ast)
        && op == by
    {
        operands.push(&**right);
        ast = left;
    }
    operands.push(ast);
    operands.reverse();
    operands
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn literal(value: &ValueWithSpan) -> Result<(Node, Kind), Error> {
    let at = value.span.start.into();
    match &value.value {
        Value::Null => Ok((Node::Null, Kind::Null)),
        Value::Boolean(value) => Ok((Node::Bool(*value), Kind::Condition)),
        Value::SingleQuotedString(text) => Ok((Node::Text(text.as_str().into()), Kind::Text)),
        Value::Number(text, false) => {
            let number = Number::of_json(text)
                .ok_or(Error::Malformed { at, what: "this number is too large" })?;
            Ok((Node::Number(number), Kind::Number))
        }
        _ => Err(Error::Unsupported {
            at,
            what: Excerpt::of("this kind of literal"),
            allowed: "texts in single quotes, numbers, TRUE, FALSE and NULL are",
        }),
    }
}

/// The members of a list, which are literals.
fn members(value: (&Ast, Kind), list: &[Ast]) -> Result<Box<[Node]>, Error> {
    if list.len() > MAX_LIST {
        return Err(Error::ListTooLong(at(value.0)));
    }
    let members = list.iter().map(|member| {
        let found = match bare(member) {
            Ast::Value(literal_value) => literal(literal_value)?,
            other => match number(other) {
                Some(number) => (Node::Number(number), Kind::Number),
                None => {
                    let what = "a list holds texts, numbers, TRUE and FALSE";
                    return Err(Error::Malformed { at: at(member), what });
                }
            },
        };
        check_comparable(value, (member, found.1))?;
        Ok(found.0)
    });
    members.collect()
}

/// The value of a literal number, also with a minus before it.
fn number(ast: &Ast) -> Option<Number> {
    match bare(ast) {
        Ast::UnaryOp { op: UnaryOperator::Minus, expr } => match bare(expr) {
            Ast::Value(_) => number(expr).map(Number::negate),
            _ => None,
        },
        Ast::Value(value) => match literal(value) {
            Ok((Node::Number(number), _)) => Some(number),
            _ => None,
        },
        _ => None,
    }
}

fn text(ast: &Ast) -> Option<&str> {
    match bare(ast) {
        Ast::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

fn like(pattern: &Ast, escape: Option<&Ast>) -> Result<Pattern, Error> {
    let wrong = |ast: &Ast, what| Error::Malformed { at: at(ast), what };
    let written = text(pattern)
        .ok_or_else(|| wrong(pattern, "a pattern is a text in single quotes, such as 'rust%'"))?;
    let escape = match escape {
        None => None,
        Some(ast) => {
            let mut characters = text(ast).unwrap_or_default().chars();
            let (first, second) = (characters.next(), characters.next());
            let one = first.filter(|_| second.is_none());
            Some(one.ok_or_else(|| wrong(ast, "ESCAPE takes one character in single quotes"))?)
        }
    };
    Pattern::new(written, escape).map_err(|fault| match fault {
        Fault::Escape => wrong(pattern, "the escape character stands before %, _ or itself only"),
        Fault::Wild => Error::WildTooLong(at(pattern)),
    })
}
