//! The grammar: a dialect of [`sqlparser`] that has the language's operators and nothing else.
//!
//! The dialect parses every operand itself and lets no other operator bind. So the parser's many rules for operands, some
//! of which try one reading after the other, are never reached, and the time is proportional to the length of the text. The
//! parser's own limit bounds the recursion.

use std::cell::{Cell, RefCell};

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, InTarget, ObjectName, UnaryOperator, Value,
};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::error::{Error, Excerpt, Position};
use super::limits::{MAX_DEPTH, MAX_LIST, MAX_NODES, MAX_TEXT};
use super::mask::{MASK, Masked, mask};
use super::path::{Path, Step, is_reserved};

/// How deep the parser may recurse: each level of an expression takes one call for its parenthesis and one for its
/// operator. A statement around the expression takes some more.
const MAX_RECURSION: usize = 2 * MAX_DEPTH + 8;

/// How tight a minus before its operand binds: more than any other operator.
const UNARY_MINUS: u8 = 60;

const OPERAND: &str = "a path, a number, a text in single quotes or a function";

const OPERATORS: &str =
    "AND, OR, NOT, =, <>, <, <=, >, >=, IN, LIKE, BETWEEN, IS NULL, +, -, *, / and % are known";

/// A text that is read as SQL, for [`Expr::from_sql`](super::Expr::from_sql).
///
/// Parse from [`parser`](Self::parser) either one expression or a statement that has some. What it fails with is turned into
/// an [`Error`] by [`error`](Self::error). The statement's own parts, such as `FROM`, are parsed by the rules of
/// [`sqlparser`]; names after `FROM` and `AS` are no paths.
#[derive(Debug)]
pub struct Sql {
    grammar: Grammar,
    tokens: Vec<TokenWithSpan>,
}

#[derive(Debug)]
struct Grammar {
    /// The paths of the text, and where they begin.
    paths: Vec<(Location, Path)>,
    end: Location,
    /// Why parsing failed last: the parser's own errors have no position.
    error: RefCell<Option<Error>>,
    /// How many parentheses are open.
    open: Cell<usize>,
    /// How many operands, operators and parentheses were read; not the literals of lists.
    nodes: Cell<usize>,
}

// === impl Sql ===

impl Sql {
    /// Splits a text into tokens.
    ///
    /// # Errors
    /// When it is empty, too long, or has a path or a token that is not one.
    pub fn read(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT {
            return Err(Error::TooLong(text.len()));
        }
        if text.trim().is_empty() {
            return Err(Error::Empty);
        }
        let Masked { text, paths, end } = mask(text)?;
        let grammar = Grammar {
            paths,
            end,
            error: RefCell::default(),
            open: Cell::default(),
            nodes: Cell::default(),
        };
        let mut tokens = Vec::new();
        let read = Tokenizer::new(&grammar, &text).tokenize_with_location_into_buf(&mut tokens);
        read.map_err(|error| {
            // The parser tells where it gave up. A text whose end is missing began at the first quote after the last
            // token, which is of more use.
            let start =
                tokens.last().map_or(Location { line: 1, column: 1 }, |token| token.span.end);
            let what = if error.message.contains("Unterminated") {
                "the single quote that ends the text is missing: a quote in a text is written twice"
            } else {
                "this is neither a word, a number, a text in single quotes nor an operator"
            };
            Error::Malformed { at: start.into(), what }
        })?;
        Ok(Self { grammar, tokens })
    }

    /// A parser at the start of the text.
    pub fn parser(&self) -> Parser<'_> {
        self.grammar.error.take();
        self.grammar.open.set(0);
        self.grammar.nodes.set(0);
        Parser::new(&self.grammar)
            .with_recursion_limit(MAX_RECURSION)
            .with_tokens_with_locations(self.tokens.clone())
    }

    /// What a parser of this text has failed with.
    pub fn error(&self, error: &ParserError) -> Error {
        match (error, self.grammar.error.take()) {
            (ParserError::RecursionLimitExceeded, _) => Error::TooDeep,
            (_, Some(error)) => error,
            (ParserError::ParserError(what) | ParserError::TokenizerError(what), None) => {
                Error::Statement(Excerpt::of(what))
            }
        }
    }

    /// Parses the text as one expression.
    pub(super) fn expression(&self) -> Result<Expr, Error> {
        let mut parser = self.parser();
        let expression = parser.parse_expr().map_err(|error| match self.error(&error) {
            // The parser's own errors have no position. In an expression there are few of them.
            Error::Statement(_) => {
                let next = parser.peek_token();
                let is_between =
                    matches!(&error, ParserError::ParserError(what) if what.contains("AND"));
                let expected = if is_between { "AND, after BETWEEN," } else { "another word" };
                Error::Unexpected {
                    at: self.grammar.at(&next),
                    expected,
                    found: self.grammar.found(&next),
                }
            }
            error => error,
        })?;
        let next = parser.next_token();
        if next.token == Token::EOF {
            return Ok(expression);
        }
        Err(self.grammar.no_operator(&next))
    }
}

// === impl Grammar ===

impl Grammar {
    /// Notes an error that the parser cannot carry.
    fn fail(&self, error: Error) -> ParserError {
        let carried = ParserError::ParserError(error.to_string());
        self.error.replace(Some(error));
        carried
    }

    fn at(&self, token: &TokenWithSpan) -> Position {
        if token.token == Token::EOF { self.end.into() } else { token.span.start.into() }
    }

    fn found(&self, TokenWithSpan { token, span }: &TokenWithSpan) -> Excerpt {
        match (token, self.path(span.start)) {
            (Token::EOF, _) => Excerpt::of("the end of the text"),
            (_, Some(path)) => Excerpt::quoted(&path.to_string()),
            // It has quotes of its own.
            (Token::SingleQuotedString(_), _) => Excerpt::of(&token.to_string()),
            (token, None) => Excerpt::quoted(&token.to_string()),
        }
    }

    fn unexpected(&self, token: &TokenWithSpan, expected: &'static str) -> ParserError {
        let error = Error::Unexpected { at: self.at(token), expected, found: self.found(token) };
        self.fail(error)
    }

    /// Says that a token is no operator.
    fn no_operator(&self, token: &TokenWithSpan) -> Error {
        let (at, found) = (self.at(token), self.found(token));
        match &token.token {
            Token::RParen => {
                Error::Malformed { at, what: "this parenthesis has none that opens it" }
            }
            Token::Word(_) if self.path(token.span.start).is_none() => {
                Error::Unsupported { at, what: found, allowed: OPERATORS }
            }
            Token::Word(_) | Token::SingleQuotedString(_) | Token::Number(..) | Token::LParen => {
                Error::Unexpected { at, expected: "an operator", found }
            }
            _ => Error::Unsupported { at, what: found, allowed: OPERATORS },
        }
    }

    /// The path that begins at this place.
    fn path(&self, at: Location) -> Option<&Path> {
        let place = self.paths.binary_search_by(|(start, _)| start.cmp(&at)).ok()?;
        Some(&self.paths[place].1)
    }

    /// Counts an operand or operator, so that no tree grows above the bound while it is parsed.
    fn count(&self) -> Result<(), ParserError> {
        self.nodes.set(self.nodes.get() + 1);
        // Parentheses count here, and are no nodes later.
        if self.nodes.get() > 2 * MAX_NODES { Err(self.fail(Error::TooManyNodes)) } else { Ok(()) }
    }

    fn operand(&self, parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
        self.count()?;
        let next = parser.next_token();
        let start = next.span.start;
        match &next.token {
            Token::Word(word) => self.word(word, &next, parser),
            Token::Number(text, false) => {
                Ok(literal(Value::Number(text.clone(), false), next.span))
            }
            Token::SingleQuotedString(text) => {
                Ok(literal(Value::SingleQuotedString(text.clone()), next.span))
            }
            Token::Minus => Ok(Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(parser.parse_subexpr(UNARY_MINUS)?),
            }),
            Token::LParen => {
                self.open.set(self.open.get() + 1);
                if self.open.get() > MAX_DEPTH {
                    return Err(self.fail(Error::TooDeep));
                }
                let inner = parser.parse_expr()?;
                self.close(parser, start)?;
                self.open.set(self.open.get() - 1);
                Ok(Expr::Nested(Box::new(inner)))
            }
            _ => Err(self.unexpected(&next, OPERAND)),
        }
    }

    /// Reads the parenthesis that closes the one at `start`.
    fn close(&self, parser: &mut Parser<'_>, start: Location) -> Result<(), ParserError> {
        let next = parser.next_token();
        match next.token {
            Token::RParen => Ok(()),
            Token::EOF => Err(self.fail(Error::Malformed {
                at: start.into(),
                what: "the parenthesis that closes this one is missing",
            })),
            _ => Err(self.fail(self.no_operator(&next))),
        }
    }

    fn word(
        &self,
        word: &Word,
        token: &TokenWithSpan,
        parser: &mut Parser<'_>,
    ) -> Result<Expr, ParserError> {
        if let Some(path) = self.path(token.span.start) {
            return Ok(Expr::CompoundIdentifier(idents(path, token.span)));
        }
        match word.keyword {
            Keyword::NOT => {
                let precedence = self.prec_value(Precedence::UnaryNot);
                let inner = Box::new(parser.parse_subexpr(precedence)?);
                Ok(Expr::UnaryOp { op: UnaryOperator::Not, expr: inner })
            }
            Keyword::TRUE => Ok(literal(Value::Boolean(true), token.span)),
            Keyword::FALSE => Ok(literal(Value::Boolean(false), token.span)),
            Keyword::NULL => Ok(literal(Value::Null, token.span)),
            Keyword::CASE | Keyword::SELECT | Keyword::EXISTS => {
                let (at, what) = (self.at(token), self.found(token));
                let allowed = "a condition compares values of one event";
                Err(self.fail(Error::Unsupported { at, what, allowed }))
            }
            _ if parser.peek_token_ref().token == Token::LParen && !is_reserved(&word.value) => {
                self.call(word, token, parser)
            }
            _ => Err(self.unexpected(token, OPERAND)),
        }
    }

    /// Reads the arguments of a function.
    fn call(
        &self,
        word: &Word,
        token: &TokenWithSpan,
        parser: &mut Parser<'_>,
    ) -> Result<Expr, ParserError> {
        let start = parser.next_token().span.start;
        let mut args = Vec::new();
        if parser.peek_token_ref().token != Token::RParen {
            args = self.list(token, parser)?;
        }
        self.close(parser, start)?;
        let argument = |arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg));
        let args = FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        };
        Ok(Expr::Function(Function {
            name: ObjectName::from(vec![Ident::with_span(token.span, word.value.as_str())]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(args),
            within_group: Vec::new(),
            filter: None,
            null_treatment: None,
            over: None,
        }))
    }

    /// Reads expressions with commas between them.
    fn list(
        &self,
        owner: &TokenWithSpan,
        parser: &mut Parser<'_>,
    ) -> Result<Vec<Expr>, ParserError> {
        let mut members = Vec::new();
        loop {
            let nodes = self.nodes.get();
            let member = parser.parse_expr()?;
            if is_literal(&member) {
                // The bound of lists counts it.
                self.nodes.set(nodes);
            }
            members.push(member);
            if members.len() > MAX_LIST + 1 {
                return Err(self.fail(Error::ListTooLong(self.at(owner))));
            }
            if !parser.consume_token(&Token::Comma) {
                return Ok(members);
            }
        }
    }

    /// Reads the list of an `IN`.
    fn membership(&self, left: &Expr, parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
        let is_predicate = match left {
            Expr::BinaryOp { op, .. } => !matches!(
                op,
                BinaryOperator::Plus
                    | BinaryOperator::Minus
                    | BinaryOperator::Multiply
                    | BinaryOperator::Divide
                    | BinaryOperator::Modulo
            ),
            Expr::Value(_) | Expr::CompoundIdentifier(_) | Expr::Function(_) | Expr::Nested(_) => {
                false
            }
            Expr::UnaryOp { op, .. } => *op != UnaryOperator::Minus,
            _ => true,
        };
        if is_predicate {
            // The left side is copied, which a chain of these would make quadratic.
            return Err(
                self.unexpected(parser.peek_token_ref(), "a parenthesis around the condition")
            );
        }
        let negated = parser.parse_keyword(Keyword::NOT);
        let token = parser.next_token();
        let next = parser.next_token();
        if next.token != Token::LParen {
            return Err(self.unexpected(&next, "a list in parentheses"));
        }
        let list = self.list(&token, parser)?;
        self.close(parser, next.span.start)?;
        let (expr, target) = (Box::new(left.clone()), InTarget::List(list));
        Ok(Expr::In { expr, target, negated, global: false })
    }

    /// Checks that the word after `IS` is one of those that the language has.
    fn check_is(&self, parser: &Parser<'_>) -> Result<(), ParserError> {
        let word = |place: usize| match &parser.peek_nth_token_ref(place).token {
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        let after = if word(1) == Keyword::NOT { 2 } else { 1 };
        match word(after) {
            Keyword::NULL | Keyword::TRUE | Keyword::FALSE => Ok(()),
            _ => Err(self.unexpected(
                parser.peek_nth_token_ref(after),
                "NULL, TRUE or FALSE, each also with NOT before it,",
            )),
        }
    }
}

fn is_literal(ast: &Expr) -> bool {
    match ast {
        Expr::Value(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => matches!(**expr, Expr::Value(_)),
        _ => false,
    }
}

fn literal(value: Value, span: Span) -> Expr {
    Expr::Value(value.with_span(span))
}

/// A path as identifiers: names are quoted, `*` and numbers of elements are not.
fn idents(path: &Path, span: Span) -> Vec<Ident> {
    let steps = path.steps().iter();
    let idents = steps.map(|step| match step {
        Step::Key(key) => Ident::with_quote_and_span('"', span, key.as_str()),
        Step::Every => Ident::with_span(span, "*"),
        Step::Index(index) => Ident::with_span(span, index.to_string()),
    });
    idents.collect()
}

/// The path that identifiers stand for, which may also come from another dialect.
pub(super) fn path_of(idents: &[Ident]) -> Path {
    let steps = idents.iter().map(|Ident { value, quote_style, .. }| {
        let index = if quote_style.is_none() { value.parse().ok() } else { None };
        match (quote_style, index) {
            (None, _) if value == "*" => Step::Every,
            (_, Some(index)) => Step::Index(index),
            (_, None) => Step::Key(value.clone()),
        }
    });
    Path::new(steps.collect())
}

impl Dialect for Grammar {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_' || c == MASK
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_' || c == MASK
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"'
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let operand = self.operand(parser).and_then(|operand| {
            let next = parser.peek_token_ref();
            // Which the parser would take for steps of the operand.
            let is_step = matches!(next.token, Token::Period | Token::LBracket);
            if is_step { Err(self.unexpected(next, "an operator")) } else { Ok(operand) }
        });
        Some(operand)
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        _: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if let Err(error) = self.count() {
            return Some(Err(error));
        }
        let is_in =
            |token: &Token| matches!(token, Token::Word(word) if word.keyword == Keyword::IN);
        match &parser.peek_token_ref().token {
            Token::Word(word) if word.keyword == Keyword::IS => {
                self.check_is(parser).err().map(Err)
            }
            token if is_in(token) => Some(self.membership(left, parser)),
            Token::Word(word)
                if word.keyword == Keyword::NOT && is_in(&parser.peek_nth_token_ref(1).token) =>
            {
                Some(self.membership(left, parser))
            }
            _ => None,
        }
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        let keyword = |token: &Token| match token {
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        let precedence = match &parser.peek_token_ref().token {
            Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => {
                Precedence::Eq
            }
            Token::Plus | Token::Minus => Precedence::PlusMinus,
            Token::Mul | Token::Div | Token::Mod => Precedence::MulDivModOp,
            token => match keyword(token) {
                Keyword::OR => Precedence::Or,
                Keyword::AND => Precedence::And,
                Keyword::IS => Precedence::Is,
                Keyword::IN | Keyword::BETWEEN => Precedence::Between,
                Keyword::LIKE => Precedence::Like,
                Keyword::NOT => match keyword(&parser.peek_nth_token_ref(1).token) {
                    Keyword::IN | Keyword::BETWEEN => Precedence::Between,
                    Keyword::LIKE => Precedence::Like,
                    _ => return Some(Ok(0)),
                },
                _ => return Some(Ok(0)),
            },
        };
        Some(Ok(self.prec_value(precedence)))
    }
}
