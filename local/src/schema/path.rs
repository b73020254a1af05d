//! JSONPath as `kubectl` and printer columns write it: `.spec.list[0]`, `.a[?(@.b=="c")].d`, `['a.b']`, `..x`.
//!
//! Pure: a path and a value in, the places found out. Work is bounded by the path's length and [`MOST_VISITS`].
//! Source: k8s.io/client-go `util/jsonpath`.

use std::cmp::Ordering;

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct Path(Vec<Step>);

/// A path that is longer is refused: paths come from whoever may define kinds.
const LONGEST: usize = 1024;
/// Beyond this many places the search ends with what it has: `..` and `*` multiply.
const MOST_VISITS: usize = 100_000;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// Start, end, stride; negative ones count from the end.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    All,
    Descend,
    Union(Vec<Step>),
    Filter(Side, Option<(Compare, Side)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Side {
    Path(Path),
    Value(Value),
}

/// Reads a path, in braces or not. The error says where it stopped making sense.
pub fn parse(text: &str) -> Result<Path, String> {
    if text.len() > LONGEST {
        return Err(format!("path of {} bytes is longer than {LONGEST}", text.len()));
    }
    let inner = text.trim();
    let inner = inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(inner);
    let mut reader = Reader { text: inner, at: 0 };
    let path = reader.path()?;
    if reader.at < inner.len() {
        return Err(format!("unrecognized character in {text} at {}", reader.at));
    }
    Ok(path)
}

impl Path {
    /// Every place the path leads to, in document order.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut visits = 0;
        self.walk(value, &mut visits)
    }

    fn walk<'a>(&self, value: &'a Value, visits: &mut usize) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.walk(value, &mut next, visits);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn walk<'a>(&self, value: &'a Value, next: &mut Vec<&'a Value>, visits: &mut usize) {
        *visits += 1;
        if *visits > MOST_VISITS {
            return;
        }
        match self {
            Step::Field(name) => next.extend(value.get(name.as_str())),
            Step::Index(at) => {
                if let Some(items) = value.as_array() {
                    let at = if *at < 0 { *at + items.len() as i64 } else { *at };
                    next.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
                }
            }
            Step::Slice(start, end, stride) => {
                let Some(items) = value.as_array() else { return };
                let length = items.len() as i64;
                let place = |at: i64| if at < 0 { at + length } else { at }.clamp(0, length);
                let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
                let mut at = start;
                while at < end {
                    next.extend(items.get(at as usize));
                    at += (*stride).max(1);
                }
            }
            Step::All => match value {
                Value::Array(items) => next.extend(items),
                Value::Object(fields) => next.extend(fields.values()),
                _ => {}
            },
            Step::Descend => {
                next.push(value);
                let children: Vec<&Value> = match value {
                    Value::Array(items) => items.iter().collect(),
                    Value::Object(fields) => fields.values().collect(),
                    _ => Vec::new(),
                };
                for child in children {
                    self.walk(child, next, visits);
                }
            }
            Step::Union(steps) => steps.iter().for_each(|step| step.walk(value, next, visits)),
            Step::Filter(left, right) => {
                for item in value.as_array().into_iter().flatten() {
                    let keep = match right {
                        None => !left.values(item, visits).is_empty(),
                        Some((compare, right)) => {
                            let (left, right) =
                                (left.values(item, visits), right.values(item, visits));
                            matches!((left.first(), right.first()), (Some(a), Some(b)) if compare.holds(a, b))
                        }
                    };
                    if keep {
                        next.push(item);
                    }
                }
            }
        }
    }
}

impl Side {
    fn values<'a>(&'a self, item: &'a Value, visits: &mut usize) -> Vec<&'a Value> {
        match self {
            Side::Path(path) => path.walk(item, visits),
            Side::Value(value) => vec![value],
        }
    }
}

impl Compare {
    fn holds(self, a: &Value, b: &Value) -> bool {
        let order = match (a, b) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b))
            }
            (a, b) => (a == b).then_some(Ordering::Equal),
        };
        match self {
            Compare::Equal => order == Some(Ordering::Equal),
            Compare::Unequal => order != Some(Ordering::Equal),
            Compare::Less => order == Some(Ordering::Less),
            Compare::Greater => order == Some(Ordering::Greater),
            Compare::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Compare::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn space(&mut self) {
        while self.rest().starts_with(' ') {
            self.at += 1;
        }
    }

    /// Steps until something that is no step.
    fn path(&mut self) -> Result<Path, String> {
        let mut steps = Vec::new();
        if !matches!(self.rest().chars().next(), None | Some('.' | '[' | '@' | '$' | ')' | ' ')) {
            // A bare name at the start, as `kubectl -o jsonpath` takes it inside of braces.
            steps.push(Step::Field(self.name()));
        }
        if !self.take("$") {
            self.take("@");
        }
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                if !self.rest().starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.take(".") {
                if self.rest().is_empty() || self.rest().starts_with([' ', ')', '[']) {
                    continue;
                }
                steps.push(self.field()?);
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(Path(steps));
            }
        }
    }

    fn field(&mut self) -> Result<Step, String> {
        if self.take("*") {
            return Ok(Step::All);
        }
        let name = self.name();
        if name.is_empty() {
            Err(format!("name expected in {} at {}", self.text, self.at))
        } else {
            Ok(Step::Field(name))
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut escaped = false;
        let rest = &self.text[self.at..];
        for c in rest.chars() {
            if !escaped
                && matches!(c, '.' | '[' | ']' | ' ' | ')' | '=' | '!' | '<' | '>' | '{' | '}')
            {
                break;
            }
            self.at += c.len_utf8();
            if !escaped && c == '\\' {
                escaped = true;
                continue;
            }
            escaped = false;
            name.push(c);
        }
        name
    }

    fn bracket(&mut self) -> Result<Step, String> {
        if self.take("?(") {
            let left = self.side()?;
            self.space();
            let operators = [
                ("==", Compare::Equal),
                ("!=", Compare::Unequal),
                ("<=", Compare::LessOrEqual),
                (">=", Compare::GreaterOrEqual),
                ("<", Compare::Less),
                (">", Compare::Greater),
            ];
            let compare =
                operators.into_iter().find(|(text, _)| self.take(text)).map(|(_, compare)| compare);
            let right = match compare {
                Some(compare) => Some((compare, self.side()?)),
                None => None,
            };
            self.space();
            if !self.take(")]") {
                return Err("unterminated filter".to_owned());
            }
            return Ok(Step::Filter(left, right));
        }
        let mut steps = Vec::new();
        loop {
            self.space();
            steps.push(self.element()?);
            self.space();
            if self.take("]") {
                break;
            }
            if !self.take(",") {
                return Err("unterminated array".to_owned());
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
    }

    fn element(&mut self) -> Result<Step, String> {
        if self.take("*") {
            return Ok(Step::All);
        }
        for mark in ['\'', '"'] {
            if self.rest().starts_with(mark) {
                return self.quoted(mark).map(Step::Field);
            }
        }
        let mut parts = vec![self.number()?];
        while self.take(":") {
            parts.push(self.number()?);
        }
        match parts.as_slice() {
            [Some(at)] => Ok(Step::Index(*at)),
            [start, end] => Ok(Step::Slice(*start, *end, 1)),
            [start, end, stride] => Ok(Step::Slice(*start, *end, stride.unwrap_or(1))),
            _ => Err(format!("invalid array index in {} at {}", self.text, self.at)),
        }
    }

    fn number(&mut self) -> Result<Option<i64>, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        let digits = rest[..end].to_owned();
        self.at += end;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| format!("invalid array index {digits}"))
    }

    fn quoted(&mut self, mark: char) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        let mut escaped = false;
        let rest = &self.text[self.at..];
        for c in rest.chars() {
            self.at += c.len_utf8();
            if escaped {
                text.push(c);
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == mark {
                return Ok(text);
            } else {
                text.push(c);
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn side(&mut self) -> Result<Side, String> {
        self.space();
        match self.rest().chars().next() {
            Some(mark @ ('\'' | '"')) => self.quoted(mark).map(|text| Side::Value(text.into())),
            Some('@' | '.' | '$') => self.path().map(Side::Path),
            _ => {
                let word = self.name();
                let number = word
                    .parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| word.parse::<f64>().map(Value::from));
                match (word.as_str(), number) {
                    ("true", _) => Ok(Side::Value(true.into())),
                    ("false", _) => Ok(Side::Value(false.into())),
                    (_, Ok(number)) => Ok(Side::Value(number)),
                    _ => Err(format!("unrecognized operand {word:?} in {}", self.text)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn leads_where_kubectl_would_go() {
        let value = json!({
            "spec": {"s": "x", "l": ["p", "q", "r"], "m": {"k": "v", "a.b/c": "dotted"}},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 3}, {"type": "Other", "status": "False", "n": 7},
            ]},
        });
        for (path, found) in [
            (".spec.s", json!(["x"])),
            ("{.spec.s}", json!(["x"])),
            (".spec.l[0]", json!(["p"])),
            (".spec.l[-1]", json!(["r"])),
            (".spec.l[0:2]", json!(["p", "q"])),
            (".spec.l[0,2]", json!(["p", "r"])),
            (".spec.l[*]", json!(["p", "q", "r"])),
            (".spec.l[7]", json!([])),
            (".spec.nope.deep", json!([])),
            (".spec.m.a\\.b/c", json!(["dotted"])),
            (".spec.m['a.b/c']", json!(["dotted"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type!='Ready')].status", json!(["False"])),
            (".status.conditions[?(@.n>5)].type", json!(["Other"])),
            (".status.conditions[?(@.absent)].type", json!([])),
            ("..status", json!([value["status"], "True", "False"])),
        ] {
            let places: Vec<Value> =
                parse(path).unwrap().find(&value).into_iter().cloned().collect();
            assert_eq!(Value::Array(places), found, "{path}");
        }
        for bad in [".a[", ".a[?(@.b==]", ".a['x", ".a[x]", ".a]", ".a[?(@.b==c)]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_whatever_the_path(text in "[a-z.@$*?()'\"=<>!,:\\[\\]{}0-9\\\\ -]{0,60}") {
            if let Ok(path) = parse(&text) {
                path.find(&json!({"a": [{"b": 1}, [2, 3]], "c": {"d": {"a": 1}}}));
            }
        }
    }
}
