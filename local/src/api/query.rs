//! The options in a request's query.
//!
//! Pure: text in, options out.
//! Source: k8s.io/apimachinery `pkg/apis/meta/v1` conversions and validation of options.

use serde_json::{Value, json};

use super::path::percent_decoded;
use super::status::{Cause, Refusal, Status};

/// The parameters of a query in their order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a raw query; pairs with escapes that are not valid are left out, as Go does.
    pub fn parse(raw: &str) -> Query {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            let mut rest = text.as_str();
            while let Some(at) = rest.find('%') {
                let hex = rest.get(at + 1..at + 3)?;
                u8::from_str_radix(hex, 16).ok()?;
                rest = &rest[at + 3..];
            }
            Some(percent_decoded(&text))
        };
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(key)?, decode(value)?))
            });
        Query(pairs.collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, or nothing.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// All values of a parameter.
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    }

    /// A flag: absent is none, and anything but `false` and `0` is true.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number; one that is not a number is refused as Go words it.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?;
        Ok(Some(number))
    }
}

/// What a create, replace or patch may be asked besides.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// What becomes of fields that the kind does not have.
    pub validation: FieldValidation,
    /// The manager's name, when given.
    pub field_manager: Option<String>,
    /// Conflicts of apply are won.
    pub force: Option<bool>,
}

/// What becomes of fields that the kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped.
    Ignore,
    /// Dropped and told.
    #[default]
    Warn,
    /// Refused.
    Strict,
}

/// Reads the options of a write; `kind` is what upstream calls them in errors, such as `CreateOptions`.
pub fn write_options(query: &Query, kind: &'static str) -> Result<WriteOptions, Refusal> {
    let mut causes = Vec::new();
    if kind == "PatchOptions" {
        // Checked where the content type is known.
    }
    let manager = query.get("fieldManager").filter(|manager| !manager.is_empty());
    if let Some(manager) = manager {
        causes.extend(manager_causes(manager));
    }
    let dry_run = dry_run(&query.all("dryRun"), &mut causes);
    let validation = match query.text("fieldValidation") {
        "Ignore" => FieldValidation::Ignore,
        "" | "Warn" => FieldValidation::Warn,
        "Strict" => FieldValidation::Strict,
        other => {
            causes.push(Cause::unsupported(
                "fieldValidation",
                &json!(other),
                &["", "Ignore", "Strict", "Warn"],
            ));
            FieldValidation::Warn
        }
    };
    if !causes.is_empty() {
        return Err(Status::invalid_options(kind, causes));
    }
    Ok(WriteOptions {
        dry_run,
        validation,
        field_manager: manager.map(str::to_owned),
        force: query.flag("force"),
    })
}

/// What is wrong with a manager's name.
pub fn manager_causes(manager: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if manager.len() > 128 {
        let text = "may not be more than 128 bytes";
        causes.push(Cause {
            reason: "FieldValueTooLong".into(),
            message: format!("Too long: {text}"),
            field: "fieldManager".into(),
        });
    }
    for (at, letter) in manager.char_indices() {
        if letter.is_control() || (letter != ' ' && letter.is_whitespace()) {
            let text = format!("invalid character U+{:04X} (at position {at})", letter as u32);
            causes.push(Cause::invalid("fieldManager", &json!(manager), &text));
        }
    }
    causes
}

fn dry_run(values: &[&str], causes: &mut Vec<Cause>) -> bool {
    if values.is_empty() {
        return false;
    }
    if values.iter().any(|value| *value != "All") {
        causes.push(Cause::unsupported("dryRun", &json!(values), &["All"]));
    }
    true
}

/// How a delete goes.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// Seconds between the wish and the end.
    pub grace: Option<i64>,
    /// What becomes of the dependents.
    pub propagation: Option<Propagation>,
    /// Only this object.
    pub uid: Option<String>,
    /// Only this state.
    pub revision: Option<String>,
    /// The older way to say `Orphan` or `Background`.
    pub orphan: Option<bool>,
}

/// What becomes of the dependents of what is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go first.
    Foreground,
    /// They go after.
    Background,
    /// They stay.
    Orphan,
}

/// Reads the options of a delete from its body, or from the query when there is none.
pub fn delete_options(query: &Query, body: Option<&Value>) -> Result<DeleteOptions, Refusal> {
    let mut causes = Vec::new();
    let mut options = DeleteOptions::default();
    let policy = match body {
        Some(body) => {
            let list: Vec<&str> = body["dryRun"]
                .as_array()
                .map(|list| list.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            options.dry_run = dry_run(&list, &mut causes);
            options.grace = body["gracePeriodSeconds"].as_i64();
            options.uid = body["preconditions"]["uid"].as_str().map(str::to_owned);
            options.revision = body["preconditions"]["resourceVersion"].as_str().map(str::to_owned);
            options.orphan = body["orphanDependents"].as_bool();
            body["propagationPolicy"].as_str().map(str::to_owned)
        }
        None => {
            options.dry_run = dry_run(&query.all("dryRun"), &mut causes);
            options.grace = query.number("gracePeriodSeconds")?;
            options.orphan = query.flag("orphanDependents");
            query.get("propagationPolicy").map(str::to_owned)
        }
    };
    options.propagation = match policy.as_deref() {
        None => None,
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Background") => Some(Propagation::Background),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(other) => {
            causes.push(Cause::unsupported(
                "propagationPolicy",
                &json!(other),
                &["Foreground", "Background", "Orphan", "nil"],
            ));
            None
        }
    };
    if options.orphan.is_some() && policy.is_some() {
        let text = "orphanDependents and deletionPropagation cannot be both set";
        causes.push(Cause::invalid("propagationPolicy", &json!(policy), text));
    }
    if !causes.is_empty() {
        return Err(Status::invalid_options("DeleteOptions", causes));
    }
    Ok(options)
}
