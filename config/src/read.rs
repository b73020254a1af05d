//! Reads the values of a ConfigMap by key, with the errors of upstream's parsers.
//!
//! Pure: data in, values out. Source: knative.dev/pkg `configmap/parse.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use api::{go, quantity::Amount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::Error;

/// The data of a ConfigMap. Each function leaves `value` as it is when the key is absent.
#[derive(Clone, Copy)]
pub(crate) struct Data<'a>(pub &'a BTreeMap<String, String>);

impl<'a> Data<'a> {
    pub fn get(self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn text(self, key: &str, value: &mut String) {
        if let Some(text) = self.get(key) {
            *value = text.trim().to_string();
        }
    }

    pub fn bool(self, key: &str, value: &mut bool) -> Result<(), Error> {
        self.read(key, value, go::parse_bool)
    }

    pub fn i32(self, key: &str, value: &mut i32) -> Result<(), Error> {
        self.read(key, value, |text| go::parse_int(text, 32).map(|wide| wide as i32))
    }

    pub fn i64(self, key: &str, value: &mut i64) -> Result<(), Error> {
        self.read(key, value, |text| go::parse_int(text, 64))
    }

    pub fn u32(self, key: &str, value: &mut u32) -> Result<(), Error> {
        self.read(key, value, |text| go::parse_uint(text, 32).map(|wide| wide as u32))
    }

    pub fn f64(self, key: &str, value: &mut f64) -> Result<(), Error> {
        self.read(key, value, go::parse_float)
    }

    /// A duration in nanoseconds, which may be below 0: callers check before they keep it.
    pub fn nanos(self, key: &str, value: &mut i64) -> Result<(), Error> {
        self.read(key, value, go::parse_duration)
    }

    /// Names between commas, without the space around them.
    pub fn set(self, key: &str, value: &mut BTreeSet<String>) {
        if let Some(text) = self.get(key) {
            *value = text.split(',').map(|name| name.trim().to_string()).collect();
        }
    }

    pub fn quantity(self, key: &str, value: &mut Option<Quantity>) -> Result<(), Error> {
        let Some(text) = self.get(key) else { return Ok(()) };
        let amount = Amount::parse(text)
            .map_err(|why| Error::new(format!("failed to parse {}: {why}", go::quote(key))))?;
        *value = Some(Quantity(amount.canonical()));
        Ok(())
    }

    fn read<T>(
        self,
        key: &str,
        value: &mut T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(), Error> {
        let Some(text) = self.get(key) else { return Ok(()) };
        *value = parse(text)
            .map_err(|why| Error::new(format!("failed to parse {}: {why}", go::quote(key))))?;
        Ok(())
    }
}

/// Nanoseconds of `span`, to be read over.
pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// The span of `nanos`, which the caller has checked not to be below 0.
pub(crate) fn span(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Reads YAML as upstream does, by way of JSON; empty text is `null`.
pub(crate) fn yaml(text: &str) -> Result<serde_json::Value, Error> {
    if text.trim().is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|why| {
        // Text that ends inside brackets: the mistake of hand-written selectors, told in upstream's words.
        let opened = text.matches(['{', '[']).count();
        let closed = text.matches(['}', ']']).count();
        let why = if opened > closed {
            format!("line {}: did not find expected node content", text.trim_end().lines().count())
        } else {
            why.to_string()
        };
        Error::new(format!("error converting YAML to JSON: yaml: {why}"))
    })
}

/// Reads `{selector: {label: value}, type: …}`, as upstream decodes it into the Go type `go`; `null` is
/// empty. Labels may have values that look like something else than text.
pub(crate) fn selection(value: &serde_json::Value, go: &str) -> Result<Selection, Error> {
    use serde_json::Value;
    let wrong = |value: &Value, target: String| {
        let what = match value {
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            _ => "object",
        };
        Err(Error::new(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go {target}"
        )))
    };
    let name = go.rsplit('.').next().unwrap_or(go);
    let mut read = Selection::default();
    let fields = match value {
        Value::Null => return Ok(read),
        Value::Object(fields) => fields,
        other => return wrong(other, format!("value of type {go}")),
    };
    match fields.get("selector") {
        None | Some(Value::Null) => {}
        Some(Value::Object(labels)) => {
            for (label, value) in labels {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    Value::Bool(_) | Value::Number(_) => value.to_string(),
                    other => {
                        return wrong(
                            other,
                            format!("struct field {name}.selector of type string"),
                        );
                    }
                };
                read.selector.insert(label.clone(), text);
            }
        }
        Some(other) => {
            let target = format!("struct field {name}.selector of type map[string]string");
            return wrong(other, target);
        }
    }
    if let Some(kind) = fields.get("type").and_then(Value::as_str) {
        read.kind = kind.to_string();
    }
    Ok(read)
}

/// What [`selection`] read.
#[derive(Default)]
pub(crate) struct Selection {
    pub selector: BTreeMap<String, String>,
    pub kind: String,
}
