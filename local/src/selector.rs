//! Label and field selectors.
//!
//! Pure: text and labels in, answers out.
//! Source: k8s.io/apimachinery `pkg/labels/selector.go`, `pkg/fields/selector.go`.

mod parse;

pub use parse::parse_labels;

/// Requirements that labels must all meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<Requirement>);

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What it must be.
    pub operator: Operator,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of these.
    In(Vec<String>),
    /// Absent, or none of these.
    NotIn(Vec<String>),
    /// There.
    Exists,
    /// Not there.
    Absent,
    /// A number above this.
    Above(i64),
    /// A number below this.
    Below(i64),
}

impl Labels {
    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels, found by `get`, match.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
                }
                Operator::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|wanted| wanted != value))
                }
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::Above(bound) => value
                    .and_then(|value| value.parse::<i64>().ok())
                    .is_some_and(|value| value > *bound),
                Operator::Below(bound) => value
                    .and_then(|value| value.parse::<i64>().ok())
                    .is_some_and(|value| value < *bound),
            }
        })
    }

    /// Whether sorted labels match.
    pub fn match_sorted(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        self.matches(|key| {
            labels.binary_search_by(|(name, _)| (**name).cmp(key)).ok().map(|at| &*labels[at].1)
        })
    }
}

/// Requirements on fields: the field, whether it must equal, and the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, bool, String)>);

impl Fields {
    /// Reads a field selector.
    pub fn parse(text: &str) -> Result<Fields, String> {
        let mut fields = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((key, equal, value)) = split_term(&term) else {
                return Err(format!("invalid selector: {text:?}; can't understand {term:?}")
                    .replace("invalid selector", "invalid selector"));
            };
            fields.push((key.to_owned(), equal, unescape(value)?));
        }
        Ok(Fields(fields))
    }

    /// The value that a field must equal, when there is one.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, equal, _)| key == field && *equal)
            .map(|(_, _, value)| value.as_str())
    }
}

fn split_terms(text: &str) -> Vec<String> {
    let (mut terms, mut term, mut escaped) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            _ if escaped => {
                escaped = false;
                term.push(letter);
            }
            '\\' => {
                escaped = true;
                term.push(letter);
            }
            ',' => terms.push(std::mem::take(&mut term)),
            _ => term.push(letter),
        }
    }
    terms.push(term);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let mut escaped = false;
    for (at, letter) in term.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        let rest = &term[at..];
        match letter {
            '\\' => escaped = true,
            _ if rest.starts_with("!=") => return Some((&term[..at], false, &rest[2..])),
            _ if rest.starts_with("==") => return Some((&term[..at], true, &rest[2..])),
            '=' => return Some((&term[..at], true, &rest[1..])),
            _ => {}
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    if !value.contains(['\\', ',', '=']) {
        return Ok(value.to_owned());
    }
    let mut out = String::new();
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(letter @ ('\\' | ',' | '=')) => out.push(letter),
                Some(letter) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{letter}"
                    ));
                }
                None => {
                    return Err("invalid field selector: invalid escape sequence: \\".to_owned());
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {letter}"
                ));
            }
            _ => out.push(letter),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Fields, parse_labels};

    #[track_caller]
    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let selector = parse_labels(selector).unwrap();
        let found = selector
            .matches(|key| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value));
        assert_eq!(found, expected, "{selector:?} {labels:?}");
    }

    #[test]
    fn labels_match() {
        check("", &[], true);
        check("app=a", &[("app", "a")], true);
        check("app==a,tier=x", &[("app", "a"), ("tier", "x")], true);
        check("app=a,tier=x", &[("app", "a"), ("tier", "y")], false);
        check("app!=a", &[], true);
        check("app in (a, b)", &[("app", "b")], true);
        check("app notin (a)", &[("app", "a")], false);
        check("app notin (a)", &[], true);
        check("!app", &[("app", "")], false);
        check("app", &[("app", "")], true);
        check("app=", &[("app", "")], true);
        check("n>5", &[("n", "6")], true);
        check("n<5", &[("n", "6")], false);
        check("a in (),b", &[("b", "")], false);
        check("a in (,x)", &[("a", "")], true);
    }

    #[track_caller]
    fn refuse(selector: &str, expected: &str) {
        assert_eq!(parse_labels(selector).unwrap_err(), expected, "{selector}");
    }

    #[test]
    fn bad_selectors_are_explained_as_upstream_does() {
        refuse("a=b=c", "found '=', expected: ',' or 'end of string'");
        refuse("a in", "unable to parse requirement: found '' expected: '('");
        refuse("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier");
        refuse("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        refuse("(a)", "found '(', expected: !, identifier, or 'end of string'");
        refuse("a,,b", "found ',', expected: identifier after ','");
        refuse("=b", "found '=', expected: !, identifier, or 'end of string'");
        refuse(
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        );
        refuse("!a=b", "found '=', expected: ',' or 'end of string'");
        refuse(",", "found ',', expected: !, identifier, or 'end of string'");
    }

    #[test]
    fn fields_are_read() {
        let fields = Fields::parse(r"metadata.name=a,spec.x!=b\,c").unwrap();
        assert_eq!(
            fields.0,
            [("metadata.name".into(), true, "a".into()), ("spec.x".into(), false, "b,c".into())]
        );
        assert!(Fields::parse("a").is_err());
    }
}
