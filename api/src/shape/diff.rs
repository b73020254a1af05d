//! Tells the differences of two normalised values by Go's paths and in Go's notation.
//!
//! Pure: values only.
//! Source: knative.dev/pkg `kmp/reporters.go` (`ShortDiff`), google/go-cmp, and the `String` methods that
//! are generated for Kubernetes' types.

use serde_json::{Map, Value};

use super::{Field, Kind, Struct};
use crate::{go::quote, quantity::Amount};

/// The differences of two values of a structure, nothing when there is none. `root` is the Go type that
/// paths begin with.
pub fn short_diff(root: &str, shape: &'static Struct, old: &Value, new: &Value) -> String {
    let mut out = String::new();
    walk(&Kind::Struct(shape), Some(old), Some(new), &format!("{{{root}}}"), &mut out);
    out
}

/// The same of two values of any kind, either of which may be absent.
pub fn kind_diff(kind: &Kind, old: Option<&Value>, new: Option<&Value>) -> String {
    let mut out = String::new();
    walk(kind, old, new, &format!("{{{}}}", kind.go()), &mut out);
    out
}

fn given(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn walk(kind: &Kind, old: Option<&Value>, new: Option<&Value>, path: &str, out: &mut String) {
    let (old, new) = (given(old), given(new));
    match kind {
        Kind::Struct(shape) => fields(shape, old, new, path, out),
        Kind::Pointer(inner) => match (old, new) {
            (None, None) => {}
            (Some(_), Some(_)) if matches!(**inner, Kind::Struct(_)) => {
                walk(inner, old, new, path, out);
            }
            // Go marks what a pointer leads to with a star before the whole path.
            (Some(_), Some(_)) => walk(inner, old, new, &format!("*{path}"), out),
            _ => report(kind, Some(old), Some(new), path, out),
        },
        Kind::List(item) => match (old.and_then(Value::as_array), new.and_then(Value::as_array)) {
            (Some(old), Some(new)) => list(item, old, new, path, out),
            (None, None) => {}
            _ => report(kind, Some(old), Some(new), path, out),
        },
        Kind::Map(_, item) => {
            match (old.and_then(Value::as_object), new.and_then(Value::as_object)) {
                (Some(old), Some(new)) => {
                    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
                    keys.sort();
                    keys.dedup();
                    for key in keys {
                        let path = format!("{path}[{}]", quote(key));
                        match (old.get(key), new.get(key)) {
                            (Some(old), Some(new)) => {
                                walk(item, Some(old), Some(new), &path, out);
                            }
                            (Some(old), None) => report(item, Some(Some(old)), None, &path, out),
                            (_, new) => report(item, None, Some(new), &path, out),
                        }
                    }
                }
                (None, None) => {}
                _ => report(kind, Some(old), Some(new), path, out),
            }
        }
        Kind::IntOrString => {
            for (part, (old, new)) in
                ["Type", "IntVal", "StrVal"].into_iter().zip(parts(old).into_iter().zip(parts(new)))
            {
                if old != new {
                    out.push_str(&format!("{path}.{part}:\n\t-: \"{old}\"\n\t+: \"{new}\"\n"));
                }
            }
        }
        _ => {
            if !same_scalar(kind, old, new) {
                report(kind, Some(old), Some(new), path, out);
            }
        }
    }
}

fn fields(
    shape: &'static Struct,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &str,
    out: &mut String,
) {
    for Field { go, json, kind, .. } in shape.fields {
        let path = format!("{path}.{go}");
        if json.is_empty() {
            walk(kind, old, new, &path, out);
        } else {
            let get = |value: Option<&'_ Value>| value.and_then(|value| value.get(json)).cloned();
            walk(kind, get(old).as_ref(), get(new).as_ref(), &path, out);
        }
    }
}

/// Elements at both ends that are equal are passed over; the rest is paired in order.
fn list(item: &Kind, old: &[Value], new: &[Value], path: &str, out: &mut String) {
    let start = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let end = old[start..]
        .iter()
        .rev()
        .zip(new[start..].iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    for at in start..old_end.max(new_end) {
        match (at < old_end, at < new_end) {
            (true, true) => {
                walk(item, Some(&old[at]), Some(&new[at]), &format!("{path}[{at}]"), out);
            }
            (true, false) => {
                report(item, Some(Some(&old[at])), None, &format!("{path}[{at}->?]"), out);
            }
            _ => report(item, None, Some(Some(&new[at])), &format!("{path}[?->{at}]"), out),
        }
    }
}

fn same_scalar(kind: &Kind, old: Option<&Value>, new: Option<&Value>) -> bool {
    match kind {
        Kind::Quantity => amount(old) == amount(new),
        Kind::Any => old == new,
        _ => plain(kind, old, 0) == plain(kind, new, 0),
    }
}

fn amount(value: Option<&Value>) -> Option<Amount> {
    Amount::parse(value.and_then(Value::as_str).unwrap_or("0")).ok()
}

/// Writes one difference; a side that is `None` does not exist, one that is `Some(None)` is nil or zero.
fn report(
    kind: &Kind,
    old: Option<Option<&Value>>,
    new: Option<Option<&Value>>,
    path: &str,
    out: &mut String,
) {
    out.push_str(path);
    out.push_str(":\n");
    let is_structure = matches!(kind, Kind::Struct(_) | Kind::Quantity | Kind::IntOrString);
    for (sign, side) in [("-", old), ("+", new)] {
        let Some(value) = side else { continue };
        let text = plain(kind, value, 0);
        if is_structure {
            out.push_str(&format!("\t{sign}: {}: \"{text}\"\n", kind.go()));
        } else {
            out.push_str(&format!("\t{sign}: \"{text}\"\n"));
        }
    }
}

/// Go's `%+v`. What is behind a pointer inside another value is an address there and `0x…` here.
fn plain(kind: &Kind, value: Option<&Value>, depth: usize) -> String {
    let value = given(value);
    match kind {
        Kind::Text(_) | Kind::Url => value.and_then(Value::as_str).unwrap_or_default().to_string(),
        Kind::Bool => value.and_then(Value::as_bool).unwrap_or_default().to_string(),
        Kind::Int32 | Kind::Int64 | Kind::Int => {
            value.and_then(Value::as_i64).unwrap_or_default().to_string()
        }
        Kind::Quantity => {
            let (number, scale, format) = quantity(value);
            format!("{{i:{{value:{number} scale:{scale}}} d:{{Dec:<nil>}} s: Format:{format}}}")
        }
        Kind::IntOrString => {
            let [kind, int, text] = parts(value);
            format!("{{Type:{kind} IntVal:{int} StrVal:{text}}}")
        }
        Kind::Any => value.map_or("<nil>".to_string(), Value::to_string),
        Kind::List(item) => {
            let items: Vec<String> = value
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|value| plain(item, Some(value), depth + 1))
                .collect();
            format!("[{}]", items.join(" "))
        }
        Kind::Map(_, item) => {
            let pairs: Vec<String> = entries(value)
                .map(|(key, value)| format!("{key}:{}", plain(item, Some(value), depth + 1)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        Kind::Struct(shape) => {
            let fields: Vec<String> = shape
                .fields
                .iter()
                .map(|field| {
                    let value = inner(field, value);
                    format!("{}:{}", field.go, plain(&field.kind, value, depth + 1))
                })
                .collect();
            format!("{{{}}}", fields.join(" "))
        }
        Kind::Pointer(target) => match (value, *target) {
            (None, Kind::Struct(_)) if depth == 0 => "nil".to_string(),
            (None, _) => "<nil>".to_string(),
            (Some(value), Kind::Struct(shape)) if depth == 0 => generated(shape, Some(value)),
            _ => "0x…".to_string(),
        },
    }
}

/// What the generated `String` method of a pointer to a Kubernetes structure gives.
fn generated(shape: &Struct, value: Option<&Value>) -> String {
    format!("&{}", generated_value(shape, value))
}

fn generated_value(shape: &Struct, value: Option<&Value>) -> String {
    let mut out = format!("{}{{", shape.name());
    for field in shape.fields {
        let value = given(inner(field, value));
        let text = match &field.kind {
            Kind::Struct(shape) => generated_value(shape, value),
            Kind::Pointer(Kind::Struct(shape)) => {
                value.map_or("nil".to_string(), |value| generated(shape, Some(value)))
            }
            Kind::Pointer(Kind::Quantity) => {
                value.and_then(Value::as_str).unwrap_or("<nil>").to_string()
            }
            Kind::Pointer(target) => {
                value.map_or("nil".to_string(), |v| format!("*{}", plain(target, Some(v), 1)))
            }
            Kind::Any => value.map_or("nil".to_string(), Value::to_string),
            Kind::List(Kind::Struct(shape)) => {
                let items: String = value
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .map(|value| format!("{},", generated_value(shape, Some(value))))
                    .collect();
                format!("[]{}{{{items}}}", shape.name())
            }
            Kind::Map(go, Kind::Quantity) => {
                let pairs: String = entries(value)
                    .map(|(key, value)| {
                        let (number, scale, format) = quantity(Some(value));
                        format!("{key}: {{{{{number} {scale}}} {{<nil>}}  {format}}},")
                    })
                    .collect();
                format!("{}{{{pairs}}}", go.rsplit('.').next().unwrap_or(go))
            }
            Kind::Map(go, item) => {
                let pairs: String = entries(value)
                    .map(|(key, value)| format!("{key}: {},", plain(item, Some(value), 1)))
                    .collect();
                format!("{go}{{{pairs}}}")
            }
            Kind::IntOrString => {
                let [kind, int, text] = parts(value);
                format!("{{{kind} {int} {text}}}")
            }
            kind => plain(kind, value, 1),
        };
        out.push_str(&format!("{}:{text},", field.go));
    }
    out.push('}');
    out
}

/// The value of a field; that of an embedded structure is its holder's.
fn inner<'v>(field: &Field, value: Option<&'v Value>) -> Option<&'v Value> {
    if field.is_embedded() { value } else { value.and_then(|value| value.get(field.json)) }
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The parts of Go's `IntOrString`: which of the two it is, the number, the text.
fn parts(value: Option<&Value>) -> [String; 3] {
    match value {
        Some(Value::String(text)) => ["1".to_string(), "0".to_string(), text.clone()],
        Some(value) => {
            ["0".to_string(), value.as_i64().unwrap_or_default().to_string(), String::new()]
        }
        None => ["0".to_string(), "0".to_string(), String::new()],
    }
}

/// How Go keeps a quantity: a number, its power of ten, and the form in which it was written.
fn quantity(value: Option<&Value>) -> (i64, i32, &'static str) {
    let text = value.and_then(Value::as_str).unwrap_or("0");
    let digits_end =
        text.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let number: i64 = digits.parse().unwrap_or_default();
    let scale = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        "" => 0,
        _ if suffix.ends_with('i') => {
            return (Amount::parse(text).map_or(0, Amount::value), 0, "BinarySI");
        }
        _ => {
            let exponent = suffix.trim_start_matches(['e', 'E']).parse().unwrap_or_default();
            return (number, exponent, "DecimalExponent");
        }
    };
    (number, scale, "DecimalSI")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shape::{
        normal::{Unknown, normal},
        serving::{REVISION_SPEC, REVISION_TEMPLATE},
    };

    #[track_caller]
    fn check(old: Value, new: Value, wanted: &str) {
        let full = |value: &Value| {
            normal(&REVISION_SPEC, "spec", value, Unknown::Ignored).expect("types are right")
        };
        assert_eq!(short_diff("v1.RevisionSpec", &REVISION_SPEC, &full(&old), &full(&new)), wanted);
    }

    #[test]
    fn differences_are_told_as_upstream_does() {
        check(
            json!({"containers": [], "containerConcurrency": 0}),
            json!({"containers": [], "containerConcurrency": 5}),
            "*{v1.RevisionSpec}.ContainerConcurrency:\n\t-: \"0\"\n\t+: \"5\"\n",
        );
        check(
            json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}),
            json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "2"},
                {"name": "B", "value": "1"}]}]}),
            "{v1.RevisionSpec}.PodSpec.Containers[0].Env[0].Value:\n\t-: \"1\"\n\t+: \"2\"\n\
             {v1.RevisionSpec}.PodSpec.Containers[0].Env[?->1]:\n\
             \t+: v1.EnvVar: \"{Name:B Value:1 ValueFrom:<nil>}\"\n",
        );
        check(
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}),
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}]}),
            "{v1.RevisionSpec}.PodSpec.Containers[0].Resources.Limits[\"cpu\"]:\n\
             \t-: resource.Quantity: \"{i:{value:1 scale:0} d:{Dec:<nil>} s: Format:DecimalSI}\"\n\
             \t+: resource.Quantity: \"{i:{value:500 scale:-3} d:{Dec:<nil>} s: Format:DecimalSI}\"\n",
        );
        check(json!({"containers": []}), json!({"containers": []}), "");
        check(
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1000m"}}}]}),
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}),
            "",
        );
    }

    #[test]
    fn what_pointers_lead_to_is_told_in_full() {
        let old = json!({"spec": {"containers": [{"name": "user-container", "readinessProbe":
            {"successThreshold": 1, "tcpSocket": {"port": 0}}}]}});
        let new = json!({"spec": {"containers": [{"name": ""}]}});
        assert_eq!(
            short_diff("*v1.RevisionTemplateSpec", &REVISION_TEMPLATE, &old, &new),
            "{*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].Name:\n\
             \t-: \"user-container\"\n\t+: \"\"\n\
             {*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].ReadinessProbe:\n\
             \t-: \"&Probe{ProbeHandler:ProbeHandler{Exec:nil,HTTPGet:nil,TCPSocket:&TCPSocketAction{\
             Port:{0 0 },Host:,},GRPC:nil,},InitialDelaySeconds:0,TimeoutSeconds:0,PeriodSeconds:0,\
             SuccessThreshold:1,FailureThreshold:0,TerminationGracePeriodSeconds:nil,}\"\n\
             \t+: \"nil\"\n"
        );
    }
}
