//! Applies by kubectl of objects that its client-side apply wrote: it takes over what it said there.
//!
//! Pure: values.
//! Source: k8s.io/apimachinery `pkg/util/managedfields/internal/lastappliedmanager.go`, `lastappliedupdater.go`.

use serde_json::Value;

use super::compare;
use super::managed::{self, Applier, Conflict, Error};
use super::set::Set;
use crate::json;
use crate::kinds::Kind;

/// Where kubectl's client-side apply keeps what it was told.
pub const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that takes over; whoever does not want it names another one.
const KUBECTL: &str = "kubectl";
/// The most that all annotations of an object may weigh: beyond it, this one is left out.
const ANNOTATIONS: usize = 256 * 1024;

/// As [`managed::apply`], but kubectl has no conflict about what it said by client-side apply, and the annotation
/// keeps telling what was applied last, so that the next client-side apply finds it.
pub fn apply(
    kind: &Kind,
    old: &Value,
    config: &Value,
    applier: &Applier<'_>,
) -> Result<Option<Value>, Error> {
    if applier.manager != KUBECTL {
        return managed::apply(kind, old, config, applier);
    }
    let applied = match managed::apply(kind, old, config, applier) {
        Err(Error::Conflicts(conflicts)) => {
            let foreign = foreign(conflicts, said_before(kind, old).unwrap_or_default());
            if !foreign.is_empty() {
                return Err(Error::Conflicts(foreign));
            }
            managed::apply(kind, old, config, &Applier { force: true, ..*applier })?
        }
        other => other?,
    };
    Ok(with_annotation(old, applied, config))
}

/// The conflicts that are about other fields than these.
fn foreign(conflicts: Vec<Conflict>, own: Set) -> Vec<Conflict> {
    let own = own.paths();
    conflicts.into_iter().filter(|conflict| !own.contains(&conflict.field)).collect()
}

/// The fields that client-side apply said last and nobody has changed since.
fn said_before(kind: &Kind, object: &Value) -> Option<Set> {
    let said = json::parse(annotation(object)?.as_bytes()).ok()?.value;
    if said["apiVersion"] != kind.api_version() {
        return None;
    }
    let node = Some(kind.schema().root());
    let fields = compare::fields(&said, node).ok()?;
    let since = compare::compare(&said, object, node);
    Some(fields.difference(&since.modified).difference(&since.added).difference(&since.removed))
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str().filter(|text| !text.is_empty())
}

/// Brings the annotation of an applied object up to date, if it has one.
fn with_annotation(old: &Value, applied: Option<Value>, config: &Value) -> Option<Value> {
    let now = applied.as_ref().unwrap_or(old);
    let Some(before) = annotation(now) else { return applied };
    let text = text_of(config);
    if before == text {
        return applied;
    }
    let mut object = applied.unwrap_or_else(|| old.clone());
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.insert(ANNOTATION.to_owned(), text.into());
        let weight =
            |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
        if annotations.iter().map(weight).sum::<usize>() > ANNOTATIONS {
            annotations.remove(ANNOTATION);
        }
    }
    Some(object)
}

/// What the annotation says of an applied object: all of it but the annotation, as Go writes JSON.
fn text_of(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config.pointer_mut("/metadata/annotations") {
        annotations.remove(ANNOTATION);
    }
    format!("{}\n", json::go_text(&config))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::{ANNOTATION, apply};
    use crate::apply::managed::{Applier, Error, on_update};
    use crate::kinds::{Kind, Registry};

    fn config_map() -> std::sync::Arc<Kind> {
        Registry::new().find("", "v1", "configmaps").unwrap()
    }

    fn config(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": data})
    }

    /// What client-side apply made of a configuration.
    fn made(data: Value) -> Value {
        let mut object = config(data);
        object["metadata"]["annotations"] = json!({ANNOTATION: object.to_string()});
        object["metadata"]["uid"] = "u".into();
        on_update(
            &config_map(),
            None,
            &mut object,
            "kubectl-client-side-apply",
            "",
            Timestamp::UNIX_EPOCH,
        );
        object
    }

    fn applied(object: &Value, data: Value, manager: &str) -> Result<Option<Value>, Vec<String>> {
        let applier =
            Applier { manager, subresource: "", force: false, now: Timestamp::UNIX_EPOCH };
        apply(&config_map(), object, &config(data), &applier).map_err(|error| match error {
            Error::Conflicts(conflicts) => conflicts.into_iter().map(|it| it.field).collect(),
            Error::Invalid(text) => vec![text],
        })
    }

    #[test]
    fn kubectl_takes_over_what_it_said_and_keeps_telling_what_it_says() {
        let object = made(json!({"k": "v1"}));
        let new = applied(&object, json!({"k": "v2 <b>"}), "kubectl").unwrap().unwrap();
        assert_eq!(new["data"], json!({"k": "v2 <b>"}));
        assert_eq!(
            new["metadata"]["annotations"][ANNOTATION],
            "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"v2 \\u003cb\\u003e\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"n\"}}\n"
        );
        assert_eq!(applied(&new, json!({"k": "v2 <b>"}), "kubectl"), Ok(None));
    }

    #[test]
    fn what_others_set_stays_a_conflict() {
        let object = made(json!({"k": "v1", "l": "w1"}));
        let other = applied(&object, json!({"k": "v2"}), "other");
        assert_eq!(other, Err(vec![".data.k".to_owned()]), "another manager takes nothing over");

        let mut edited = object.clone();
        edited["data"]["l"] = "mine".into();
        on_update(&config_map(), Some(&object), &mut edited, "edit", "", Timestamp::UNIX_EPOCH);
        let refused = applied(&edited, json!({"k": "v2", "l": "w2"}), "kubectl");
        assert_eq!(refused, Err(vec![".data.l".to_owned()]));

        let mut plain = object;
        plain["metadata"]["annotations"] = json!({});
        let refused = applied(&plain, json!({"k": "v2"}), "kubectl");
        assert_eq!(refused, Err(vec![".data.k".to_owned()]), "nothing tells who said it");
    }
}
