//! CloudEvents SQL: expressions over the attributes of an event, read once and evaluated for each event.
//!
//! Pure: text and attributes in, values and reasons out.
//! Source: CloudEvents SQL 1.0.0 (`cesql/spec.md`), its conformance cases, and sdk-go's `sql/v2`, which Knative uses.
//!
//! Where these leave something open, or do not agree:
//! - `AND`, `OR` and `XOR` are one level, read from the right, as in sdk-go and the grammar: `a AND b OR c` is
//!   `a AND (b OR c)`. The text says from the left. Mixing them without brackets is a [`Doubt`].
//! - The names of attributes are taken in lower case, as the conformance cases want.
//! - The conformance cases want a cast error of `NOT 10`; the text and sdk-go cast integers. So a literal fails, which
//!   can only be a mistake, and an integer that comes from the event is cast.
//! - Strings are characters, as in the text, not bytes, as in sdk-go: `_`, `LENGTH`, `LEFT` and the others count these.
//! - `%` of a pattern stands for anything, `\%` and `\_` only for these signs, and a doubled quote is one quote, as the text
//!   and the grammar mean it; sdk-go takes `'a%b' LIKE 'a%'` for false, `'a\b' LIKE 'a\%'` for true, and keeps both quotes.
//! - A count below 0 makes `SUBSTRING` fail, as in the text; sdk-go crashes. So it does on most of what is no expression.
//! - `4-1` is 3: a sign belongs to a number only where no operator can be. sdk-go refuses it without a blank.
//! - Characters without a meaning are refused; sdk-go skips them.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
};

use parse::Node;

mod evaluate;
mod function;
mod lex;
mod need;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

/// Longest expression in bytes: a list of some hundred types fits, and no trigger makes each event cost milliseconds.
pub const MAX_LENGTH: usize = 16 * 1024;
/// Brackets, signs, calls and operators within each other: people write a handful, and both reading and evaluating
/// use a stretch of the stack for each.
pub const MAX_DEPTH: u16 = 64;

/// The value of an event's attribute. URIs, times and binary values are strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any text.
    String(&'a str),
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i32),
}

/// What expressions are evaluated on.
pub trait Attributes {
    /// The attribute or extension of such a name, which is in lower case.
    fn attribute(&self, name: &str) -> Option<Value<'_>>;
}

/// What an expression, or a part of one, comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Computed<'a> {
    /// Any text; borrowed from the event or the expression where no function made it.
    String(Cow<'a, str>),
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i32),
}

/// The types of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Zero is the empty one.
    String,
    /// Zero is `false`.
    Boolean,
    /// Zero is 0.
    Integer,
}

/// A place in the text of an expression; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u16,
    /// The character in its line.
    pub column: u16,
}

/// Why a text is no expression: a sentence for the one who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct ParseError {
    /// Where the reader stopped.
    pub place: Place,
    /// What was expected there, and what was found.
    pub text: String,
}

/// Something that is allowed, and hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Where it is.
    pub place: Place,
    /// What it does, and what to write instead.
    pub text: String,
}

/// Why an evaluation failed: where, and with what value the language goes on all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {error}")]
pub struct Failure<'a> {
    /// The part that failed.
    pub place: Place,
    /// What went wrong first.
    pub error: Error<'a>,
    /// The value of the whole expression; of no use to filters.
    pub value: Computed<'a>,
}

/// The ways in which an evaluation fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<'a> {
    /// Division by zero, or a result beyond 32 bits.
    #[error("{0}")]
    Math(&'static str),
    /// A value that cannot be taken for another type.
    #[error("{from} is no {to}")]
    Cast {
        /// What there was.
        from: Computed<'a>,
        /// What was wanted.
        to: Type,
    },
    /// The event has no such attribute.
    #[error("the event has no attribute `{0}`: EXISTS {0} asks for it")]
    MissingAttribute(&'a str),
    /// There is no function of such a name for so many arguments.
    #[error("there is no function {name} for {count} arguments")]
    MissingFunction {
        /// In upper case.
        name: &'a str,
        /// How many arguments it was given.
        count: usize,
    },
    /// An argument that a function does not take.
    #[error("{name} does not take {argument} here: {why}")]
    Function {
        /// The function.
        name: &'static str,
        /// The argument.
        argument: i32,
        /// What it takes.
        why: &'static str,
    },
    /// The texts are so long that evaluation would take a noticeable time.
    #[error("the texts are too long to go on")]
    Work,
}

/// What an attribute must be like for an expression to be true: otherwise it is false, or fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// The name of the attribute.
    pub attribute: &'a str,
    /// What its value, as text, must be.
    pub wanted: Wanted<'a>,
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// One of these; not empty.
    OneOf(Vec<&'a str>),
    /// It begins so; not empty.
    Prefix(&'a str),
    /// It ends so; not empty.
    Suffix(&'a str),
}

/// An expression that was read. Two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    root: Node,
    doubts: Vec<Doubt>,
}

impl Expression {
    /// Reads an expression. It may call functions that do not exist: such a call fails when it is evaluated, and is a doubt.
    pub fn parse(text: &str) -> Result<Expression, ParseError> {
        let (root, doubts) = parse::parse(text)?;
        Ok(Expression { text: text.into(), root, doubts })
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is allowed in it and hardly meant, in the order of the text.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// What it comes to for an event. The first failure ends it.
    pub fn evaluate<'a>(&'a self, event: &'a dyn Attributes) -> Result<Computed<'a>, Failure<'a>> {
        evaluate::value(&self.root, event)
    }

    /// Whether it is true of an event; strings and numbers are cast, as `BOOL` does it.
    pub fn matches<'a>(&'a self, event: &'a dyn Attributes) -> Result<bool, Failure<'a>> {
        evaluate::truth(&self.root, event)
    }

    /// What must be for it to be true, as far as that is easily seen; all of it must be.
    pub fn needs(&self) -> Vec<Need<'_>> {
        need::needs(&self.root)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<'a> Value<'a> {
    /// The value as text: `true`, `-1`.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Value::String(text) => Cow::Borrowed(text),
            Value::Boolean(truth) => Cow::Borrowed(word(truth)),
            Value::Integer(number) => Cow::Owned(number.to_string()),
        }
    }
}

impl<'a> From<Value<'a>> for Computed<'a> {
    fn from(value: Value<'a>) -> Computed<'a> {
        match value {
            Value::String(text) => Computed::String(Cow::Borrowed(text)),
            Value::Boolean(truth) => Computed::Boolean(truth),
            Value::Integer(number) => Computed::Integer(number),
        }
    }
}

impl fmt::Display for Computed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Computed::String(text) => write!(f, "'{text}'"),
            Computed::Boolean(truth) => f.write_str(word(*truth)),
            Computed::Integer(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::String => "string",
            Type::Boolean => "boolean",
            Type::Integer => "integer",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            1 => write!(f, "column {}", self.column),
            line => write!(f, "line {line}, column {}", self.column),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

fn word(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}
