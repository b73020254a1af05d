//! Parses the text of templates into nodes.
//!
//! Pure: text in, nodes out. Source: Go's `text/template/parse`.

use std::borrow::Cow;

use super::{Base, Node, Pipeline, Term, Value};
use crate::go::quote;

/// The nodes of a whole template; `name` is what errors call it.
pub fn nodes(name: &str, source: &str) -> Result<Vec<Node>, String> {
    let rest = split(name, source)?.into_iter();
    let mut parser = Parser { name, source, rest, variables: vec!["$".to_string()] };
    let Block { nodes, end } = parser.block()?;
    match end {
        None => Ok(nodes),
        Some((word, at)) => Err(parser.error(at, &format!("unexpected {{{{{word}}}}}"))),
    }
}

struct Parser<'s> {
    name: &'s str,
    source: &'s str,
    rest: std::vec::IntoIter<Piece<'s>>,
    /// Those that are declared where the parser is, with their `$`.
    variables: Vec<String>,
}

/// A piece of the source: text, or the inside of an action with its offset.
enum Piece<'s> {
    Text(&'s str),
    Action(&'s str, usize),
}

fn at_line(name: &str, source: &str, at: usize, why: &str) -> String {
    let line = 1 + source[..at.min(source.len())].matches('\n').count();
    format!("template: {name}:{line}: {why}")
}

/// Cuts the source into text and actions; comments go, and so does the space that `{{-` trims.
fn split<'s>(name: &str, source: &'s str) -> Result<Vec<Piece<'s>>, String> {
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

/// Nodes up to a word that ends them.
struct Block {
    nodes: Vec<Node>,
    /// `end` or `else …`, with its offset; none at the source's end.
    end: Option<(String, usize)>,
}

const FUNCTIONS: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery",
];

impl<'s> Parser<'s> {
    fn error(&self, at: usize, why: &str) -> String {
        at_line(self.name, self.source, at, why)
    }

    /// Reads nodes up to `end`, `else` or the source's end.
    fn block(&mut self) -> Result<Block, String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.rest.next() {
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
                "if" | "with" | "range" => nodes.push(self.branch(word, after, at + word_len)?),
                "template" | "define" | "block" | "break" | "continue" => {
                    let why = format!("{{{{{word}}}}} is not supported here");
                    return Err(self.error(at, &why));
                }
                _ => nodes.push(Node::Print(self.declaring(trimmed, at, "command")?)),
            }
        }
        Ok(Block { nodes, end: None })
    }

    /// Reads the rest of `{{if …}}`, `{{with …}}` or `{{range …}}`, up to its `{{end}}`.
    fn branch(&mut self, word: &str, test: &str, at: usize) -> Result<Node, String> {
        let outside = self.variables.len();
        let test = self.declaring(test, at, word)?;
        let Block { nodes: then, end } = self.block()?;
        let mut otherwise = Vec::new();
        let unfinished = |parser: &Self| parser.error(parser.source.len(), "unexpected EOF");
        let (mut stop, stop_at) = end.ok_or_else(|| unfinished(self))?;
        if let Some(after) = stop.strip_prefix("else") {
            let after = after.trim().to_string();
            // `{{else if}}` goes on an `if`, and `{{else with}}` a `with`.
            let condition = after
                .strip_prefix(word)
                .filter(|rest| word != "range" && rest.starts_with(char::is_whitespace));
            if let Some(condition) = condition {
                otherwise.push(self.branch(word, condition, stop_at)?);
                stop = "end".to_string();
            } else {
                let Block { nodes, end } = self.block()?;
                otherwise = nodes;
                stop = end.ok_or_else(|| unfinished(self))?.0;
            }
        }
        if stop != "end" {
            return Err(self.error(stop_at, "expected end; found {{else}}"));
        }
        self.variables.truncate(outside);
        Ok(match word {
            "with" => Node::With { subject: test, then, otherwise },
            "range" => Node::Range { subject: test, each: then, otherwise },
            _ => Node::If { test, then, otherwise },
        })
    }

    /// A pipeline, perhaps behind `$name :=` or `$name =`.
    fn declaring(&mut self, text: &str, at: usize, context: &str) -> Result<Pipeline, String> {
        let Some((names, assigns, rest)) = declared(text, context) else {
            return self.pipeline(text, at, context);
        };
        let mut pipeline = self.pipeline(rest, at + text.len() - rest.len(), context)?;
        if assigns {
            for name in &names {
                self.known(name, at)?;
            }
        } else {
            self.variables.extend(names.iter().cloned());
        }
        (pipeline.variables, pipeline.assigns) = (names, assigns);
        Ok(pipeline)
    }

    fn known(&self, variable: &str, at: usize) -> Result<(), String> {
        if self.variables.iter().any(|known| known == variable) {
            return Ok(());
        }
        Err(self.error(at, &format!("undefined variable {}", quote(variable))))
    }

    fn pipeline(&self, text: &str, at: usize, context: &str) -> Result<Pipeline, String> {
        let mut commands = vec![Vec::new()];
        let mut position = 0;
        while let Some(letter) = text[position..].chars().next() {
            if letter.is_whitespace() {
                position += letter.len_utf8();
                continue;
            }
            let start = position;
            let fail = |why: &str| Err(self.error(at + start, why));
            let base = match letter {
                '|' => {
                    position += 1;
                    if commands.last().is_some_and(Vec::is_empty) {
                        return fail(&format!("missing value for {context}"));
                    }
                    commands.push(Vec::new());
                    continue;
                }
                '"' | '`' => {
                    let end = close_quote(&text[start..]).map(|len| start + len);
                    let Some(end) = end else {
                        return fail("unterminated quoted string");
                    };
                    position = end;
                    let body = &text[start + 1..end - 1];
                    let body = if letter == '"' { unescape(body) } else { body.to_string() };
                    Base::Literal(Value::Text(Cow::Owned(body)))
                }
                '(' => {
                    let Some(len) = close_group(&text[start..]) else {
                        return fail("unclosed left paren");
                    };
                    position = start + len;
                    let inner = &text[start + 1..position - 1];
                    Base::Group(self.pipeline(inner, at + start + 1, "parenthesized pipeline")?)
                }
                // The names after it are its path.
                '.' => Base::Dot,
                '$' => {
                    position += 1 + word_len(text, start + 1);
                    let variable = &text[start..position];
                    self.known(variable, at + start)?;
                    Base::Variable(variable.to_string())
                }
                letter if letter.is_ascii_digit() || letter == '-' || letter == '+' => {
                    let len = text[start..]
                        .find(|c: char| c.is_whitespace() || c == '|' || c == ')')
                        .unwrap_or(text.len() - start);
                    position = start + len;
                    let word = &text[start..position];
                    match (word.parse::<i64>(), word.parse::<f64>()) {
                        (Ok(value), _) => Base::Literal(Value::Int(value)),
                        (_, Ok(value)) => Base::Literal(Value::Float(value)),
                        _ => return fail(&format!("bad number syntax: {}", quote(word))),
                    }
                }
                letter if letter.is_alphabetic() || letter == '_' => {
                    position = start + word_len(text, start);
                    match &text[start..position] {
                        "true" => Base::Literal(Value::Bool(true)),
                        "false" => Base::Literal(Value::Bool(false)),
                        "nil" => Base::Literal(Value::Missing),
                        word if FUNCTIONS.contains(&word) => Base::Function(word.to_string()),
                        word => return fail(&format!("function {} not defined", quote(word))),
                    }
                }
                letter => {
                    let code = format!("U+{:04X} '{letter}'", letter as u32);
                    return fail(&format!("unrecognized character in action: {code}"));
                }
            };
            let mut path = Vec::new();
            while text[position..].starts_with('.') && word_len(text, position + 1) > 0 {
                let end = position + 1 + word_len(text, position + 1);
                path.push(text[position + 1..end].to_string());
                position = end;
            }
            if let (Base::Dot, true) = (&base, path.is_empty()) {
                position += 1;
            }
            let command = commands.last_mut().expect("there is always a command");
            command.push(Term { at: at + start, base, path });
        }
        if commands.last().is_some_and(Vec::is_empty) {
            return Err(self.error(at + text.len(), &format!("missing value for {context}")));
        }
        Ok(Pipeline { variables: Vec::new(), assigns: false, commands })
    }
}

/// Length of the name that begins at `from`.
fn word_len(text: &str, from: usize) -> usize {
    let letters = text[from..].char_indices();
    let end = letters.clone().find(|(_, letter)| !(letter.is_alphanumeric() || *letter == '_'));
    end.map_or(text.len() - from, |(len, _)| len)
}

/// The variables that a pipeline gives a value, whether they are there already, and the pipeline.
fn declared<'t>(text: &'t str, context: &str) -> Option<(Vec<String>, bool, &'t str)> {
    let mut rest = text.trim_start();
    let mut names = Vec::new();
    loop {
        let len = 1 + word_len(rest.strip_prefix('$')?, 0);
        names.push(rest[..len].to_string());
        rest = rest[len..].trim_start();
        if let Some(after) = rest.strip_prefix(":=") {
            return Some((names, false, after));
        }
        if let Some(after) = rest.strip_prefix('=') {
            return Some((names, true, after));
        }
        // Only a range has two.
        rest = rest.strip_prefix(',').filter(|_| context == "range")?.trim_start();
    }
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
