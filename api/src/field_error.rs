//! Errors of fields, rendered as Knative renders them: clients compare the text.
//!
//! Pure: values only.
//! Source: knative.dev/pkg `apis/field_error.go`.

use std::{collections::BTreeMap, fmt::Display};

use crate::go::quote;

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The object is refused.
    Error,
    /// The object is taken, and its author told.
    Warning,
}

/// What is wrong with some fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub message: String,
    /// The fields, each from the object that was checked; empty means that object itself.
    pub paths: Vec<String>,
    /// What else there is to say; empty is nothing.
    pub details: String,
    pub level: Level,
}

/// All that is wrong with an object; nothing, when it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldError {
    /// Any message about some fields.
    pub fn new(message: impl Into<String>, paths: &[&str]) -> FieldError {
        FieldError {
            message: message.into(),
            paths: paths.iter().map(|path| (*path).to_string()).collect(),
            details: String::new(),
            level: Level::Error,
        }
    }

    /// These fields must be there.
    pub fn missing(paths: &[&str]) -> FieldError {
        FieldError::new("missing field(s)", paths)
    }

    /// These fields must not be there.
    pub fn disallowed(paths: &[&str]) -> FieldError {
        FieldError::new("must not set the field(s)", paths)
    }

    /// One of these fields must be there.
    pub fn missing_one_of(paths: &[&str]) -> FieldError {
        FieldError::new("expected exactly one, got neither", paths)
    }

    /// Only one of these fields may be there.
    pub fn multiple_one_of(paths: &[&str]) -> FieldError {
        FieldError::new("expected exactly one, got both", paths)
    }

    /// The value of a field is none that it can have.
    pub fn invalid_value(value: impl Display, path: &str) -> FieldError {
        FieldError::new(format!("invalid value: {value}"), &[path])
    }

    /// A key of a map is none that it can have.
    pub fn invalid_key(key: &str, path: &str) -> FieldError {
        FieldError::new(format!("invalid key name {}", quote(key)), &[path])
    }

    /// The value of a field is below or above what it can be.
    pub fn out_of_bounds(
        value: impl Display,
        low: impl Display,
        high: impl Display,
        path: &str,
    ) -> FieldError {
        FieldError::new(format!("expected {low} <= {value} <= {high}"), &[path])
    }

    /// The same error with more to say.
    pub fn with_details(mut self, details: impl Into<String>) -> FieldError {
        self.details = details.into();
        self
    }

    /// The same error as a warning.
    pub fn as_warning(mut self) -> FieldError {
        self.level = Level::Warning;
        self
    }

    /// The same error, seen from the object that holds the checked one in `field`; an index is `[0]`,
    /// a key `[key]`.
    pub fn via(mut self, field: &str) -> FieldError {
        for path in &mut self.paths {
            *path = flatten(&[field, path]);
        }
        self
    }

    /// [`FieldError::via`] an element of a list.
    pub fn via_index(self, index: usize) -> FieldError {
        self.via(&format!("[{index}]"))
    }

    /// [`FieldError::via`] the value of a key.
    pub fn via_key(self, key: &str) -> FieldError {
        self.via(&format!("[{key}]"))
    }

    /// The error as one text.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}", self.message, self.paths.join(", "));
        if !self.details.is_empty() {
            text.push('\n');
            text.push_str(&self.details);
        }
        text
    }
}

impl FieldErrors {
    /// Nothing wrong.
    pub fn none() -> FieldErrors {
        FieldErrors::default()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one error.
    pub fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// Adds other errors.
    pub fn also(&mut self, others: impl Into<FieldErrors>) {
        self.0.extend(others.into().0);
    }

    /// The same errors, seen from the object that holds the checked one in `field`.
    pub fn via(self, field: &str) -> FieldErrors {
        FieldErrors(self.0.into_iter().map(|error| error.via(field)).collect())
    }

    /// [`FieldErrors::via`] an element of a list.
    pub fn via_index(self, index: usize) -> FieldErrors {
        self.via(&format!("[{index}]"))
    }

    /// [`FieldErrors::via`] an element of the list `field`.
    pub fn via_field_index(self, field: &str, index: usize) -> FieldErrors {
        self.via_index(index).via(field)
    }

    /// The errors of one level with the same message and details made one each, sorted by message and
    /// details, their paths sorted and each there once.
    pub fn merged(&self, level: Level) -> Vec<FieldError> {
        let mut merged: BTreeMap<(&str, &str), FieldError> = BTreeMap::new();
        for error in self.0.iter().filter(|error| error.level == level) {
            if error.message.is_empty() {
                continue;
            }
            let entry = merged
                .entry((&error.message, &error.details))
                .or_insert_with(|| FieldError { paths: Vec::new(), ..error.clone() });
            for path in &error.paths {
                if !entry.paths.contains(path) {
                    entry.paths.push(path.clone());
                }
            }
        }
        merged
            .into_values()
            .map(|mut error| {
                error.paths.sort();
                error
            })
            .collect()
    }

    /// The errors as one text, a line or more each; nothing when there is none.
    pub fn text(&self) -> Option<String> {
        let lines: Vec<String> = self.merged(Level::Error).iter().map(FieldError::text).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The warnings, one text each.
    pub fn warnings(&self) -> Vec<String> {
        self.merged(Level::Warning).iter().map(FieldError::text).collect()
    }
}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> Self {
        FieldErrors(vec![error])
    }
}

impl From<Option<FieldError>> for FieldErrors {
    fn from(error: Option<FieldError>) -> Self {
        FieldErrors(error.into_iter().collect())
    }
}

/// Joins parts of a path: an index or key that follows a field is appended to it without a dot.
fn flatten(path: &[&str]) -> String {
    let mut flat = String::new();
    for part in path.iter().flat_map(|part| part.split('.')) {
        if part.is_empty() {
            continue;
        }
        let is_index = part.starts_with('[') && part.ends_with(']');
        if !flat.is_empty() && !is_index {
            flat.push('.');
        }
        flat.push_str(part);
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_merged_sorted_and_rendered() {
        let mut errors = FieldErrors::none();
        errors.push(FieldError::missing(&["name"]).via_index(1).via("env").via("spec"));
        errors.push(FieldError::missing(&["image"]).via("spec"));
        errors.push(FieldError::missing(&["image"]).via("spec"));
        errors.push(FieldError::invalid_value("x", "").via("spec.kind").with_details("so there"));
        errors.push(FieldError::new("careful", &["a"]).as_warning());
        assert_eq!(
            errors.text().expect("there are errors"),
            "invalid value: x: spec.kind\nso there\nmissing field(s): spec.env[1].name, spec.image"
        );
        assert_eq!(errors.warnings(), ["careful: a"]);
        assert_eq!(FieldErrors::none().text(), None);
    }

    #[test]
    fn paths_are_joined_as_people_write_them() {
        for (parts, path) in [
            (&["spec", "containers", "[0]", "image"][..], "spec.containers[0].image"),
            (&["a.b", "", "c"], "a.b.c"),
            (&["[0]", "x"], "[0].x"),
            (&["traffic", "tag", "[0]"], "traffic.tag[0]"),
        ] {
            assert_eq!(flatten(parts), path);
        }
    }
}
