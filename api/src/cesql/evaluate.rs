//! Evaluates the tree of an expression for an event; the first failure ends it.
//!
//! Pure: a tree and attributes in, a value or a failure out.
//! Source: CloudEvents SQL 1.0.0, sections 3 and 4.1 (fail fast).

use std::{borrow::Cow, ops::Range};

use super::{
    Attributes, Computed, Error, Failure, Type, Value,
    function::Function,
    parse::{Connective, Math, Node, Part},
    word,
};

/// Bytes that an evaluation may look at: about a millisecond. An expression that people write looks at some hundred;
/// what looks at more has long patterns with `_` or many functions over very long values.
const WORK: usize = 1024 * 1024;

/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// What an expression comes to.
pub fn value<'a>(root: &'a Node, event: &'a dyn Attributes) -> Result<Computed<'a>, Failure<'a>> {
    Run { event, work: WORK }.value(root)
}

/// Whether it is true.
pub fn truth<'a>(root: &'a Node, event: &'a dyn Attributes) -> Result<bool, Failure<'a>> {
    Run { event, work: WORK }.boolean(root, Type::Boolean)
}

/// The value as one of another type.
pub fn cast(value: Computed<'_>, to: Type) -> Result<Computed<'_>, Error<'_>> {
    Ok(match to {
        Type::String => Computed::String(text(value)),
        Type::Boolean => Computed::Boolean(boolean(value)?),
        Type::Integer => Computed::Integer(integer(value)?),
    })
}

/// One evaluation.
struct Run<'a> {
    event: &'a dyn Attributes,
    /// Steps that are left.
    work: usize,
}

impl<'a> Run<'a> {
    fn value(&mut self, node: &'a Node) -> Result<Computed<'a>, Failure<'a>> {
        let is_true = match &node.part {
            Part::Literal(literal) => return Ok(borrowed(literal)),
            Part::Attribute(name) => {
                let Some(found) = self.event.attribute(name) else {
                    return Err(node.fails(Error::MissingAttribute(name), Type::Boolean));
                };
                if let Value::String(text) = found {
                    self.spend(text.len(), node)?;
                }
                return Ok(found.into());
            }
            Part::Math(math, pair) => {
                let left = self.operand(&pair[0], Type::Integer)?;
                let right = self.operand(&pair[1], Type::Integer)?;
                let left = integer(left).map_err(|it| pair[0].fails(it, Type::Integer))?;
                let right = integer(right).map_err(|it| pair[1].fails(it, Type::Integer))?;
                let number = math.of(left, right);
                let number = number.map_err(|it| node.fails(it, Type::Integer))?;
                return Ok(Computed::Integer(number));
            }
            Part::Negate(operand) => {
                let number = self.integer(operand, Type::Integer)?;
                return Ok(Computed::Integer(number.wrapping_neg()));
            }
            Part::Call(function, arguments) => return self.call(node, *function, arguments),
            Part::NoFunction { name, count } => {
                let error = Error::MissingFunction { name, count: *count };
                return Err(node.fails(error, Type::Boolean));
            }
            Part::Exists(name) => {
                REQUIRED.contains(&&**name) || self.event.attribute(name).is_some()
            }
            Part::Not(operand) => {
                if let Part::Literal(number @ Computed::Integer(_)) = &operand.part {
                    let error = Error::Cast { from: number.clone(), to: Type::Boolean };
                    // The cast comes to false, and NOT goes on with it.
                    let value = Computed::Boolean(true);
                    return Err(Failure { place: operand.place, error, value });
                }
                !self.boolean(operand, Type::Boolean)?
            }
            Part::Equal(pair) => self.is_equal(pair)?,
            Part::Unequal(pair) => !self.is_equal(pair)?,
            Part::Order(order, pair) => {
                let left = self.operand(&pair[0], Type::Boolean)?;
                let right = self.operand(&pair[1], Type::Boolean)?;
                let left = integer(left).map_err(|it| pair[0].fails(it, Type::Boolean))?;
                let right = integer(right).map_err(|it| pair[1].fails(it, Type::Boolean))?;
                order.holds(left.cmp(&right))
            }
            Part::Logic { operands, connectives } => self.logic(operands, connectives)?,
            Part::Like(operand, pattern) => {
                let text = self.text(operand, Type::Boolean)?;
                let fits = pattern.fits(&text, &mut self.work);
                fits.ok_or_else(|| node.fails(Error::Work, Type::Boolean))?
            }
            Part::In(left, set) => self.is_in(left, set)?,
        };
        Ok(Computed::Boolean(is_true))
    }

    /// The value of a part of what has a type: that one's zero is the value when this fails.
    fn operand(&mut self, node: &'a Node, of: Type) -> Result<Computed<'a>, Failure<'a>> {
        self.value(node).map_err(|failure| Failure { value: of.zero(), ..failure })
    }

    fn boolean(&mut self, node: &'a Node, of: Type) -> Result<bool, Failure<'a>> {
        boolean(self.operand(node, of)?).map_err(|it| node.fails(it, of))
    }

    fn integer(&mut self, node: &'a Node, of: Type) -> Result<i32, Failure<'a>> {
        integer(self.operand(node, of)?).map_err(|it| node.fails(it, of))
    }

    fn text(&mut self, node: &'a Node, of: Type) -> Result<Cow<'a, str>, Failure<'a>> {
        let text = text(self.operand(node, of)?);
        self.spend(text.len(), node)?;
        Ok(text)
    }

    fn spend(&mut self, steps: usize, node: &Node) -> Result<(), Failure<'a>> {
        match self.work.checked_sub(steps) {
            Some(left) => self.work = left,
            None => return Err(node.fails(Error::Work, Type::Boolean)),
        }
        Ok(())
    }

    /// The left one is cast to the type of the right one.
    fn is_equal(&mut self, pair: &'a [Node; 2]) -> Result<bool, Failure<'a>> {
        let left = self.operand(&pair[0], Type::Boolean)?;
        let right = self.operand(&pair[1], Type::Boolean)?;
        is_same(left, &right).map_err(|it| pair[0].fails(it, Type::Boolean))
    }

    fn is_in(&mut self, left: &'a Node, set: &'a [Node]) -> Result<bool, Failure<'a>> {
        let left = self.operand(left, Type::Boolean)?;
        for node in set {
            let member = self.operand(node, Type::Boolean)?;
            if is_same(member, &left).map_err(|it| node.fails(it, Type::Boolean))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Each connective joins its left operand with all that follows, so that one pass decides.
    fn logic(
        &mut self,
        operands: &'a [Node],
        connectives: &[Connective],
    ) -> Result<bool, Failure<'a>> {
        // How often what follows is turned over by XOR, as odd or even.
        let mut is_turned = false;
        for (at, operand) in operands.iter().enumerate() {
            let is_true = self.boolean(operand, Type::Boolean)?;
            match (connectives.get(at), is_true) {
                (Some(Connective::And), true) | (Some(Connective::Or), false) => {}
                (Some(Connective::Xor), _) => is_turned ^= is_true,
                (Some(Connective::And | Connective::Or) | None, _) => {
                    return Ok(is_turned ^ is_true);
                }
            }
        }
        // There is one operand more than connectives, so that the last one has returned.
        Ok(is_turned)
    }

    fn call(
        &mut self,
        node: &'a Node,
        function: Function,
        arguments: &'a [Node],
    ) -> Result<Computed<'a>, Failure<'a>> {
        let of = function.result();
        let refused = |name, argument, why, value| {
            let error = Error::Function { name, argument, why };
            Err(Failure { place: node.place, error, value })
        };
        Ok(match function {
            Function::Abs => match self.integer(&arguments[0], of)?.checked_abs() {
                Some(number) => Computed::Integer(number),
                None => {
                    let error = Error::Math("the absolute value of -2147483648 is beyond 32 bits");
                    let value = Computed::Integer(i32::MAX);
                    return Err(Failure { place: node.place, error, value });
                }
            },
            Function::Int => Computed::Integer(self.integer(&arguments[0], of)?),
            Function::Bool => Computed::Boolean(self.boolean(&arguments[0], of)?),
            Function::IsInt => Computed::Boolean(integer(self.operand(&arguments[0], of)?).is_ok()),
            Function::IsBool => {
                Computed::Boolean(boolean(self.operand(&arguments[0], of)?).is_ok())
            }
            Function::Length => {
                let count = self.text(&arguments[0], of)?.chars().count();
                // The work bounds the length.
                Computed::Integer(count as i32)
            }
            Function::String => Computed::String(self.text(&arguments[0], of)?),
            Function::Concat => Computed::String(self.joined("", arguments)?),
            Function::ConcatWith => {
                let between = self.text(&arguments[0], of)?;
                Computed::String(self.joined(&between, &arguments[1..])?)
            }
            Function::Lower => {
                Computed::String(self.text(&arguments[0], of)?.to_lowercase().into())
            }
            Function::Upper => {
                Computed::String(self.text(&arguments[0], of)?.to_uppercase().into())
            }
            Function::Trim => {
                let text = self.text(&arguments[0], of)?;
                let start = text.len() - text.trim_start().len();
                let end = start + text[start..].trim_end().len();
                Computed::String(cut(text, start..end))
            }
            Function::Left | Function::Right => {
                let is_left = function == Function::Left;
                let text = self.text(&arguments[0], of)?;
                let count = self.integer(&arguments[1], of)?;
                let Ok(letters) = usize::try_from(count) else {
                    let name = if is_left { "LEFT" } else { "RIGHT" };
                    let value = Computed::String(text);
                    return refused(name, count, "no count is below 0", value);
                };
                let all = text.len();
                let range = match is_left {
                    true => 0..offset(&text, letters),
                    false => offset(&text, text.chars().count().saturating_sub(letters))..all,
                };
                Computed::String(cut(text, range))
            }
            Function::Rest | Function::Part => {
                let text = self.text(&arguments[0], of)?;
                let from = self.integer(&arguments[1], of)?;
                let count = arguments.get(2).map(|it| self.integer(it, of)).transpose()?;
                if from == 0 {
                    return Ok(of.zero());
                }
                let all = text.chars().count();
                let distance = from.unsigned_abs() as usize;
                if all < distance {
                    return refused("SUBSTRING", from, "it is outside of the string", of.zero());
                }
                let start = if from < 0 { all - distance } else { distance - 1 };
                let count = match count {
                    None => all,
                    Some(count) => match usize::try_from(count) {
                        Ok(count) => count,
                        Err(_) => {
                            return refused("SUBSTRING", count, "no count is below 0", of.zero());
                        }
                    },
                };
                let range =
                    offset(&text, start)..offset(&text, start.saturating_add(count).min(all));
                Computed::String(cut(text, range))
            }
        })
    }

    fn joined(
        &mut self,
        between: &str,
        arguments: &'a [Node],
    ) -> Result<Cow<'a, str>, Failure<'a>> {
        let mut whole = Cow::Borrowed("");
        for (at, argument) in arguments.iter().enumerate() {
            let text = self.text(argument, Type::String)?;
            if at == 0 {
                whole = text;
                continue;
            }
            self.spend(between.len(), argument)?;
            let whole = whole.to_mut();
            whole.push_str(between);
            whole.push_str(&text);
        }
        Ok(whole)
    }
}

impl Node {
    /// The failure of this part, with the zero of a type for a value.
    fn fails<'a>(&self, error: Error<'a>, of: Type) -> Failure<'a> {
        Failure { place: self.place, error, value: of.zero() }
    }
}

impl Math {
    /// Results beyond 32 bits begin again at the other end, as in sdk-go.
    fn of(self, left: i32, right: i32) -> Result<i32, Error<'static>> {
        Ok(match self {
            Math::Times => left.wrapping_mul(right),
            Math::Plus => left.wrapping_add(right),
            Math::Minus => left.wrapping_sub(right),
            Math::Divided | Math::Remainder if right == 0 => {
                return Err(Error::Math("division by zero"));
            }
            Math::Divided => left.wrapping_div(right),
            Math::Remainder => left.wrapping_rem(right),
        })
    }
}

impl Type {
    fn zero(self) -> Computed<'static> {
        match self {
            Type::String => Computed::String(Cow::Borrowed("")),
            Type::Boolean => Computed::Boolean(false),
            Type::Integer => Computed::Integer(0),
        }
    }
}

/// Whether a value, cast to the type of another one, is the same.
fn is_same<'a>(value: Computed<'a>, other: &Computed<'_>) -> Result<bool, Error<'a>> {
    Ok(match other {
        Computed::String(other) => text(value) == *other,
        Computed::Boolean(other) => boolean(value)? == *other,
        Computed::Integer(other) => integer(value)? == *other,
    })
}

fn text(value: Computed<'_>) -> Cow<'_, str> {
    match value {
        Computed::String(text) => text,
        Computed::Boolean(truth) => Cow::Borrowed(word(truth)),
        Computed::Integer(number) => Cow::Owned(number.to_string()),
    }
}

fn boolean(value: Computed<'_>) -> Result<bool, Error<'_>> {
    match &value {
        Computed::Boolean(truth) => Ok(*truth),
        Computed::Integer(number) => Ok(*number != 0),
        Computed::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Computed::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Computed::String(_) => Err(Error::Cast { from: value, to: Type::Boolean }),
    }
}

fn integer(value: Computed<'_>) -> Result<i32, Error<'_>> {
    match &value {
        Computed::Integer(number) => Ok(*number),
        Computed::Boolean(truth) => Ok(i32::from(*truth)),
        Computed::String(text) => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => Err(Error::Cast { from: value, to: Type::Integer }),
        },
    }
}

fn borrowed<'a>(value: &'a Computed<'static>) -> Computed<'a> {
    match value {
        Computed::String(text) => Computed::String(Cow::Borrowed(text)),
        Computed::Boolean(truth) => Computed::Boolean(*truth),
        Computed::Integer(number) => Computed::Integer(*number),
    }
}

/// A stretch of a text, which is not copied if it was not.
fn cut(text: Cow<'_, str>, range: Range<usize>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    }
}

/// Where a text goes on after so many characters; its end, if it has fewer.
fn offset(text: &str, letters: usize) -> usize {
    text.char_indices().nth(letters).map_or(text.len(), |(at, _)| at)
}
