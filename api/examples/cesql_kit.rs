//! Runs the conformance cases of CloudEvents SQL, which the specification publishes, and tells which fail.
//!
//! `cargo run -p api --example cesql_kit -- FOLDER`, with the folder `cesql/cesql_tck` of a checkout of
//! `cloudevents/spec`. Ends with 1 when a case fails, or when there is none.

use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};

use api::cesql::{Attributes, Computed, Error, Expression, Value};
use serde::Deserialize;

#[derive(Deserialize)]
struct Kit {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    expression: String,
    result: Option<serde_json::Value>,
    error: Option<String>,
    event: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    event_overrides: BTreeMap<String, serde_json::Value>,
}

/// The event of a case.
struct Event(BTreeMap<String, serde_json::Value>);

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        Some(match self.0.get(name)? {
            serde_json::Value::Bool(truth) => Value::Boolean(*truth),
            serde_json::Value::Number(number) => Value::Integer(number.as_i64()? as i32),
            other => Value::String(other.as_str()?),
        })
    }
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!(
            "name the folder of the cases: cesql/cesql_tck of a checkout of cloudevents/spec"
        );
        return ExitCode::FAILURE;
    };
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("read the folder {folder}: {error}"))
        .map(|entry| entry.expect("a folder lists its files").path())
        .filter(|it| it.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        for case in read(&file) {
            match run(&case) {
                Ok(()) => passed += 1,
                Err(why) => {
                    failed += 1;
                    println!("{}: {}: {}: {why}", file.display(), case.name, case.expression);
                }
            }
        }
    }
    println!("{passed} of {} cases hold", passed + failed);
    if failed == 0 && passed != 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(file: &Path) -> Vec<Case> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    let kit: Kit = serde_saphyr::from_str(&text)
        .unwrap_or_else(|error| panic!("read the cases of {}: {error}", file.display()));
    kit.tests
}

/// Runs one case; the reason if it does not hold. What it says nothing of may be anything.
fn run(case: &Case) -> Result<(), String> {
    let mut attributes = case.event.clone().unwrap_or_else(|| {
        [("specversion", "1.0"), ("id", "1"), ("source", "/kit"), ("type", "kit")]
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into()
    });
    attributes.extend(case.event_overrides.clone());
    let event = Event(attributes);
    let wanted_error = case.error.as_deref();
    let expression = match Expression::parse(&case.expression) {
        Ok(expression) => expression,
        Err(_) if wanted_error == Some("parse") => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let (value, error) = match expression.evaluate(&event) {
        Ok(value) => (value, None),
        Err(failure) => (failure.value, Some(kind(&failure.error))),
    };
    if error != wanted_error {
        return Err(format!("fails as {error:?}, not as {wanted_error:?}"));
    }
    let value: serde_json::Value = match value {
        Computed::String(text) => text.into(),
        Computed::Boolean(truth) => truth.into(),
        Computed::Integer(number) => number.into(),
    };
    match &case.result {
        Some(wanted) if *wanted != value => Err(format!("comes to {value}, not to {wanted}")),
        _ => Ok(()),
    }
}

fn kind(error: &Error<'_>) -> &'static str {
    match error {
        Error::Math(_) => "math",
        Error::Cast { .. } => "cast",
        Error::MissingAttribute(_) => "missingAttribute",
        Error::MissingFunction { .. } => "missingFunction",
        Error::Function { .. } => "functionEvaluation",
        Error::Work => "generic",
    }
}
