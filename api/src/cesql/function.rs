//! The functions of the language: their names and what they take.
//!
//! Pure: names in, signatures out.
//! Source: CloudEvents SQL 1.0.0, section 3.5.

use super::Type;

/// A function for a certain number of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Abs,
    Bool,
    Concat,
    ConcatWith,
    Int,
    IsBool,
    IsInt,
    Left,
    Length,
    Lower,
    Right,
    String,
    /// Up to the end.
    Rest,
    /// Up to a length.
    Part,
    Trim,
    Upper,
}

/// What a function takes.
struct Signature {
    name: &'static str,
    /// As people are told it.
    shown: &'static str,
    /// The types of the first arguments; nothing where any will do.
    first: &'static [Option<Type>],
    /// Whether any number of strings may follow.
    goes_on: bool,
    function: Function,
}

const STRING: Option<Type> = Some(Type::String);
const INTEGER: Option<Type> = Some(Type::Integer);

const ALL: [Signature; 16] = [
    one("ABS", "ABS(integer)", &[INTEGER], Function::Abs),
    one("BOOL", "BOOL(any)", &[None], Function::Bool),
    many("CONCAT", "CONCAT(strings…)", &[], Function::Concat),
    many("CONCAT_WS", "CONCAT_WS(separator, strings…)", &[STRING], Function::ConcatWith),
    one("INT", "INT(any)", &[None], Function::Int),
    one("IS_BOOL", "IS_BOOL(any)", &[None], Function::IsBool),
    one("IS_INT", "IS_INT(any)", &[None], Function::IsInt),
    one("LEFT", "LEFT(string, count)", &[STRING, INTEGER], Function::Left),
    one("LENGTH", "LENGTH(string)", &[STRING], Function::Length),
    one("LOWER", "LOWER(string)", &[STRING], Function::Lower),
    one("RIGHT", "RIGHT(string, count)", &[STRING, INTEGER], Function::Right),
    one("STRING", "STRING(any)", &[None], Function::String),
    one("SUBSTRING", "SUBSTRING(string, from)", &[STRING, INTEGER], Function::Rest),
    one("SUBSTRING", "SUBSTRING(string, from, count)", &[STRING, INTEGER, INTEGER], Function::Part),
    one("TRIM", "TRIM(string)", &[STRING], Function::Trim),
    one("UPPER", "UPPER(string)", &[STRING], Function::Upper),
];

/// The function of a name, in upper case, that takes so many arguments.
pub fn find(name: &str, count: usize) -> Option<Function> {
    let takes = |it: &&Signature| match it.goes_on {
        true => it.first.len() <= count,
        false => it.first.len() == count,
    };
    ALL.iter().filter(|it| it.name == name).find(takes).map(|it| it.function)
}

/// What the functions of a name, in upper case, look like.
pub fn signatures(name: &str) -> Vec<&'static str> {
    ALL.iter().filter(|it| it.name == name).map(|it| it.shown).collect()
}

impl Function {
    /// The type of an argument; nothing where any will do.
    pub fn parameter(self, at: usize) -> Option<Type> {
        let signature = ALL.iter().find(|it| it.function == self)?;
        signature.first.get(at).copied().unwrap_or(STRING)
    }

    /// The type of what it comes to.
    pub fn result(self) -> Type {
        match self {
            Function::Abs | Function::Int | Function::Length => Type::Integer,
            Function::Bool | Function::IsBool | Function::IsInt => Type::Boolean,
            _ => Type::String,
        }
    }
}

const fn one(
    name: &'static str,
    shown: &'static str,
    first: &'static [Option<Type>],
    function: Function,
) -> Signature {
    Signature { name, shown, first, goes_on: false, function }
}

const fn many(
    name: &'static str,
    shown: &'static str,
    first: &'static [Option<Type>],
    function: Function,
) -> Signature {
    Signature { name, shown, first, goes_on: true, function }
}
