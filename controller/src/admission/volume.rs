//! Which volumes a revision may have.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/serving/{fieldmask,k8s_validation}.go`.

use std::collections::HashSet;

use api::{
    field_error::{FieldError, FieldErrors},
    go::quote,
    names::dns_1123_label_errors,
    quantity::Amount,
};
use config::{
    Config,
    features::{Features, Flag},
};
use serde_json::Value;

use super::look::{disallowed, get, has, list, says, text};

/// Everything that is wrong with volumes, of which containers mount `mounted`.
pub fn validate(config: &Config, volumes: &[Value], mounted: &HashSet<&str>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut seen = HashSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let name = text(volume, "name");
        let mut wrong = FieldErrors::none();
        if !seen.insert(name) {
            let why = format!("duplicate volume name {}", quote(name));
            wrong.push(FieldError::new(why, &["name"]));
        }
        if !mounted.contains(name) {
            let why = format!("volume with name {} not mounted", quote(name));
            wrong.push(FieldError::new(why, &["name"]));
        }
        wrong.also(one(&config.features, volume));
        errors.also(wrong.via_index(index));
    }
    errors
}

/// Kinds of volumes that need a flag: the flag, the field, and what upstream calls them.
fn gated(features: &Features) -> [(Flag, &'static str, &'static str); 6] {
    [
        (features.podspec_volumes_emptydir, "emptyDir", "EmptyDir"),
        (features.podspec_persistent_volume_claim, "persistentVolumeClaim", ""),
        (features.podspec_volumes_hostpath, "hostPath", "HostPath"),
        (features.podspec_volumes_csi, "csi", "CSI"),
        (features.podspec_volumes_ephemeral, "ephemeral", "Ephemeral"),
        (features.podspec_volumes_image, "image", "Image"),
    ]
}

fn one(features: &Features, volume: &Value) -> FieldErrors {
    let name = text(volume, "name");
    let mut errors = claim(features, volume);
    for (flag, field, called) in gated(features) {
        if !called.is_empty() && has(volume, field) && flag != Flag::Enabled {
            let why =
                format!("{called} volume support is disabled, but found {called} volume {name}");
            errors.push(FieldError::new(why, &[]));
        }
    }
    // As upstream, which forgets what it found so far of a volume with a bad name.
    if name.is_empty() {
        errors = FieldError::missing(&["name"]).into();
    } else if !dns_1123_label_errors(name).is_empty() {
        errors = FieldError::invalid_value(name, "name").into();
    }
    let mut allowed = vec!["name", "secret", "configMap", "projected"];
    allowed.extend(gated(features).iter().filter(|(flag, ..)| flag.is_on()).map(|(_, f, _)| *f));
    errors.also(disallowed(volume, &allowed));

    for kind in ["secret", "configMap"] {
        if let Some(source) = get(volume, kind) {
            errors.also(items(source));
        }
    }
    if let Some(projected) = get(volume, "projected") {
        for (index, source) in list(projected, "sources").iter().enumerate() {
            errors.also(projection(source).via_field_index("projected", index));
        }
    }
    if let Some(directory) = get(volume, "emptyDir") {
        errors.also(empty_directory(directory).via("emptyDir"));
    }
    if let Some(image) = get(volume, "image") {
        errors.also(image_volume(image).via("image"));
    }

    let found: Vec<&str> = [
        "secret",
        "configMap",
        "projected",
        "emptyDir",
        "persistentVolumeClaim",
        "hostPath",
        "csi",
        "ephemeral",
        "image",
    ]
    .into_iter()
    .filter(|kind| has(volume, kind))
    .collect();
    if found.is_empty() {
        let mut kinds = vec!["secret", "configMap", "projected"];
        kinds.extend(
            gated(features).iter().filter(|(flag, ..)| *flag == Flag::Enabled).map(|(_, f, _)| *f),
        );
        errors.push(FieldError::missing_one_of(&kinds));
    } else if found.len() > 1 {
        errors.push(FieldError::multiple_one_of(&found));
    }
    errors
}

fn claim(features: &Features, volume: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let Some(claim) = get(volume, "persistentVolumeClaim") else { return errors };
    let name = text(claim, "claimName");
    if features.podspec_persistent_volume_claim != Flag::Enabled {
        let why = format!(
            "Persistent volume claim support is disabled, but found persistent volume claim {name}"
        );
        errors.push(FieldError::new(why, &[]));
    }
    if !says(claim, "readOnly") && features.podspec_persistent_volume_write != Flag::Enabled {
        let why = format!(
            "Persistent volume write support is disabled, but found persistent volume claim {name} \
             that is not read-only"
        );
        errors.push(FieldError::new(why, &[]));
    }
    errors
}

fn missing(value: &Value, fields: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for field in fields {
        if text(value, field).is_empty() {
            errors.push(FieldError::missing(&[field]));
        }
    }
    errors
}

fn items(source: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, item) in list(source, "items").iter().enumerate() {
        errors.also(missing(item, &["key", "path"]).via_field_index("items", index));
    }
    errors
}

fn projection(source: &Value) -> FieldErrors {
    const KINDS: [&str; 4] = ["secret", "configMap", "serviceAccountToken", "downwardAPI"];
    let mut errors = FieldErrors::from(disallowed(source, &KINDS));
    for kind in KINDS {
        let Some(part) = get(source, kind) else { continue };
        let wrong = match kind {
            "serviceAccountToken" => missing(part, &["path"]),
            "downwardAPI" => downward(part),
            _ => {
                let mut wrong = missing(part, &["name"]);
                wrong.also(items(part));
                wrong
            }
        };
        errors.also(wrong.via(kind));
    }
    match KINDS.iter().filter(|kind| has(source, kind)).count() {
        0 => errors.push(FieldError::missing_one_of(&KINDS)),
        1 => {}
        _ => {
            let found: Vec<&str> = KINDS.into_iter().filter(|kind| has(source, kind)).collect();
            errors.push(FieldError::multiple_one_of(&found));
        }
    }
    errors
}

fn downward(source: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, file) in list(source, "items").iter().enumerate() {
        let mut wrong = FieldErrors::none();
        match (has(file, "fieldRef"), has(file, "resourceFieldRef")) {
            (false, false) => {
                wrong.push(FieldError::missing_one_of(&["fieldRef", "resourceFieldRef"]));
            }
            (true, true) => wrong.push(FieldError::new(
                "Within a single item, cannot set both",
                &["resourceFieldRef", "fieldRef"],
            )),
            _ => {}
        }
        wrong.also(missing(file, &["path"]));
        errors.also(wrong.via_field_index("items", index));
    }
    errors
}

fn empty_directory(directory: &Value) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let medium = text(directory, "medium");
    if !["", "Memory"].contains(&medium) {
        errors.push(FieldError::invalid_value(medium, "medium"));
    }
    let limit = text(directory, "sizeLimit");
    if Amount::parse(limit).is_ok_and(Amount::is_negative) {
        errors.push(FieldError::invalid_value(limit, "sizeLimit"));
    }
    errors
}

fn image_volume(image: &Value) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed(image, &["reference", "pullPolicy"]));
    errors.also(missing(image, &["reference"]));
    let policy = text(image, "pullPolicy");
    if !["", "IfNotPresent", "Always", "Never"].contains(&policy) {
        errors.push(FieldError::invalid_value(policy, "pullPolicy"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(volumes: Value, wanted: &[&str]) {
        let volumes = volumes.as_array().expect("a list");
        let mounted = volumes.iter().map(|volume| text(volume, "name")).collect();
        let errors = validate(&Config::default(), volumes, &mounted);
        let text = errors.text().unwrap_or_default();
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn mistakes_are_found() {
        check(json!([{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]), &[]);
        check(
            json!([{"name": "A_", "emptyDir": {"medium": "Tape"}}]),
            &["invalid value: A_: [0].name", "invalid value: Tape: [0].emptyDir.medium"],
        );
        check(
            json!([{"name": "v", "projected": {"sources": [{}, {"secret": {"name": ""}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {}, "resourceFieldRef": {}}]}}]}}]),
            &[
                "Within a single item, cannot set both: [0].projected[2].downwardAPI.items[0].fieldRef, \
                 [0].projected[2].downwardAPI.items[0].resourceFieldRef",
                "expected exactly one, got neither: [0].projected[0].configMap, \
                 [0].projected[0].downwardAPI, [0].projected[0].secret, \
                 [0].projected[0].serviceAccountToken",
                "missing field(s): [0].projected[1].secret.name",
            ],
        );
        check(
            json!([{"name": "v", "secret": {"items": [{"key": "k", "path": ""}]}}, {"name": "v", "secret": {}}]),
            &["duplicate volume name \"v\": [1].name", "missing field(s): [0].items[0].path"],
        );
    }
}
