//! The part of Go's text templates that people use in configuration: names of containers and hosts, lines of the
//! request log.
//!
//! All of it but templates in templates (`define`, `block`, `template`), `break` and `continue`.
//! Pure: a template and values in, text out.
//! Source: Go's `text/template`; the error texts are its own.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use super::quote;

mod functions;
mod parse;
mod printf;

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
    /// A pointer of this Go type to nothing.
    Nil(&'static str),
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Map(&'a BTreeMap<String, String>),
    /// A map of lists, such as headers: its Go type, which errors name, and its entries.
    Lists(&'static str, Arc<BTreeMap<String, Vec<String>>>),
    /// A structure: its Go type and its fields.
    Struct(&'static str, Vec<(&'static str, Value<'a>)>),
    /// A structure with methods, or with fields that are only made when they are asked for.
    Object(&'a dyn Object),
}

/// A structure whose fields and methods are looked up one by one.
pub trait Object: fmt::Debug + Sync {
    /// Its Go type, which errors name.
    fn kind(&self) -> &'static str;

    /// The value of the field `name`, or the result of the method of that name; none where there is neither.
    fn get<'v>(&'v self, name: &str, arguments: &[Value<'v>]) -> Option<Result<Value<'v>, String>>;

    /// The structure as it is printed.
    fn shown(&self) -> String;
}

#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Print(Pipeline),
    If { test: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { subject: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { subject: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each given the result of the one before as its last argument.
#[derive(Clone, Debug)]
struct Pipeline {
    /// Variables that take the result: one, or key and value of a range.
    variables: Vec<String>,
    /// Whether they were there before.
    assigns: bool,
    commands: Vec<Vec<Term>>,
}

/// A value, and the fields in it that are meant.
#[derive(Clone, Debug)]
struct Term {
    /// Byte offset in the source, for errors.
    at: usize,
    base: Base,
    path: Vec<String>,
}

#[derive(Clone, Debug)]
enum Base {
    Literal(Value<'static>),
    Dot,
    /// With its `$`; that alone is what the template was given.
    Variable(String),
    Function(String),
    Group(Pipeline),
}

/// A template being filled in.
struct Run<'t, 'v> {
    template: &'t Template,
    variables: Vec<(String, Value<'v>)>,
    out: String,
}

/// As a template prints it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self))
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.source == other.source
    }
}

impl Template {
    /// Parses `source`; `name` is what errors call the template.
    pub fn parse(name: &'static str, source: &str) -> Result<Template, String> {
        Ok(Template { name, source: source.to_string(), nodes: parse::nodes(name, source)? })
    }

    /// The text that was parsed.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fills the template in with `root`.
    pub fn render(&self, root: &Value<'_>) -> Result<String, String> {
        let variables = vec![("$".to_string(), root.clone())];
        let mut run = Run { template: self, variables, out: String::new() };
        run.nodes(&self.nodes, root)?;
        Ok(run.out)
    }

    fn failed(&self, term: &Term, why: &str) -> String {
        let before = &self.source[..term.at];
        let line = 1 + before.matches('\n').count();
        let column = term.at - before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = term.text();
        let name = self.name;
        format!("template: {name}:{line}:{column}: executing {} at <{text}>: {why}", quote(name))
    }
}

impl<'v> Run<'_, 'v> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value<'v>) -> Result<(), String> {
        for node in nodes {
            // What a block declares ends with it.
            let outside = self.variables.len();
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.value(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&shown(&value));
                    }
                    continue;
                }
                Node::If { test, then, otherwise } => {
                    let branch = if truth(&self.value(test, dot)?) { then } else { otherwise };
                    self.nodes(branch, dot)?;
                }
                Node::With { subject, then, otherwise } => {
                    let subject = self.value(subject, dot)?;
                    if truth(&subject) {
                        self.nodes(then, &subject)?;
                    } else {
                        self.nodes(otherwise, dot)?;
                    }
                }
                Node::Range { subject, each, otherwise } => {
                    self.range(subject, each, otherwise, dot)?;
                }
            }
            self.variables.truncate(outside);
        }
        Ok(())
    }

    fn range(
        &mut self,
        subject: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value<'v>,
    ) -> Result<(), String> {
        let found = self.result(subject, dot)?;
        let entries: Vec<(Value<'v>, Value<'v>)> = match found {
            Value::Missing => Vec::new(),
            Value::List(items) => (0..).map(Value::Int).zip(items).collect(),
            Value::Int(count) => (0..count).map(|at| (Value::Int(at), Value::Int(at))).collect(),
            Value::Map(map) => map.iter().map(|(key, value)| (text(key), text(value))).collect(),
            Value::Lists(_, lists) => lists
                .iter()
                .map(|(key, values)| (owned(key), Value::List(values.iter().map(owned).collect())))
                .collect(),
            other => {
                let why = format!("range can't iterate over {}", shown(&other));
                return Err(self.template.failed(&subject.commands[0][0], &why));
            }
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in entries {
            let outside = self.variables.len();
            match subject.variables.as_slice() {
                [] => {}
                [name] => self.set(name, value.clone(), subject.assigns),
                [first, second, ..] => {
                    self.set(first, key, subject.assigns);
                    self.set(second, value.clone(), subject.assigns);
                }
            }
            self.nodes(each, &value)?;
            self.variables.truncate(outside);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value<'v>, assigns: bool) {
        let there = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match there {
            Some((_, there)) if assigns => *there = value,
            _ => self.variables.push((name.to_string(), value)),
        }
    }

    /// The result of a pipeline, which its variables take too.
    fn value(&mut self, pipeline: &Pipeline, dot: &Value<'v>) -> Result<Value<'v>, String> {
        let value = self.result(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn result(&mut self, pipeline: &Pipeline, dot: &Value<'v>) -> Result<Value<'v>, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.expect("the parser makes no empty pipeline"))
    }

    fn command(
        &mut self,
        command: &[Term],
        last: Option<Value<'v>>,
        dot: &Value<'v>,
    ) -> Result<Value<'v>, String> {
        let (first, rest) = command.split_first().expect("the parser makes no empty command");
        if let Base::Function(name) = &first.base
            && (name == "and" || name == "or")
        {
            // What comes after the one that decides is not looked at.
            let mut found = None;
            for term in rest {
                let value = self.term(term, Vec::new(), dot)?;
                if truth(&value) == (name == "or") {
                    return Ok(value);
                }
                found = Some(value);
            }
            return last.or(found).ok_or_else(|| {
                let why = format!("wrong number of args for {name}: want at least 1 got 0");
                self.template.failed(first, &why)
            });
        }
        let mut arguments = Vec::new();
        for term in rest {
            arguments.push(self.term(term, Vec::new(), dot)?);
        }
        arguments.extend(last);
        self.term(first, arguments, dot)
    }

    /// The value of a term; `arguments` are for its function or method.
    fn term(
        &mut self,
        term: &Term,
        mut arguments: Vec<Value<'v>>,
        dot: &Value<'v>,
    ) -> Result<Value<'v>, String> {
        let template = self.template;
        let mut value = match &term.base {
            Base::Literal(value) => value.clone(),
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map_or(Value::Missing, |(_, value)| value.clone())
            }
            Base::Group(pipeline) => self.value(pipeline, dot)?,
            Base::Function(name) => {
                let given = std::mem::take(&mut arguments);
                call(name, given).map_err(|why| template.failed(term, &why))?
            }
        };
        if let Some((last, path)) = term.path.split_last() {
            for name in path {
                value = field(value, name, &[]).map_err(|why| template.failed(term, &why))?;
            }
            value = field(value, last, &arguments).map_err(|why| template.failed(term, &why))?;
        } else if !arguments.is_empty() {
            let why = format!("can't give argument to non-function {}", term.text());
            return Err(template.failed(term, &why));
        }
        Ok(value)
    }
}

impl Term {
    /// The term as it was written, cut to 20 letters as Go does.
    fn text(&self) -> String {
        let path: String = self.path.iter().map(|name| format!(".{name}")).collect();
        let text = match &self.base {
            Base::Dot if path.is_empty() => ".".to_string(),
            Base::Dot => path,
            Base::Variable(name) | Base::Function(name) => name.clone() + &path,
            Base::Literal(value) => shown(value),
            Base::Group(_) => "(…)".to_string() + &path,
        };
        if text.chars().count() > 20 {
            format!("{}...", text.chars().take(20).collect::<String>())
        } else {
            text
        }
    }
}

/// A field of a value, or the result of its method.
fn field<'v>(from: Value<'v>, name: &str, arguments: &[Value<'v>]) -> Result<Value<'v>, String> {
    let unknown = |kind: &str| Err(format!("can't evaluate field {name} in type {kind}"));
    let found = match from {
        Value::Object(object) => {
            return object.get(name, arguments).unwrap_or_else(|| unknown(object.kind()));
        }
        Value::Lists(kind, lists) => match (name, arguments) {
            ("Get" | "Values" | "Has", [key]) => {
                return Ok(values(kind, &lists, name, &shown(key)));
            }
            ("Get" | "Values" | "Has", _) => {
                let count = arguments.len();
                return Err(format!("wrong number of args for {name}: want 1 got {count}"));
            }
            _ => lists.get(name).map_or(Value::Missing, |values| list(values)),
        },
        Value::Struct(kind, fields) => match fields.into_iter().find(|(field, _)| *field == name) {
            Some((_, value)) => value,
            None => return unknown(kind),
        },
        Value::Map(map) => map.get(name).map_or(Value::Missing, |value| text(value)),
        Value::Missing => return Err(format!("nil data; no entry for key {}", quote(name))),
        Value::Nil(kind) => return Err(format!("nil pointer evaluating {kind}.{name}")),
        Value::Text(_) => return unknown("string"),
        Value::Int(_) => return unknown("int"),
        Value::Float(_) => return unknown("float64"),
        Value::Bool(_) => return unknown("bool"),
        Value::List(_) => return unknown("[]string"),
    };
    if arguments.is_empty() {
        Ok(found)
    } else {
        Err(format!("{name} is not a method but has arguments"))
    }
}

/// The methods of Go's `http.Header` and `url.Values`.
fn values<'v>(
    kind: &str,
    lists: &BTreeMap<String, Vec<String>>,
    method: &str,
    key: &str,
) -> Value<'v> {
    let key = if kind == HEADER { canonical(key) } else { key.to_string() };
    let found = lists.get(&key);
    match method {
        "Has" => Value::Bool(found.is_some()),
        "Values" => found.map_or_else(|| Value::List(Vec::new()), |values| list(values)),
        _ => found.and_then(|values| values.first()).map_or_else(|| owned(""), owned),
    }
}

/// Go's type of headers: its keys are in the form of [`canonical`].
pub const HEADER: &str = "http.Header";

/// A header's name as Go writes it: `x-request-id` is `X-Request-Id`.
pub fn canonical(name: &str) -> String {
    let mut starts = true;
    name.chars()
        .map(|letter| {
            let written =
                if starts { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            starts = letter == '-';
            written
        })
        .collect()
}

/// A text that is there already.
pub fn text<'v>(text: &'v str) -> Value<'v> {
    Value::Text(Cow::Borrowed(text))
}

/// A text of the value's own.
pub fn owned<'v>(text: impl AsRef<str>) -> Value<'v> {
    Value::Text(Cow::Owned(text.as_ref().to_owned()))
}

fn list<'v>(values: &[String]) -> Value<'v> {
    Value::List(values.iter().map(owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Call;

    impl Object for Call {
        fn kind(&self) -> &'static str {
            "*http.Request"
        }

        fn get<'v>(
            &'v self,
            name: &str,
            arguments: &[Value<'v>],
        ) -> Option<Result<Value<'v>, String>> {
            let header = || {
                let lists = [("Accept", vec!["a", "b"]), ("X-Id", vec!["7"])];
                let lists = lists.map(|(name, values)| {
                    (name.to_string(), values.into_iter().map(str::to_string).collect())
                });
                Value::Lists(HEADER, Arc::new(BTreeMap::from(lists)))
            };
            Some(match (name, arguments) {
                ("Method", []) => Ok(text("GET")),
                ("Header", []) => Ok(header()),
                ("Joined", [one, other]) => Ok(owned(format!("{one}{other}"))),
                ("Fails", []) => Err("error calling Fails: as told".to_string()),
                _ => return None,
            })
        }

        fn shown(&self) -> String {
            "a call".to_string()
        }
    }

    fn root<'a>(labels: &'a BTreeMap<String, String>) -> Value<'a> {
        Value::Struct(
            "v1.ObjectMeta",
            vec![
                ("Name", text("hello")),
                ("Namespace", text("default")),
                ("Labels", Value::Map(labels)),
                ("Request", Value::Object(&Call)),
                ("Code", Value::Int(200)),
                ("Latency", Value::Float(0.012_345)),
            ],
        )
    }

    #[test]
    fn templates_are_filled_in() {
        let labels = [("app", "shop"), ("tier", "front")];
        let labels = labels.map(|(key, value)| (key.to_string(), value.to_string())).into();
        for (source, text) in [
            ("plain", "plain"),
            ("{{.Name}}.{{.Namespace}}", "hello.default"),
            ("{{ .Name }}-{{index .Labels \"app\"}}", "hello-shop"),
            ("{{index .Labels \"none\"}}|{{.Labels.none}}", "|<no value>"),
            ("{{if .Labels.sub}}{{.Labels.sub}}{{else}}{{.Name}}{{end}}", "hello"),
            ("{{if eq .Name \"x\"}}a{{else if eq .Name \"hello\"}}b{{end}}", "b"),
            ("a  {{- .Name -}}  b", "ahellob"),
            ("{{with .Labels.app}}{{.}}{{end}}{{/* note */}}", "shop"),
            ("{{with .Labels.no}}{{else with .Name}}{{.}}{{end}}", "hello"),
            ("{{printf \"%s-%s\" .Name .Namespace | js}}", "hello-default"),
            ("{{.Namespace | printf \"%q %s\" .Name}}", "\"hello\" default"),
            ("{{\"}}\"}}", "}}"),
            // Headers.
            ("{{.Request.Header.Get \"x-id\"}}|{{.Request.Header.Get \"none\"}}", "7|"),
            ("{{\"x-id\" | .Request.Header.Get}}", "7"),
            ("{{index .Request.Header \"Accept\"}} {{index .Request.Header \"No\"}}", "[a b] []"),
            ("{{index .Request.Header \"Accept\" 1}}", "b"),
            ("{{.Request.Header.Accept}} {{.Request.Header.No}}", "[a b] <no value>"),
            ("{{.Request.Header}} {{len .Request.Header}}", "map[Accept:[a b] X-Id:[7]] 2"),
            ("{{(.Request.Header.Values \"accept\") | len}}", "2"),
            ("{{(.Request.Joined \"a\" .Name)}}{{.Request}}", "ahelloa call"),
            // Ranges and variables.
            (
                "{{range $k, $v := .Request.Header}}{{$k}}={{range $v}}{{.}};{{end}}{{end}}",
                "Accept=a;b;X-Id=7;",
            ),
            ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "app=shop tier=front "),
            ("{{range .Request.Header.No}}x{{else}}none{{end}}", "none"),
            ("{{range $i, $e := .Request.Header.Accept}}{{$i}}{{$e}}{{end}}", "0a1b"),
            (
                "{{$n := .Name}}{{with .Namespace}}{{$n}}.{{.}}.{{$.Name}}{{end}}",
                "hello.default.hello",
            ),
            ("{{$n := 1}}{{if true}}{{$n = 2}}{{end}}{{$n}}", "2"),
            // What decides early.
            ("{{or .Labels.no .Name}} {{and .Name 0}}", "hello 0"),
            ("{{if and .Labels.no (index .Request.Header \"No\" 0)}}x{{end}}", ""),
            ("{{ge .Code 500}} {{if and (ge .Code 200) (lt .Code 300)}}ok{{end}}", "false ok"),
            // Formats.
            (
                "{{printf \"%.3f %6.2f|%-4d|%05d|%x\" .Latency .Latency .Code .Code .Code}}",
                "0.012   0.01|200 |00200|c8",
            ),
            (
                "{{printf \"%v %d %t %5s|%-5s|%.2s\" .Code .Name true \"ab\" \"ab\" \"abc\"}}",
                "200 %!d(string=hello) true    ab|ab   |ab",
            ),
            ("{{printf \"%s\" .Code}} {{printf \"%d\"}}", "%!s(int=200) %!d(MISSING)"),
            (
                "{{slice .Name 1 3}} {{html \"<\"}} {{urlquery \"a b\"}} {{js \"a=b\"}}",
                "el &lt; a+b a\\u003Db",
            ),
            ("{{.Latency}}s", "0.012345s"),
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
            ("{{$x}}", "template: t:1: undefined variable \"$x\""),
            ("{{if true}}{{$x := 1}}{{end}}{{$x}}", "template: t:1: undefined variable \"$x\""),
            ("{{range}}{{end}}", "template: t:1: missing value for range"),
            (
                "{{.Nope}}",
                "template: t:1:2: executing \"t\" at <.Nope>: can't evaluate field Nope in type v1.ObjectMeta",
            ),
            (
                "{{.Request.Nope}}",
                "template: t:1:2: executing \"t\" at <.Request.Nope>: can't evaluate field Nope in type *http.Request",
            ),
            (
                "{{.Request.Fails}}",
                "template: t:1:2: executing \"t\" at <.Request.Fails>: error calling Fails: as told",
            ),
            (
                "{{index .Request.Header \"No\" 0}}",
                "template: t:1:2: executing \"t\" at <index>: error calling index: index out of range: 0",
            ),
            (
                "{{eq .Code .Name}}",
                "template: t:1:2: executing \"t\" at <eq>: error calling eq: incompatible types for comparison",
            ),
        ] {
            let found = Template::parse("t", source).and_then(|t| t.render(&root(&labels)));
            assert_eq!(found.unwrap_err(), error, "{source}");
        }
    }
}
