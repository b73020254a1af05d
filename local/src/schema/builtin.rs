//! The built-in types: their fields, their types and how their lists merge, from a generated table.
//!
//! Pure: each type is parsed when it is first walked, so that start-up and memory do not pay for kinds nobody uses.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::{ListType, Patch, Shape, Type};

/// The table. `local/tests/builtin_types.rs` writes it and says when it is stale.
///
/// A line without indent begins a type; the indented lines are its fields: `name[!] type facts`.
/// `!` marks a required field. Types: see `shape`. Facts: `~merge[:key]`, `~retainKeys`, `~atomic`,
/// `^` written even when empty, `?` an empty text counts, `0` zero does not.
const TABLE: &str = include_str!("builtin.txt");
/// The types of `metrics.k8s.io`, which upstream serves beside its own API, in the same form.
const USAGE: &str = include_str!("usage.txt");

/// Every built-in type by its full name. One per server: it holds only what has been walked.
pub struct Library {
    types: Vec<Entry>,
    names: HashMap<&'static str, u32>,
}

struct Entry {
    name: &'static str,
    text: &'static str,
    shape: OnceLock<Shape>,
}

impl Default for Library {
    fn default() -> Library {
        let mut types = Vec::new();
        let mut names = HashMap::new();
        for mut rest in [TABLE, USAGE] {
            while !rest.is_empty() {
                let end = next_type(rest);
                let (entry, tail) = rest.split_at(end);
                let (name, text) = entry.split_once('\n').unwrap_or((entry, ""));
                names.insert(name, types.len() as u32);
                types.push(Entry { name, text, shape: OnceLock::new() });
                rest = tail;
            }
        }
        Library { types, names }
    }
}

impl Library {
    /// No types at all: for schemas that name none.
    pub fn empty() -> Library {
        Library { types: Vec::new(), names: HashMap::new() }
    }

    /// The number of the type with that full name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// All full names, in the table's order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.types.iter().map(|entry| entry.name)
    }

    /// The shape of a type.
    pub(super) fn shape(&self, at: u32) -> &Shape {
        let entry = &self.types[at as usize];
        entry.shape.get_or_init(|| self.parse(entry))
    }

    fn parse(&self, entry: &Entry) -> Shape {
        let mut whole = Shape { kind: Type::Object, name: Some(entry.name), ..Shape::default() };
        for line in entry.text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some(code)) = (words.next(), words.next()) else { continue };
            if name == "=" {
                // The type is an alias: all of it is said by one code.
                whole = Shape { name: Some(entry.name), ..self.shape_of(code) };
                continue;
            }
            if name == "~atomic" {
                whole.atomic = true;
                continue;
            }
            let (name, required) = match name.strip_suffix('!') {
                Some(name) => (name, true),
                None => (name, false),
            };
            let mut field = self.shape_of(code);
            field.empty_counts = field.kind != Type::String;
            words.for_each(|fact| add_fact(&mut field, fact));
            if required {
                whole.required.push(name.into());
            }
            whole.properties.push((name.into(), field));
        }
        // The table is sorted; lookups rely on it, so do not trust the file.
        whole.properties.sort_by(|a, b| a.0.cmp(&b.0));
        whole
    }

    /// `s b i l n x q t u y a o`, `[T` lists (`[=T` sets, `[(key,…)T` maps), `{T` maps (`{!T` atomic), `@Name`.
    fn shape_of(&self, code: &str) -> Shape {
        let scalar = |kind| Shape { kind, ..Shape::default() };
        let (first, rest) = code.split_at(1);
        match first {
            "s" => scalar(Type::String),
            "b" => scalar(Type::Boolean),
            "i" => scalar(Type::Int32),
            "l" => scalar(Type::Int64),
            "n" => scalar(Type::Number),
            "x" => scalar(Type::IntOrString),
            "q" => scalar(Type::Quantity),
            "t" => scalar(Type::Time),
            "u" => scalar(Type::MicroTime),
            "y" => scalar(Type::Bytes),
            "o" => Shape { kind: Type::Object, preserve_unknown: true, ..Shape::default() },
            "[" => {
                let (list_type, item) = if let Some(item) = rest.strip_prefix('=') {
                    (ListType::Set, item)
                } else if let Some(keyed) = rest.strip_prefix('(') {
                    let (keys, item) = keyed.split_once(')').unwrap_or(("", keyed));
                    (ListType::Map(keys.split(',').map(Into::into).collect()), item)
                } else {
                    (ListType::Atomic, rest)
                };
                let items = Some(Box::new(self.shape_of(item)));
                Shape { kind: Type::Array, list_type, items, ..Shape::default() }
            }
            "{" => {
                let (atomic, value) = match rest.strip_prefix('!') {
                    Some(value) => (true, value),
                    None => (false, rest),
                };
                let additional = Some(Box::new(self.shape_of(value)));
                Shape { kind: Type::Object, atomic, additional, ..Shape::default() }
            }
            "@" => Shape { kind: Type::Object, refers: self.find(rest), ..Shape::default() },
            _ => Shape { preserve_unknown: true, ..Shape::default() },
        }
    }
}

fn next_type(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find('\n') {
        from += at + 1;
        if !text[from..].starts_with(' ') {
            return from;
        }
    }
    text.len()
}

fn add_fact(field: &mut Shape, fact: &str) {
    let Patch { merge, retain_keys, merge_key } = &mut field.patch;
    match fact.split_once(':').unwrap_or((fact, "")) {
        ("~merge", key) => {
            *merge = true;
            *merge_key = (!key.is_empty()).then(|| key.into());
        }
        ("~retainKeys", _) => *retain_keys = true,
        ("~atomic", _) => field.atomic = true,
        ("^", _) => field.always = true,
        ("*", _) => field.optional = true,
        ("?", _) => field.empty_counts = true,
        ("0", _) => field.empty_counts = false,
        _ => {}
    }
}
