//! Filters of events.
//!
//! Pure: values only. Source: knative/eventing `pkg/apis/eventing/v1/trigger_validation.go`.

use api::{
    cesql::Expression,
    field_error::{FieldError, FieldErrors},
};
use serde_json::Value;

use crate::admission::look::{get, list, text};

/// Everything that is wrong with a list of filters. As upstream's, a path has the indices of the filters after its own,
/// too.
pub fn validate(filters: &[Value]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, filter) in filters.iter().enumerate() {
        errors.also(one(filter));
        errors = errors.via_index(index);
    }
    errors
}

fn one(filter: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let maps = ["exact", "prefix", "suffix"];
    let lists = ["all", "any"];
    let map_count = maps.iter().filter(|field| says_something(filter, field)).count();
    let list_count = lists.iter().filter(|field| !list(filter, field).is_empty()).count();
    let not = get(filter, "not");
    let expression = text(filter, "cesql");
    let others = usize::from(not.is_some()) + usize::from(!expression.is_empty());
    if map_count + list_count + others > 1 {
        let why = "multiple dialects found, filters can have only one dialect set";
        errors.push(FieldError::new(why, &[]));
    }
    for field in maps {
        errors.also(attributes(filter, field));
    }
    for field in lists {
        errors.also(validate(list(filter, field)).via(field));
    }
    if let Some(not) = not {
        errors.also(one(not).via("not"));
    }
    if !expression.is_empty()
        && let Err(why) = Expression::parse(expression)
    {
        let error = FieldError::invalid_value(expression, "cesql");
        // Upstream says no more than that there is an error.
        errors.push(error.with_details(format!("parse error: syntax error: {why}")));
    }
    errors
}

fn says_something(filter: &Value, field: &str) -> bool {
    get(filter, field).and_then(Value::as_object).is_some_and(|map| !map.is_empty())
}

/// Everything that is wrong with the names of attributes that are the keys of the map in `field`.
pub fn attributes(holder: &Value, field: &str) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for name in holder.get(field).and_then(Value::as_object).into_iter().flatten().map(|it| it.0) {
        let mut letters = name.bytes();
        let is_right = letters.next().is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
        if !is_right {
            let why = "Attribute name must start with a letter and can only contain lowercase \
                       alphanumeric";
            errors.push(FieldError::invalid_key(name, "").with_details(why).via_key(name));
        }
    }
    errors.via(field)
}
