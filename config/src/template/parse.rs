//! Parses the text of templates into nodes.
//!
//! Pure: text in, nodes out. Source: Go's `text/template/parse`.

use std::borrow::Cow;

use api::go::quote;

use super::{Node, Pipeline, Term, TermKind, Value};
use crate::Error;

/// The nodes of a whole template; `name` is what errors call it.
pub fn nodes(name: &str, source: &str) -> Result<Vec<Node>, Error> {
    let mut rest = split(name, source)?.into_iter().peekable();
    let Block { nodes, end } = block(name, source, &mut rest)?;
    match end {
        None => Ok(nodes),
        Some((word, at)) => Err(at_line(name, source, at, &format!("unexpected {{{{{word}}}}}"))),
    }
}

/// A piece of the source: text, or the inside of an action with its offset.
enum Piece<'s> {
    Text(&'s str),
    Action(&'s str, usize),
}

fn at_line(name: &str, source: &str, at: usize, why: &str) -> Error {
    let line = 1 + source[..at.min(source.len())].matches('\n').count();
    Error::new(format!("template: {name}:{line}: {why}"))
}

/// Cuts the source into text and actions; comments go, and so does the space that `{{-` trims.
fn split<'s>(name: &str, source: &'s str) -> Result<Vec<Piece<'s>>, Error> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_start = false;
    loop {
        let open = source[at..].find("{{").map(|open| at + open);
        let mut text = &source[at..open.unwrap_or(source.len())];
        if trim_start {
            text = text.trim_start();
        }
        let Some(open) = open else {
            pieces.push(Piece::Text(text));
            return Ok(pieces);
        };
        let mut inside = open + 2;
        let trims_before = source[inside..].starts_with('-')
            && source[inside + 1..].starts_with(char::is_whitespace);
        if trims_before {
            text = text.trim_end();
            inside += 1;
        }
        pieces.push(Piece::Text(text));
        let close = close(&source[inside..])
            .map(|close| inside + close)
            .ok_or_else(|| at_line(name, source, source.len(), "unclosed action"))?;
        let mut action = &source[inside..close];
        trim_start = false;
        if let Some(trimmed) = action.strip_suffix('-')
            && trimmed.ends_with(char::is_whitespace)
        {
            action = trimmed;
            trim_start = true;
        }
        if !action.trim().starts_with("/*") {
            pieces.push(Piece::Action(action, inside));
        }
        at = close + 2;
    }
}

/// Offset of the `}}` that ends an action, which strings may hold too.
fn close(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quoted, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(end), byte) if byte == end => quoted = None,
            (None, byte @ (b'"' | b'`')) => quoted = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

type Pieces<'s> = std::iter::Peekable<std::vec::IntoIter<Piece<'s>>>;

/// Nodes up to a word that ends them.
struct Block {
    nodes: Vec<Node>,
    /// `end` or `else …`, with its offset; none at the source's end.
    end: Option<(String, usize)>,
}

/// Reads nodes up to `end`, `else` or the source's end.
fn block(name: &str, source: &str, rest: &mut Pieces<'_>) -> Result<Block, Error> {
    let mut nodes = Vec::new();
    while let Some(piece) = rest.next() {
        let (action, at) = match piece {
            Piece::Text("") => continue,
            Piece::Text(text) => {
                nodes.push(Node::Text(text.to_string()));
                continue;
            }
            Piece::Action(action, at) => (action, at),
        };
        let trimmed = action.trim_start();
        let at = at + action.len() - trimmed.len();
        let trimmed = trimmed.trim_end();
        let word_len = trimmed.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, after) = trimmed.split_at(word_len);
        match word {
            "end" | "else" => {
                return Ok(Block { nodes, end: Some((trimmed.to_string(), at)) });
            }
            "if" | "with" => {
                nodes.push(branch(name, source, word, after, at + word_len, rest)?);
            }
            "range" | "template" | "define" | "block" | "break" | "continue" => {
                let why = format!("{{{{{word}}}}} is not supported here");
                return Err(at_line(name, source, at, &why));
            }
            _ => {
                let pipeline = pipeline(name, source, trimmed, at, "command")?;
                nodes.push(Node::Print(pipeline));
            }
        }
    }
    Ok(Block { nodes, end: None })
}

/// Reads the rest of `{{if …}}` or `{{with …}}`, up to its `{{end}}`.
fn branch(
    name: &str,
    source: &str,
    word: &str,
    test: &str,
    at: usize,
    rest: &mut Pieces<'_>,
) -> Result<Node, Error> {
    let test = pipeline(name, source, test, at, word)?;
    let Block { nodes: then, end } = block(name, source, rest)?;
    let mut otherwise = Vec::new();
    let (mut stop, stop_at) =
        end.ok_or_else(|| at_line(name, source, source.len(), "unexpected EOF"))?;
    if let Some(after) = stop.strip_prefix("else") {
        let after = after.trim().to_string();
        if let Some(condition) = after.strip_prefix("if ") {
            otherwise.push(branch(name, source, "if", condition, stop_at, rest)?);
            stop = "end".to_string();
        } else {
            let Block { nodes, end } = block(name, source, rest)?;
            otherwise = nodes;
            stop = end.ok_or_else(|| at_line(name, source, source.len(), "unexpected EOF"))?.0;
        }
    }
    if stop != "end" {
        return Err(at_line(name, source, stop_at, "expected end; found {{else}}"));
    }
    Ok(match word {
        "with" => Node::With { subject: test, then, otherwise },
        _ => Node::If { test, then, otherwise },
    })
}

const FUNCTIONS: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "urlquery",
];

fn pipeline(
    name: &str,
    source: &str,
    text: &str,
    at: usize,
    context: &str,
) -> Result<Pipeline, Error> {
    let mut commands = vec![Vec::new()];
    let mut position = 0;
    let fail = |position: usize, why: String| Err(at_line(name, source, at + position, &why));
    while let Some(letter) = text[position..].chars().next() {
        if letter.is_whitespace() {
            position += letter.len_utf8();
            continue;
        }
        let start = position;
        let word_len = |from: usize| {
            text[from..]
                .char_indices()
                .find(|(_, c)| !(c.is_alphanumeric() || *c == '_'))
                .map_or(text.len() - from, |(len, _)| len)
        };
        let kind = match letter {
            '|' => {
                position += 1;
                if commands.last().is_some_and(Vec::is_empty) {
                    return fail(start, format!("missing value for {context}"));
                }
                commands.push(Vec::new());
                continue;
            }
            '"' | '`' => {
                let end = close_quote(&text[start..]).map(|len| start + len);
                let Some(end) = end else {
                    return fail(start, "unterminated quoted string".to_string());
                };
                position = end;
                let body = &text[start + 1..end - 1];
                let body = if letter == '"' { unescape(body) } else { body.to_string() };
                TermKind::Literal(Value::Text(Cow::Owned(body)))
            }
            '(' => {
                let Some(len) = close_group(&text[start..]) else {
                    return fail(start, "unclosed left paren".to_string());
                };
                position = start + len;
                let inner = &text[start + 1..position - 1];
                TermKind::Group(pipeline(
                    name,
                    source,
                    inner,
                    at + start + 1,
                    "parenthesized pipeline",
                )?)
            }
            '.' | '$' => {
                let mut path = Vec::new();
                if letter == '$' {
                    position += 1;
                    if word_len(position) > 0 {
                        let variable = &text[start..position + word_len(position)];
                        return fail(start, format!("undefined variable {}", quote(variable)));
                    }
                }
                while text[position..].starts_with('.') {
                    let len = word_len(position + 1);
                    if len == 0 {
                        break;
                    }
                    path.push(text[position + 1..position + 1 + len].to_string());
                    position += 1 + len;
                }
                match (letter, path.is_empty()) {
                    ('$', true) => TermKind::Root,
                    ('$', false) => TermKind::RootField(path),
                    (_, true) => {
                        position += 1;
                        TermKind::Dot
                    }
                    (_, false) => TermKind::Field(path),
                }
            }
            letter if letter.is_ascii_digit() || letter == '-' || letter == '+' => {
                let len = text[start..]
                    .find(|c: char| c.is_whitespace() || c == '|' || c == ')')
                    .unwrap_or(text.len() - start);
                position = start + len;
                let word = &text[start..position];
                match (word.parse::<i64>(), word.parse::<f64>()) {
                    (Ok(value), _) => TermKind::Literal(Value::Int(value)),
                    (_, Ok(value)) => TermKind::Literal(Value::Float(value)),
                    _ => return fail(start, format!("bad number syntax: {}", quote(word))),
                }
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                position = start + word_len(start);
                match &text[start..position] {
                    "true" => TermKind::Literal(Value::Bool(true)),
                    "false" => TermKind::Literal(Value::Bool(false)),
                    "nil" => TermKind::Literal(Value::Missing),
                    word if FUNCTIONS.contains(&word) => TermKind::Function(word.to_string()),
                    word => return fail(start, format!("function {} not defined", quote(word))),
                }
            }
            letter => {
                let code = format!("U+{:04X} '{letter}'", letter as u32);
                return fail(start, format!("unrecognized character in action: {code}"));
            }
        };
        commands.last_mut().expect("there is always a command").push(Term { at: at + start, kind });
    }
    if commands.last().is_some_and(Vec::is_empty) {
        return fail(text.len(), format!("missing value for {context}"));
    }
    Ok(Pipeline(commands))
}

/// Length of the quoted string that `text` begins with, quotes included.
fn close_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes[0] == b'"' => at += 1,
            byte if byte == bytes[0] => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Length of the parenthesis that `text` begins with, both ends included.
fn close_group(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        match letter {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            '"' | '`' => {
                at += close_quote(&text[at..])?;
                continue;
            }
            _ => {}
        }
        at += letter.len_utf8();
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
