//! Reads tokens into the tree of an expression, by precedence climbing.
//!
//! Pure: text in, tree out.
//! Source: the grammar of sdk-go's `sql/v2`, for which operator binds closer.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    Computed, Doubt, MAX_DEPTH, MAX_LENGTH, ParseError, Place, Type, evaluate,
    function::{self, Function},
    lex::{self, Kind, Token},
    pattern::Pattern,
};

/// A part of an expression. Brackets leave no trace.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    /// How many nodes there are on the longest way down, itself among them; at most [`MAX_DEPTH`].
    pub height: u16,
    pub part: Part,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum Part {
    Literal(Computed<'static>),
    Attribute(Box<str>),
    Exists(Box<str>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Math(Math, Box<[Node; 2]>),
    Equal(Box<[Node; 2]>),
    Unequal(Box<[Node; 2]>),
    Order(Order, Box<[Node; 2]>),
    /// `first op (second op (third …))`: one connective fewer than there are operands.
    Logic {
        operands: Vec<Node>,
        connectives: Vec<Connective>,
    },
    Like(Box<Node>, Box<Pattern>),
    In(Box<Node>, Vec<Node>),
    Call(Function, Vec<Node>),
    /// A call of what does not exist. The arguments are never looked at.
    NoFunction {
        name: Box<str>,
        count: usize,
    },
}

/// An operator from two integers to one.
#[derive(Clone, Copy, Debug)]
pub enum Math {
    Times,
    Divided,
    Remainder,
    Plus,
    Minus,
}

/// A comparison of two integers that asks for more than equality.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// An operator from two booleans to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connective {
    And,
    Or,
    Xor,
}

impl Order {
    /// Whether two numbers that compare so are in this order.
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Less => ordering.is_lt(),
            Order::AtMost => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::AtLeast => ordering.is_ge(),
        }
    }
}

/// The tree of an expression, and what is doubtful in it.
pub fn parse(text: &str) -> Result<(Node, Vec<Doubt>), ParseError> {
    if MAX_LENGTH < text.len() {
        let place = Place { line: 1, column: 1 };
        let text = format!("the expression has {} bytes, more than {MAX_LENGTH}", text.len());
        return Err(ParseError { place, text });
    }
    let mut parser = Parser { tokens: lex::tokens(text)?, next: 0, doubts: Vec::new() };
    let root = parser.expression(0)?;
    match parser.peek().kind {
        Kind::End => {}
        Kind::Close => return Err(parser.expected("an operator or the end: no bracket is open")),
        _ => return Err(parser.expected("an operator or the end")),
    }
    parser.doubts.sort_by_key(|it| (it.place.line, it.place.column));
    Ok((root, parser.doubts))
}

struct Parser<'t> {
    /// The last one is the end, which is never taken.
    tokens: Vec<Token<'t>>,
    next: usize,
    doubts: Vec<Doubt>,
}

/// An operator behind its first operand.
enum Infix {
    Math(Math),
    Equal,
    Unequal,
    Order(Order),
    Like,
    In,
    /// `NOT LIKE` or `NOT IN`.
    Not,
}

impl Infix {
    /// How close it binds; the connectives bind less, signs and NOT closer than all.
    fn strength(&self) -> u8 {
        match self {
            Infix::Equal | Infix::Unequal | Infix::Order(_) => 1,
            Infix::Math(Math::Plus | Math::Minus) => 2,
            Infix::Math(_) => 3,
            Infix::Like | Infix::In | Infix::Not => 4,
        }
    }
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &Token<'t> {
        &self.tokens[self.next]
    }

    /// Goes on to the next token.
    fn skip(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    fn takes(&mut self, kind: &Kind<'_>) -> bool {
        let is_there = self.peek().kind == *kind;
        if is_there {
            self.skip();
        }
        is_there
    }

    fn is_keyword(&self, offset: usize, word: &str) -> bool {
        let token = self.tokens.get(self.next + offset);
        token.is_some_and(|it| it.kind == Kind::Word && it.text.eq_ignore_ascii_case(word))
    }

    fn expected(&self, what: &str) -> ParseError {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => Cow::Borrowed("the end"),
            _ => Cow::Owned(format!("`{}`", token.text)),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    fn error(&self, text: String) -> ParseError {
        ParseError { place: self.peek().place, text }
    }

    fn doubt(&mut self, place: Place, text: String) {
        self.doubts.push(Doubt { place, text });
    }

    /// Operands that are joined by connectives.
    fn expression(&mut self, depth: u16) -> Result<Node, ParseError> {
        let first = self.binary(0, depth)?;
        let place = self.peek().place;
        let (mut operands, mut connectives) = (vec![first], Vec::new());
        while let Some(connective) = self.connective() {
            self.skip();
            connectives.push(connective);
            operands.push(self.binary(0, depth)?);
        }
        if connectives.is_empty() {
            return Ok(operands.remove(0));
        }
        if connectives.iter().any(|it| *it != connectives[0]) {
            let text = "AND, OR and XOR are read from the right, as in a AND (b OR c): write the brackets that are meant";
            self.doubt(place, text.to_owned());
        }
        for operand in &operands {
            self.doubt_cast(operand, Type::Boolean);
        }
        self.node(place, Part::Logic { operands, connectives })
    }

    fn connective(&self) -> Option<Connective> {
        [("AND", Connective::And), ("OR", Connective::Or), ("XOR", Connective::Xor)]
            .into_iter()
            .find_map(|(word, connective)| self.is_keyword(0, word).then_some(connective))
    }

    /// Operands that are joined by operators of at least such a strength.
    fn binary(&mut self, least: u8, depth: u16) -> Result<Node, ParseError> {
        let mut left = self.operand(depth)?;
        while let Some(infix) = self.infix().filter(|it| least <= it.strength()) {
            let place = self.peek().place;
            self.skip();
            left = match infix {
                Infix::Like => self.like(left, place)?,
                Infix::In => self.is_in(left, place, depth)?,
                Infix::Not => {
                    let is_like = self.is_keyword(0, "LIKE");
                    self.skip();
                    let positive = match is_like {
                        true => self.like(left, place)?,
                        false => self.is_in(left, place, depth)?,
                    };
                    self.node(place, Part::Not(Box::new(positive)))?
                }
                Infix::Math(math) => {
                    let right = self.binary(infix.strength() + 1, depth)?;
                    self.doubt_casts([&left, &right], Type::Integer);
                    self.node(place, Part::Math(math, Box::new([left, right])))?
                }
                Infix::Order(order) => {
                    let right = self.binary(infix.strength() + 1, depth)?;
                    self.doubt_casts([&left, &right], Type::Integer);
                    self.node(place, Part::Order(order, Box::new([left, right])))?
                }
                Infix::Equal => {
                    let right = self.binary(infix.strength() + 1, depth)?;
                    self.node(place, Part::Equal(Box::new([left, right])))?
                }
                Infix::Unequal => {
                    let right = self.binary(infix.strength() + 1, depth)?;
                    self.node(place, Part::Unequal(Box::new([left, right])))?
                }
            };
        }
        Ok(left)
    }

    fn infix(&self) -> Option<Infix> {
        Some(match self.peek().kind {
            Kind::Star => Infix::Math(Math::Times),
            Kind::Slash => Infix::Math(Math::Divided),
            Kind::Percent => Infix::Math(Math::Remainder),
            Kind::Plus => Infix::Math(Math::Plus),
            Kind::Minus => Infix::Math(Math::Minus),
            Kind::Equal => Infix::Equal,
            Kind::Unequal => Infix::Unequal,
            Kind::Less => Infix::Order(Order::Less),
            Kind::AtMost => Infix::Order(Order::AtMost),
            Kind::Greater => Infix::Order(Order::Greater),
            Kind::AtLeast => Infix::Order(Order::AtLeast),
            _ if self.is_keyword(0, "LIKE") => Infix::Like,
            _ if self.is_keyword(0, "IN") => Infix::In,
            _ if self.is_keyword(0, "NOT")
                && (self.is_keyword(1, "LIKE") || self.is_keyword(1, "IN")) =>
            {
                Infix::Not
            }
            _ => return None,
        })
    }

    fn like(&mut self, left: Node, place: Place) -> Result<Node, ParseError> {
        let Kind::String(text) = &self.peek().kind else {
            return Err(self.expected("a pattern in quotes after LIKE"));
        };
        let pattern = Pattern::new(text);
        self.skip();
        self.node(place, Part::Like(Box::new(left), Box::new(pattern)))
    }

    fn is_in(&mut self, left: Node, place: Place, depth: u16) -> Result<Node, ParseError> {
        if !self.takes(&Kind::Open) {
            return Err(self.expected("`(` and a list of values after IN"));
        }
        let set = self.list(depth)?;
        self.node(place, Part::In(Box::new(left), set))
    }

    /// One expression or several, up to a closing bracket.
    fn list(&mut self, depth: u16) -> Result<Vec<Node>, ParseError> {
        let mut found = vec![self.expression(depth + 1)?];
        while self.takes(&Kind::Comma) {
            found.push(self.expression(depth + 1)?);
        }
        match self.takes(&Kind::Close) {
            true => Ok(found),
            false => Err(self.expected("an operator, `,` or `)`")),
        }
    }

    /// What stands between operators.
    fn operand(&mut self, depth: u16) -> Result<Node, ParseError> {
        if MAX_DEPTH <= depth {
            return Err(self.error(format!("more than {MAX_DEPTH} parts within each other")));
        }
        let place = self.peek().place;
        if self.is_keyword(0, "NOT") {
            self.skip();
            let operand = self.operand(depth + 1)?;
            if let Part::Literal(Computed::Integer(_)) = operand.part {
                self.doubt(place, "NOT of a number fails: write NOT BOOL(…)".to_owned());
            } else {
                self.doubt_cast(&operand, Type::Boolean);
            }
            if self.infix().is_some() {
                let text =
                    "NOT is taken before the operator that follows: write NOT (…) around it all";
                self.doubt(place, text.to_owned());
            }
            return self.node(place, Part::Not(Box::new(operand)));
        }
        match &self.peek().kind {
            Kind::Minus | Kind::Plus => self.signed(depth),
            Kind::Open => {
                self.skip();
                let inner = self.expression(depth + 1)?;
                match self.takes(&Kind::Close) {
                    true => Ok(inner),
                    false => Err(self.expected("an operator or `)`")),
                }
            }
            Kind::String(text) => {
                let text = text.clone().into_owned();
                self.skip();
                self.node(place, Part::Literal(Computed::String(text.into())))
            }
            Kind::Digits => {
                let number = self.number(self.peek().text)?;
                self.skip();
                self.node(place, number)
            }
            Kind::Word => self.word(depth),
            _ => Err(self.expected("an attribute, a value, a function or `(`")),
        }
    }

    /// A sign and what it is of. Directly before a number it belongs to that, so that the least one can be written.
    fn signed(&mut self, depth: u16) -> Result<Node, ParseError> {
        let sign = self.peek();
        let (place, is_minus) = (sign.place, sign.kind == Kind::Minus);
        let number = &self.tokens[(self.next + 1).min(self.tokens.len() - 1)];
        let is_before = number.kind == Kind::Digits && number.at == sign.at + 1;
        let text = if is_minus { format!("-{}", number.text) } else { number.text.to_owned() };
        self.skip();
        if is_before {
            let number = self.number(&text)?;
            self.skip();
            return self.node(place, number);
        }
        if !is_minus {
            return Err(self.expected("a number after `+`"));
        }
        let operand = self.operand(depth + 1)?;
        self.doubt_cast(&operand, Type::Integer);
        self.node(place, Part::Negate(Box::new(operand)))
    }

    fn number(&self, text: &str) -> Result<Part, ParseError> {
        match text.parse() {
            Ok(number) => Ok(Part::Literal(Computed::Integer(number))),
            Err(_) => Err(self.error(format!("{text} is beyond the integers of 32 bits"))),
        }
    }

    /// A keyword, an attribute or the call of a function.
    fn word(&mut self, depth: u16) -> Result<Node, ParseError> {
        let token = self.peek();
        let (text, place) = (token.text, token.place);
        match text.to_ascii_uppercase().as_str() {
            "TRUE" => {
                self.skip();
                return self.node(place, Part::Literal(Computed::Boolean(true)));
            }
            "FALSE" => {
                self.skip();
                return self.node(place, Part::Literal(Computed::Boolean(false)));
            }
            "EXISTS" => {
                self.skip();
                let name = self.name("the name of an attribute after EXISTS")?;
                return self.node(place, Part::Exists(name));
            }
            "AND" | "OR" | "XOR" | "LIKE" | "IN" => {
                return Err(self.expected("an attribute, a value, a function or `(`"));
            }
            _ => {}
        }
        if self.tokens[self.next + 1].kind == Kind::Open {
            return self.call(depth);
        }
        let name = self.name("the name of an attribute")?;
        self.node(place, Part::Attribute(name))
    }

    fn name(&mut self, what: &str) -> Result<Box<str>, ParseError> {
        let token = self.peek();
        let keywords = ["TRUE", "FALSE", "EXISTS", "NOT", "AND", "OR", "XOR", "LIKE", "IN"];
        let is_keyword = keywords.iter().any(|it| token.text.eq_ignore_ascii_case(it));
        if !matches!(token.kind, Kind::Word | Kind::Digits) || is_keyword {
            return Err(self.expected(what));
        }
        if token.text.contains('_') {
            let text = format!("`{}` is no attribute: their names have no `_`", token.text);
            return Err(self.error(text));
        }
        let name = token.text.to_ascii_lowercase().into();
        self.skip();
        Ok(name)
    }

    fn call(&mut self, depth: u16) -> Result<Node, ParseError> {
        let token = self.peek();
        let (text, place) = (token.text, token.place);
        let is_name = text.bytes().all(|it| it.is_ascii_alphabetic() || it == b'_');
        if !is_name || text.starts_with('_') {
            let text = format!("`{text}` is no function: their names have letters and `_`");
            return Err(self.error(text));
        }
        self.skip();
        self.skip();
        let arguments = if self.takes(&Kind::Close) { Vec::new() } else { self.list(depth)? };
        let (name, count) = (text.to_ascii_uppercase(), arguments.len());
        let Some(function) = function::find(&name, count) else {
            let others = function::signatures(&name);
            let text = match others.is_empty() {
                true => format!("there is no function {name}: this fails for each event"),
                false => format!(
                    "{name} does not take {count} arguments, there is {}: this fails for each event",
                    others.join(" and ")
                ),
            };
            self.doubt(place, text);
            return self.node(place, Part::NoFunction { name: name.into(), count });
        };
        for (at, argument) in arguments.iter().enumerate() {
            if let Some(wanted) = function.parameter(at) {
                self.doubt_cast(argument, wanted);
            }
        }
        self.node(place, Part::Call(function, arguments))
    }

    fn doubt_casts(&mut self, operands: [&Node; 2], to: Type) {
        operands.into_iter().for_each(|it| self.doubt_cast(it, to));
    }

    /// Doubts a literal where another type is wanted that it is no text of.
    fn doubt_cast(&mut self, operand: &Node, to: Type) {
        let Part::Literal(literal) = &operand.part else { return };
        if evaluate::cast(literal.clone(), to).is_err() {
            self.doubt(operand.place, format!("{literal} is no {to}: this fails for each event"));
        }
    }

    fn node(&self, place: Place, part: Part) -> Result<Node, ParseError> {
        let of = |nodes: &[Node]| nodes.iter().map(|it| it.height).max().unwrap_or_default();
        let height = 1 + match &part {
            Part::Literal(_) | Part::Attribute(_) | Part::Exists(_) | Part::NoFunction { .. } => 0,
            Part::Not(operand) | Part::Negate(operand) | Part::Like(operand, _) => operand.height,
            Part::Math(_, pair)
            | Part::Equal(pair)
            | Part::Unequal(pair)
            | Part::Order(_, pair) => of(&pair[..]),
            Part::Logic { operands, .. } => of(operands),
            Part::In(left, set) => left.height.max(of(set)),
            Part::Call(_, arguments) => of(arguments),
        };
        match height <= MAX_DEPTH {
            true => Ok(Node { place, height, part }),
            false => {
                let text = format!("more than {MAX_DEPTH} operators within each other");
                Err(ParseError { place, text })
            }
        }
    }
}
