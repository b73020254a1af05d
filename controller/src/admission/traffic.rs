//! Where requests go.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/serving/v1/route_{defaults,validation}.go`.

use std::collections::HashMap;

use api::{
    field_error::{FieldError, FieldErrors},
    go::quote,
    names::{dns_label_errors, qualified_name_errors},
};
use serde_json::{Value, json};

use super::look::{flag, list, list_mut, number, text};

/// Whose revisions a target can be.
#[derive(Clone, Copy, PartialEq)]
pub enum Targets {
    /// Those of the Service itself: targets name no Configuration.
    Own,
    /// Anyone's.
    Named,
}

/// Fills in the traffic of `spec`.
pub fn default(spec: &mut Value, targets: Targets) {
    if targets == Targets::Own && list(spec, "traffic").is_empty() {
        spec["traffic"] = json!([{"percent": 100, "latestRevision": true}]);
    }
    for target in list_mut(spec, "traffic") {
        if flag(target, "latestRevision").is_none() {
            target["latestRevision"] = text(target, "revisionName").is_empty().into();
        }
        if number(target, "percent").is_none() {
            target["percent"] = 0.into();
        }
    }
}

/// Everything that is wrong with the traffic of `spec`.
pub fn validate(spec: &Value, targets: Targets) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut sum: i64 = 0;
    for (index, target) in list(spec, "traffic").iter().enumerate() {
        errors.also(one(target, targets).via_index(index));
        sum = sum.wrapping_add(number(target, "percent").unwrap_or_default());
        let tag = text(target, "tag");
        if tag.is_empty() {
            continue;
        }
        let wrong = dns_label_errors(tag);
        if !wrong.is_empty() {
            let why = format!("not a DNS 1035 label: [{}]", wrong.join(" "));
            errors.push(FieldError::invalid_value(why, "").via_index(index).via("tag"));
        }
        match seen.get(tag) {
            Some(first) => errors.push(FieldError::new(
                format!("Multiple definitions for {}", quote(tag)),
                &[&format!("[{index}].tag"), &format!("[{first}].tag")],
            )),
            None => drop(seen.insert(tag, index)),
        }
    }
    if sum != 100 {
        errors.push(FieldError::new(format!("Traffic targets sum to {sum}, want 100"), &[""]));
    }
    errors.via("traffic")
}

fn one(target: &Value, targets: Targets) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let revision = text(target, "revisionName");
    let configuration = text(target, "configurationName");
    if let Some(latest) = flag(target, "latestRevision")
        && latest != revision.is_empty()
    {
        errors.push(FieldError::new(
            format!("may not set revisionName {} when latestRevision is {latest}", quote(revision)),
            &["latestRevision"],
        ));
    }
    let qualified = |name: &str, field: &str| {
        let wrong = qualified_name_errors(name);
        (!wrong.is_empty())
            .then(|| FieldError::invalid_key(name, field).with_details(wrong.join(", ")))
    };
    if targets == Targets::Own && !configuration.is_empty() {
        errors.push(FieldError::disallowed(&["configurationName"]));
    } else if !revision.is_empty() && !configuration.is_empty() {
        errors.push(FieldError::multiple_one_of(&["revisionName", "configurationName"]));
    } else if !revision.is_empty() {
        errors.also(qualified(revision, "revisionName"));
    } else if !configuration.is_empty() {
        errors.also(qualified(configuration, "configurationName"));
    } else if targets == Targets::Named {
        errors.push(FieldError::missing_one_of(&["revisionName", "configurationName"]));
    }
    if let Some(percent) = number(target, "percent")
        && !(0..=100).contains(&percent)
    {
        errors.push(FieldError::out_of_bounds(percent, 0, 100, "percent"));
    }
    if !text(target, "url").is_empty() {
        errors.push(FieldError::disallowed(&["url"]));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(traffic: Value, targets: Targets, wanted: &[&str]) {
        let mut spec = json!({ "traffic": traffic });
        default(&mut spec, targets);
        let text = validate(&spec, targets).text().unwrap_or_default();
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn mistakes_are_found() {
        check(json!([]), Targets::Own, &[]);
        check(json!([]), Targets::Named, &["Traffic targets sum to 0, want 100: traffic"]);
        check(
            json!([{"tag": "t", "percent": 60}, {"tag": "t", "percent": 40}]),
            Targets::Own,
            &["Multiple definitions for \"t\": traffic[0].tag, traffic[1].tag"],
        );
        check(
            json!([{"percent": 100, "url": "http://x", "configurationName": "c"}]),
            Targets::Own,
            &["must not set the field(s): traffic[0].configurationName, traffic[0].url"],
        );
        check(
            json!([{"percent": 100}]),
            Targets::Named,
            &[
                "expected exactly one, got neither: traffic[0].configurationName, traffic[0].revisionName",
            ],
        );
        check(
            json!([{"percent": 100, "revisionName": "a", "latestRevision": true}]),
            Targets::Own,
            &[
                "may not set revisionName \"a\" when latestRevision is true: traffic[0].latestRevision",
            ],
        );
    }
}
