//! `x-kubernetes-validations`: rules of custom resources in the Common Expression Language.
//!
//! Objects and rules in, errors out; each expression is compiled when first needed, on a thread of its own.
//! Source: k8s.io/apiextensions-apiserver `pkg/apiserver/schema/cel/validation.go`.

use std::sync::{Arc, OnceLock};

use kube_cel::KubeCelExt as _;
use kube_cel::cel::{Context, ExecutionError, Program, Value as Cel};
use serde_json::Value;

use super::{ListType, Node, Type};
use crate::kinds::problem::{FieldError, Reason};

/// Longer expressions are refused: the parser's work grows faster than its input.
const LONGEST: usize = 4096;
/// The most rules that are tried on one object: lists of objects with rules multiply them.
const MOST_TRIES: usize = 10_000;

/// One rule of `x-kubernetes-validations`.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    message: String,
    message_expression: String,
    reason: Reason,
    field: String,
    /// Holds between an old and a new state, not for one state alone.
    transition: bool,
    optional_old: bool,
    compiled: OnceLock<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    rule: Result<Arc<Program>, String>,
    message: Option<Arc<Program>>,
}

impl Rule {
    /// Reads a rule as it is written in a definition.
    pub fn read(value: &Value) -> Rule {
        let text = |field: &str| value[field].as_str().unwrap_or("").to_owned();
        let rule = text("rule");
        let transition = names(&rule, "oldSelf");
        Rule {
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: match value["reason"].as_str() {
                Some("FieldValueForbidden") => Reason::Forbidden,
                Some("FieldValueRequired") => Reason::Required,
                Some("FieldValueDuplicate") => Reason::Duplicate,
                _ => Reason::Invalid,
            },
            field: text("fieldPath"),
            transition,
            optional_old: value["optionalOldSelf"] == true,
            text: rule,
            compiled: OnceLock::new(),
        }
    }

    fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| Compiled {
            rule: compile(&self.text).map(Arc::new),
            message: compile(&self.message_expression).ok().map(Arc::new),
        })
    }
}

/// Compiles one expression, after a parser with linear work has looked at it: the one that evaluates can be driven
/// to minutes by a hundred bytes.
pub fn compile(text: &str) -> Result<Program, String> {
    if text.len() > LONGEST {
        return Err(format!("expression of {} bytes is longer than {LONGEST}", text.len()));
    }
    // The parsers recurse with the nesting of the text, deeper than a thread of the runtime bears.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK);
        let compiling = thread.spawn_scoped(scope, || {
            let gate = cel::parser::Parser::default().parse(text);
            gate.map(drop).map_err(|error| error.to_string())?;
            Program::compile(text).map_err(|error| error.to_string())
        });
        let compiling = compiling.map_err(|error| format!("start to compile: {error}"))?;
        // A panic of the parser is the expression's fault.
        compiling.join().unwrap_or_else(|_| Err("the expression cannot be compiled".to_owned()))
    })
}

/// Stack for the parsers at the deepest nesting that they admit (96), in unoptimised builds too. Only
/// what is touched of it takes memory.
const PARSER_STACK: usize = 64 << 20;

/// All rules that do not hold. `old` is what the object replaces.
pub fn validate(value: &Value, old: Option<&Value>, node: Node<'_>) -> Vec<FieldError> {
    let mut walk = Walk { errors: Vec::new(), tries: 0 };
    walk.at(value, old, node, &mut String::new());
    walk.errors
}

struct Walk {
    errors: Vec<FieldError>,
    tries: usize,
}

impl Walk {
    fn at(&mut self, value: &Value, old: Option<&Value>, node: Node<'_>, path: &mut String) {
        if node.name.is_some() || value.is_null() || self.tries > MOST_TRIES || !has_rules(node) {
            return;
        }
        if let Some(rules) = node.rules.as_deref()
            && !rules.validations.is_empty()
        {
            let mut context = Context::default().with_all();
            context.add_variable_from_value("self", to_cel(value, node));
            if let Some(old) = old {
                context.add_variable_from_value("oldSelf", to_cel(old, node));
            }
            for rule in rules.cel_rules() {
                if rule.transition && old.is_none() && !rule.optional_old {
                    continue;
                }
                self.tries += 1;
                self.errors.extend(check(rule, &context, value, path));
            }
        }
        let length = path.len();
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let Some(child) = node.field(name) else { continue };
                    let is_property = node.property(name).is_some();
                    if is_property || child.rules.is_some() || !child.properties.is_empty() {
                        if is_property && length > 0 {
                            path.push('.');
                        }
                        if is_property {
                            path.push_str(name);
                        } else {
                            path.push_str(&format!("[{name}]"));
                        }
                        self.at(value, old.and_then(|old| old.get(name)), child, path);
                        path.truncate(length);
                    }
                }
            }
            Value::Array(items) => {
                let Some(of) = node.items() else { return };
                for (at, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{at}]"));
                    self.at(item, old.and_then(|old| same_item(item, old, node)), of, path);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }
}

/// Whether anything at or below a place has rules. Saves the walk over objects without any.
fn has_rules(node: Node<'_>) -> bool {
    let here = node.rules.as_deref().is_some_and(|rules| !rules.validations.is_empty());
    here || (node.name.is_none()
        && (node.properties().any(|(_, child)| has_rules(child))
            || node.items().is_some_and(has_rules)
            || node.additional().is_some_and(has_rules)))
}

/// The element of the old list that an element replaces: only those of maps by key can be told.
fn same_item<'a>(item: &Value, old: &'a Value, node: Node<'_>) -> Option<&'a Value> {
    let ListType::Map(keys) = node.list_type() else { return None };
    old.as_array()?
        .iter()
        .find(|other| keys.iter().all(|key| other.get(&**key) == item.get(&**key)))
}

fn check(rule: &Rule, context: &Context<'_>, value: &Value, path: &str) -> Option<FieldError> {
    let compiled = rule.compiled();
    let said = if rule.message.is_empty() {
        rule.text.trim().replace('\n', " ")
    } else {
        rule.message.clone()
    };
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        _ => "integer",
    };
    let failed = |why: String| {
        let detail = format!("{why} evaluating rule: {said}");
        Some(FieldError::invalid(path, &kind.into(), &detail))
    };
    let program = match &compiled.rule {
        Ok(program) => program,
        Err(error) => {
            let detail = format!("rule compile error: {error}");
            return Some(FieldError::invalid(path, &kind.into(), &detail));
        }
    };
    match program.execute(context) {
        Ok(Cel::Bool(true)) => None,
        Ok(Cel::Bool(false)) => Some(broken(rule, compiled, context, path)),
        Ok(_) => failed("cel expression must evaluate to a bool".to_owned()),
        // What is missing inside of a call is not told by the evaluator.
        Err(ExecutionError::MissingArgumentOrTarget) => match missing(&rule.text, value) {
            Some(key) => failed(format!("no such key: {key}")),
            None => failed("no such overload".to_owned()),
        },
        Err(error) => failed(error_text(&error)),
    }
}

/// The first field of `self` that an expression names and the object does not have.
fn missing<'a>(text: &'a str, value: &Value) -> Option<&'a str> {
    text.match_indices("self.").find_map(|(at, _)| {
        let rest = &text[at + 5..];
        let name = &rest
            [..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())];
        (!name.is_empty() && value.get(name).is_none()).then_some(name)
    })
}

fn broken(rule: &Rule, compiled: &Compiled, context: &Context<'_>, path: &str) -> FieldError {
    let computed = compiled.message.as_ref().and_then(|program| match program.execute(context) {
        Ok(Cel::String(text)) => {
            Some(text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\n'))
        }
        _ => None,
    });
    let text = computed.unwrap_or_else(|| {
        if rule.message.is_empty() {
            format!("failed rule: {}", rule.text.trim())
        } else {
            rule.message.clone()
        }
    });
    let field = format!("{path}{}", rule.field);
    let message = match rule.reason {
        Reason::Forbidden => format!("Forbidden: {text}"),
        Reason::Required => format!("Required value: {text}"),
        Reason::Duplicate => format!("Duplicate value: {text}"),
        _ => format!("Invalid value: {text}"),
    };
    FieldError { reason: rule.reason, field, message }
}

/// What went wrong, in the words of Kubernetes' evaluator.
fn error_text(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::IndexOutOfBounds(Cel::Int(at)) => format!("index out of bounds: {at}"),
        ExecutionError::NoSuchOverload => "no such overload".to_owned(),
        other => other.to_string(),
    }
}

fn to_cel(value: &Value, node: Node<'_>) -> Cel {
    let format = node.rules.as_deref().and_then(|rules| rules.format.as_deref());
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match (number.as_i64(), node.kind) {
            (_, Type::Number) | (None, _) => Cel::Float(number.as_f64().unwrap_or(0.0)),
            (Some(whole), _) => Cel::Int(whole),
        },
        Value::String(text) => match format {
            Some("date-time" | "datetime") => match chrono_time(text) {
                Some(time) => time,
                None => Cel::String(Arc::new(text.clone())),
            },
            _ => Cel::String(Arc::new(text.clone())),
        },
        Value::Array(items) => {
            let of = node.items();
            Cel::List(Arc::new(
                items
                    .iter()
                    .map(|item| of.map_or_else(|| plain(item), |of| to_cel(item, of)))
                    .collect(),
            ))
        }
        Value::Object(fields) => {
            let entries = fields.iter().map(|(name, value)| {
                let value =
                    node.field(name).map_or_else(|| plain(value), |child| to_cel(value, child));
                (escaped(name), value)
            });
            Cel::from(entries.collect::<std::collections::HashMap<String, Cel>>())
        }
    }
}

/// A value without a schema.
fn plain(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or(0.0)), Cel::Int)
        }
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(plain).collect())),
        Value::Object(fields) => Cel::from(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect::<std::collections::HashMap<String, Cel>>(),
        ),
    }
}

fn chrono_time(text: &str) -> Option<Cel> {
    // The evaluator makes its own times: no crate for dates is named here.
    let mut context = Context::default();
    context.add_variable_from_value("text", text.to_owned());
    Program::compile("timestamp(text)").ok()?.execute(&context).ok()
}

/// A field's name as an expression writes it.
///
/// Source: k8s.io/apiserver `pkg/cel/escaping.go`.
fn escaped(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

/// Whether an expression names a variable.
fn names(text: &str, variable: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(variable).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + variable.len()..].chars().next();
        !before.is_some_and(|c| word(c) || c == '.') && !after.is_some_and(word)
    })
}
