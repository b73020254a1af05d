//! The part of Go's text templates that configuration uses: names of containers and hosts, log lines.
//!
//! Pure: a template and values in, text out.
//! Source: Go's `text/template`; the error texts are its own.

use std::{borrow::Cow, collections::BTreeMap};

use api::go::{format_float, quote};

use crate::Error;

/// A parsed template; equal when the sources are.
#[derive(Clone, Debug)]
pub struct Template {
    name: &'static str,
    source: String,
    nodes: Vec<Node>,
}

/// What a template can look at.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Nothing: a key that a map does not have.
    Missing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Map(&'a BTreeMap<String, String>),
    /// A structure: its Go type, which errors name, and its fields.
    Struct(&'static str, Vec<(&'static str, Value<'a>)>),
}

#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Print(Pipeline),
    If { test: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { subject: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each given the result of the one before as its last argument.
#[derive(Clone, Debug)]
struct Pipeline(Vec<Vec<Term>>);

#[derive(Clone, Debug)]
struct Term {
    /// Byte offset in the source, for errors.
    at: usize,
    kind: TermKind,
}

#[derive(Clone, Debug)]
enum TermKind {
    Literal(Value<'static>),
    Dot,
    Root,
    Field(Vec<String>),
    RootField(Vec<String>),
    Function(String),
    Group(Pipeline),
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.source == other.source
    }
}

impl Template {
    /// Parses `source`; `name` is what errors call the template.
    pub fn parse(name: &'static str, source: &str) -> Result<Template, Error> {
        let pieces = split(name, source)?;
        let mut rest = pieces.into_iter().peekable();
        let (nodes, end) = block(name, source, &mut rest)?;
        if let Some((word, at)) = end {
            return Err(at_line(name, source, at, &format!("unexpected {{{{{word}}}}}")));
        }
        Ok(Template { name, source: source.to_string(), nodes })
    }

    /// The text that was parsed.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fills the template in with `root`.
    pub fn render(&self, root: &Value<'_>) -> Result<String, Error> {
        let mut out = String::new();
        self.run(&self.nodes, root, root, &mut out)?;
        Ok(out)
    }

    fn run<'v>(
        &self,
        nodes: &[Node],
        root: &Value<'v>,
        dot: &Value<'v>,
        out: &mut String,
    ) -> Result<(), Error> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print(pipeline) => out.push_str(&shown(&self.value(pipeline, root, dot)?)),
                Node::If { test, then, otherwise } => {
                    let branch =
                        if truth(&self.value(test, root, dot)?) { then } else { otherwise };
                    self.run(branch, root, dot, out)?;
                }
                Node::With { subject, then, otherwise } => {
                    let subject = self.value(subject, root, dot)?;
                    if truth(&subject) {
                        self.run(then, root, &subject, out)?;
                    } else {
                        self.run(otherwise, root, dot, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn value<'v>(
        &self,
        pipeline: &Pipeline,
        root: &Value<'v>,
        dot: &Value<'v>,
    ) -> Result<Value<'v>, Error> {
        let mut last = None;
        for command in &pipeline.0 {
            let first = &command[0];
            let mut arguments = Vec::new();
            for term in &command[1..] {
                arguments.push(self.term(term, root, dot)?);
            }
            arguments.extend(last);
            last = Some(match &first.kind {
                TermKind::Function(name) => {
                    call(name, arguments).map_err(|why| self.failed(first, &why))?
                }
                _ if arguments.is_empty() => self.term(first, root, dot)?,
                _ => {
                    let why = format!("can't give argument to non-function {}", self.text(first));
                    return Err(self.failed(first, &why));
                }
            });
        }
        Ok(last.expect("the parser makes no empty pipeline"))
    }

    fn term<'v>(&self, term: &Term, root: &Value<'v>, dot: &Value<'v>) -> Result<Value<'v>, Error> {
        match &term.kind {
            TermKind::Literal(value) => Ok(value.clone()),
            TermKind::Dot => Ok(dot.clone()),
            TermKind::Root => Ok(root.clone()),
            TermKind::Field(path) => self.field(term, path, dot),
            TermKind::RootField(path) => self.field(term, path, root),
            TermKind::Function(name) => {
                call(name, Vec::new()).map_err(|why| self.failed(term, &why))
            }
            TermKind::Group(pipeline) => self.value(pipeline, root, dot),
        }
    }

    fn field<'v>(
        &self,
        term: &Term,
        path: &[String],
        from: &Value<'v>,
    ) -> Result<Value<'v>, Error> {
        let mut value = from.clone();
        for name in path {
            value = match value {
                Value::Struct(kind, fields) => {
                    match fields.into_iter().find(|(field, _)| field == name) {
                        Some((_, value)) => value,
                        None => {
                            let why = format!("can't evaluate field {name} in type {kind}");
                            return Err(self.failed(term, &why));
                        }
                    }
                }
                Value::Map(map) => match map.get(name) {
                    Some(text) => Value::Text(Cow::Borrowed(text)),
                    None => Value::Missing,
                },
                Value::Missing => {
                    let why = format!("nil data; no entry for key {}", quote(name));
                    return Err(self.failed(term, &why));
                }
                Value::Text(_) => {
                    let why = format!("can't evaluate field {name} in type string");
                    return Err(self.failed(term, &why));
                }
                Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                    let why = format!("can't evaluate field {name} in a value without fields");
                    return Err(self.failed(term, &why));
                }
            };
        }
        Ok(value)
    }

    fn failed(&self, term: &Term, why: &str) -> Error {
        let before = &self.source[..term.at];
        let line = 1 + before.matches('\n').count();
        let column = term.at - before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text(term);
        let name = self.name;
        Error::new(format!(
            "template: {name}:{line}:{column}: executing {} at <{text}>: {why}",
            quote(name)
        ))
    }

    /// The term as it was written, cut to 20 letters as Go does.
    fn text(&self, term: &Term) -> String {
        let text = match &term.kind {
            TermKind::Field(path) => format!(".{}", path.join(".")),
            TermKind::RootField(path) => format!("$.{}", path.join(".")),
            TermKind::Function(name) => name.clone(),
            TermKind::Dot => ".".to_string(),
            TermKind::Root => "$".to_string(),
            TermKind::Literal(value) => shown(value),
            TermKind::Group(_) => "(…)".to_string(),
        };
        if text.chars().count() > 20 {
            format!("{}...", text.chars().take(20).collect::<String>())
        } else {
            text
        }
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

/// Reads nodes up to `end`, `else` or the source's end; tells which word stopped it.
fn block(
    name: &str,
    source: &str,
    rest: &mut Pieces<'_>,
) -> Result<(Vec<Node>, Option<(String, usize)>), Error> {
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
            "end" | "else" => return Ok((nodes, Some((trimmed.to_string(), at)))),
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
    Ok((nodes, None))
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
    let (then, end) = block(name, source, rest)?;
    let mut otherwise = Vec::new();
    let (mut stop, stop_at) =
        end.ok_or_else(|| at_line(name, source, source.len(), "unexpected EOF"))?;
    if let Some(after) = stop.strip_prefix("else") {
        let after = after.trim().to_string();
        if let Some(condition) = after.strip_prefix("if ") {
            otherwise.push(branch(name, source, "if", condition, stop_at, rest)?);
            stop = "end".to_string();
        } else {
            let (nodes, end) = block(name, source, rest)?;
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

fn truth(value: &Value<'_>) -> bool {
    match value {
        Value::Missing => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::Map(map) => !map.is_empty(),
        Value::Struct(..) => true,
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "<no value>".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format_float(*value),
        Value::Text(text) => text.to_string(),
        Value::Map(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Struct(_, fields) => {
            let values: Vec<String> = fields.iter().map(|(_, value)| shown(value)).collect();
            format!("{{{}}}", values.join(" "))
        }
    }
}

fn call<'v>(name: &str, arguments: Vec<Value<'v>>) -> Result<Value<'v>, String> {
    let short = |want: usize| {
        if arguments.len() < want {
            let count = arguments.len();
            return Err(format!(
                "wrong number of args for {name}: want at least {want} got {count}"
            ));
        }
        Ok(())
    };
    match name {
        "and" => {
            short(1)?;
            let stop = arguments.iter().position(|value| !truth(value));
            Ok(arguments[stop.unwrap_or(arguments.len() - 1)].clone())
        }
        "or" => {
            short(1)?;
            let stop = arguments.iter().position(truth);
            Ok(arguments[stop.unwrap_or(arguments.len() - 1)].clone())
        }
        "not" => {
            short(1)?;
            Ok(Value::Bool(!truth(&arguments[0])))
        }
        "eq" => {
            short(2)?;
            let first = shown(&arguments[0]);
            Ok(Value::Bool(arguments[1..].iter().any(|value| shown(value) == first)))
        }
        "ne" => {
            short(2)?;
            Ok(Value::Bool(shown(&arguments[0]) != shown(&arguments[1])))
        }
        "lt" | "le" | "gt" | "ge" => {
            short(2)?;
            let order = match (&arguments[0], &arguments[1]) {
                (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
                (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
                (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
                _ => {
                    return Err(format!("error calling {name}: incompatible types for comparison"));
                }
            };
            Ok(Value::Bool(match name {
                "lt" => order.is_some_and(|order| order.is_lt()),
                "le" => order.is_some_and(|order| order.is_le()),
                "gt" => order.is_some_and(|order| order.is_gt()),
                _ => order.is_some_and(|order| order.is_ge()),
            }))
        }
        "index" => {
            short(2)?;
            let Value::Map(map) = &arguments[0] else {
                return Err("error calling index: can't index item of this type".to_string());
            };
            let found = map.get(&shown(&arguments[1]));
            Ok(Value::Text(found.map_or(Cow::Borrowed(""), |text| Cow::Borrowed(text.as_str()))))
        }
        "len" => {
            short(1)?;
            match &arguments[0] {
                Value::Text(text) => Ok(Value::Int(text.len() as i64)),
                Value::Map(map) => Ok(Value::Int(map.len() as i64)),
                _ => Err("error calling len: len of this type".to_string()),
            }
        }
        "print" => Ok(Value::Text(Cow::Owned(arguments.iter().map(shown).collect()))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(shown).collect();
            Ok(Value::Text(Cow::Owned(words.join(" ") + "\n")))
        }
        "printf" => {
            short(1)?;
            Ok(Value::Text(Cow::Owned(printf(&shown(&arguments[0]), &arguments[1..]))))
        }
        "html" => Ok(Value::Text(Cow::Owned(escaped(&arguments, |letter, out| match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        })))),
        "js" => Ok(Value::Text(Cow::Owned(escaped(&arguments, |letter, out| match letter {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", letter as u32)),
            letter if letter.is_control() => {
                out.push_str(&format!("\\u{:04X}", letter as u32));
            }
            letter => out.push(letter),
        })))),
        _ => Ok(Value::Text(Cow::Owned(escaped(&arguments, |letter, out| {
            if letter.is_ascii_alphanumeric() || "-_.~".contains(letter) {
                out.push(letter);
            } else if letter == ' ' {
                out.push('+');
            } else {
                let mut buffer = [0; 4];
                for byte in letter.encode_utf8(&mut buffer).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
        })))),
    }
}

fn escaped(arguments: &[Value<'_>], escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::new();
    for letter in arguments.iter().map(shown).collect::<String>().chars() {
        escape(letter, &mut out);
    }
    out
}

/// `%s`, `%v`, `%d` and `%q`; flags and widths are left as they are.
fn printf(format: &str, arguments: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut next = arguments.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') | None => out.push('%'),
            Some('q') => out.push_str(&next.next().map_or(String::new(), |v| quote(&shown(v)))),
            Some('s' | 'v' | 'd') => out.push_str(&next.next().map(shown).unwrap_or_default()),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root<'a>(labels: &'a BTreeMap<String, String>) -> Value<'a> {
        Value::Struct(
            "v1.ObjectMeta",
            vec![
                ("Name", Value::Text(Cow::Borrowed("hello"))),
                ("Namespace", Value::Text(Cow::Borrowed("default"))),
                ("Labels", Value::Map(labels)),
            ],
        )
    }

    #[test]
    fn templates_are_filled_in() {
        let labels = BTreeMap::from([("app".to_string(), "shop".to_string())]);
        for (source, text) in [
            ("plain", "plain"),
            ("{{.Name}}.{{.Namespace}}", "hello.default"),
            ("{{ .Name }}-{{index .Labels \"app\"}}", "hello-shop"),
            ("{{index .Labels \"none\"}}|{{.Labels.none}}", "|<no value>"),
            ("{{if .Labels.sub}}{{.Labels.sub}}{{else}}{{.Name}}{{end}}", "hello"),
            ("{{if eq .Name \"x\"}}a{{else if eq .Name \"hello\"}}b{{end}}", "b"),
            ("a  {{- .Name -}}  b", "ahellob"),
            ("{{with .Labels.app}}{{.}}{{end}}{{/* note */}}", "shop"),
            ("{{printf \"%s-%s\" .Name .Namespace | js}}", "hello-default"),
            ("{{.Namespace | printf \"%q %s\" .Name}}", "\"hello\" default"),
            ("{{\"}}\"}}", "}}"),
        ] {
            let template = Template::parse("t", source).expect(source);
            assert_eq!(template.render(&root(&labels)).expect(source), text, "{source}");
        }
    }

    #[test]
    fn mistakes_are_said_as_go_does() {
        let labels = BTreeMap::new();
        for (source, error) in [
            ("{{", "template: t:1: unclosed action"),
            ("{{.Name", "template: t:1: unclosed action"),
            ("{{}}", "template: t:1: missing value for command"),
            ("{{nope}}", "template: t:1: function \"nope\" not defined"),
            ("{{if .Name}}x", "template: t:1: unexpected EOF"),
            ("x{{end}}", "template: t:1: unexpected {{end}}"),
            (
                "{{.Nope}}",
                "template: t:1:2: executing \"t\" at <.Nope>: can't evaluate field Nope in type v1.ObjectMeta",
            ),
        ] {
            let found = Template::parse("t", source).and_then(|t| t.render(&root(&labels)));
            assert_eq!(found.unwrap_err().to_string(), error, "{source}");
        }
    }
}
