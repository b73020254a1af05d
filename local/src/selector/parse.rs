//! The grammar of label selectors, with upstream's words for what does not fit.
//!
//! Pure: text in, requirements out.
//! Source: k8s.io/apimachinery `pkg/labels/selector.go`.

use super::{Labels, Operator, Requirement};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    Open,
    Close,
    Comma,
    Not,
    Equal,
    DoubleEqual,
    NotEqual,
    Above,
    Below,
    In,
    NotIn,
    Word,
}

struct Tokens {
    tokens: Vec<(Kind, String)>,
    at: usize,
}

impl Tokens {
    fn read(text: &str) -> Tokens {
        const SPECIAL: &str = "=!(),<>";
        let mut tokens = Vec::new();
        let letters: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < letters.len() {
            let letter = letters[at];
            if letter.is_ascii_whitespace() {
                at += 1;
                continue;
            }
            let begin = at;
            if SPECIAL.contains(letter) {
                let pair: String = letters[at..letters.len().min(at + 2)].iter().collect();
                let (kind, length) = match (pair.as_str(), letter) {
                    ("==", _) => (Kind::DoubleEqual, 2),
                    ("!=", _) => (Kind::NotEqual, 2),
                    (_, '=') => (Kind::Equal, 1),
                    (_, '!') => (Kind::Not, 1),
                    (_, '(') => (Kind::Open, 1),
                    (_, ')') => (Kind::Close, 1),
                    (_, ',') => (Kind::Comma, 1),
                    (_, '>') => (Kind::Above, 1),
                    _ => (Kind::Below, 1),
                };
                at += length;
                tokens.push((kind, letters[begin..at].iter().collect()));
                continue;
            }
            while at < letters.len()
                && !SPECIAL.contains(letters[at])
                && !letters[at].is_ascii_whitespace()
            {
                at += 1;
            }
            let word: String = letters[begin..at].iter().collect();
            let kind = match word.as_str() {
                "in" => Kind::In,
                "notin" => Kind::NotIn,
                _ => Kind::Word,
            };
            tokens.push((kind, word));
        }
        Tokens { tokens, at: 0 }
    }

    /// The next token; in places for values `in` and `notin` are words.
    fn peek(&self, values: bool) -> (Kind, String) {
        match self.tokens.get(self.at) {
            Some((Kind::In | Kind::NotIn, word)) if values => (Kind::Word, word.clone()),
            Some(token) => token.clone(),
            None => (Kind::End, String::new()),
        }
    }

    fn take(&mut self, values: bool) -> (Kind, String) {
        let token = self.peek(values);
        self.at += 1;
        token
    }
}

/// Reads a label selector. The error is upstream's text.
pub fn parse_labels(text: &str) -> Result<Labels, String> {
    let mut tokens = Tokens::read(text);
    let mut requirements = Vec::new();
    loop {
        let (kind, word) = tokens.peek(true);
        match kind {
            Kind::Word | Kind::Not => {
                let requirement = requirement(&mut tokens)
                    .map_err(|error| format!("unable to parse requirement: {error}"))?;
                requirements.push(requirement);
                let (kind, word) = tokens.take(true);
                match kind {
                    Kind::End => break,
                    Kind::Comma => {
                        let (next, word) = tokens.peek(true);
                        if !matches!(next, Kind::Word | Kind::Not) {
                            return Err(format!("found '{word}', expected: identifier after ','"));
                        }
                    }
                    _ => return Err(format!("found '{word}', expected: ',' or 'end of string'")),
                }
            }
            Kind::End => break,
            _ => {
                return Err(format!("found '{word}', expected: !, identifier, or 'end of string'"));
            }
        }
    }
    requirements.sort_by(|a: &Requirement, b: &Requirement| a.key.cmp(&b.key));
    Ok(Labels(requirements))
}

fn requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let (mut kind, mut key) = tokens.take(true);
    let absent = kind == Kind::Not;
    if absent {
        (kind, key) = tokens.take(true);
    }
    if kind != Kind::Word {
        return Err(format!("found '{key}', expected: identifier"));
    }
    check_key(&key)?;
    let (next, _) = tokens.peek(true);
    if absent {
        return Ok(Requirement { key, operator: Operator::Absent });
    }
    if matches!(next, Kind::End | Kind::Comma) {
        return Ok(Requirement { key, operator: Operator::Exists });
    }
    let (operator, word) = tokens.take(false);
    let operator = match operator {
        Kind::In => Operator::In(values(tokens)?),
        Kind::NotIn => Operator::NotIn(values(tokens)?),
        Kind::Equal | Kind::DoubleEqual => Operator::In(vec![exact(tokens)?]),
        Kind::NotEqual => Operator::NotIn(vec![exact(tokens)?]),
        Kind::Above => Operator::Above(number(&exact(tokens)?)?),
        Kind::Below => Operator::Below(number(&exact(tokens)?)?),
        _ => return Err(format!("found '{word}', expected: in, notin, =, ==, !=, gt, lt")),
    };
    if let Operator::In(values) | Operator::NotIn(values) = &operator {
        for (index, value) in values.iter().enumerate() {
            check_value(&key, index, value)?;
        }
    }
    Ok(Requirement { key, operator })
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"))
}

fn exact(tokens: &mut Tokens) -> Result<String, String> {
    let (next, _) = tokens.peek(true);
    if matches!(next, Kind::End | Kind::Comma) {
        return Ok(String::new());
    }
    let (kind, word) = tokens.take(true);
    if kind == Kind::Word { Ok(word) } else { Err(format!("found '{word}', expected: identifier")) }
}

fn values(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    let (kind, word) = tokens.take(true);
    if kind != Kind::Open {
        return Err(format!("found '{word}' expected: '('"));
    }
    let mut values = Vec::new();
    let (kind, word) = tokens.peek(true);
    match kind {
        Kind::Word | Kind::Comma => {
            loop {
                let (kind, word) = tokens.take(true);
                match kind {
                    Kind::Word => {
                        values.push(word);
                        match tokens.peek(true) {
                            (Kind::Comma, _) => {}
                            (Kind::Close, _) => break,
                            (_, word) => {
                                return Err(format!("found '{word}', expected: ',' or ')'"));
                            }
                        }
                    }
                    Kind::Comma => {
                        if values.is_empty() {
                            values.push(String::new());
                        }
                        match tokens.peek(true).0 {
                            Kind::Close => {
                                values.push(String::new());
                                break;
                            }
                            Kind::Comma => {
                                tokens.at += 1;
                                values.push(String::new());
                            }
                            _ => {}
                        }
                    }
                    _ => return Err(format!("found '{word}', expected: ',', or identifier")),
                }
            }
            let (kind, word) = tokens.take(true);
            if kind != Kind::Close {
                return Err(format!("found '{word}', expected: ')'"));
            }
            values.sort();
            values.dedup();
            Ok(values)
        }
        Kind::Close => {
            tokens.at += 1;
            Ok(vec![String::new()])
        }
        _ => Err(format!("found '{word}', expected: ',', ')' or identifier")),
    }
}

const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_name(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
}

fn check_key(key: &str) -> Result<(), String> {
    let refuse = |why: String| Err(format!("<nil>: Invalid value: {key:?}: {why}"));
    let (prefix, name) = match key.split('/').collect::<Vec<_>>().as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            return refuse(format!(
                "a valid label key {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
        }
    };
    if prefix == Some("") {
        return refuse("prefix part must be non-empty".into());
    }
    if name.is_empty() {
        return refuse("name part must be non-empty".into());
    }
    if name.len() > 63 {
        return refuse("name part must be no more than 63 bytes".into());
    }
    if !is_name(name) {
        return refuse(format!("name part {NAME_RULE}"));
    }
    Ok(())
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), String> {
    let refuse =
        |why: String| Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {why}"));
    if value.len() > 63 {
        return refuse("must be no more than 63 bytes".into());
    }
    if !value.is_empty() && !is_name(value) {
        return refuse("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".into());
    }
    Ok(())
}
