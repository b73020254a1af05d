//! The part of Go's text templates that configuration uses: names of containers and hosts, log lines.
//!
//! Pure: a template and values in, text out.
//! Source: Go's `text/template`; the error texts are its own.

use std::{borrow::Cow, collections::BTreeMap};

use api::go::quote;

mod functions;
mod parse;

use crate::Error;
use functions::{call, shown, truth};

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
        Ok(Template { name, source: source.to_string(), nodes: parse::nodes(name, source)? })
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
