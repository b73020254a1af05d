//! What must hold for the volumes of a pod.
//!
//! Pure: values in, errors out.
//! Source: Kubernetes' `pkg/apis/core/validation/validation.go`, `ValidateVolumes`.

use serde_json::Value;

use super::container_check::{VOLUME_FIELDS, field_ref};
use super::resource_check;
use crate::kinds::names;
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{has, int, list, text};

/// The kinds of volumes in the order in which Kubernetes looks for them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "configMap",
    "azureFile",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "cinder",
];

/// Whether a volume has one source: others cannot be mounted.
pub(super) fn is_one(volume: &Value) -> bool {
    SOURCES.iter().filter(|kind| has(volume, kind)).count() == 1
}

/// The volumes of a pod spec.
pub(super) fn volumes(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        errors.extend(source(volume, &path));
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
            continue;
        }
        for wrong in names::label(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &wrong));
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
    }
    errors
}

fn source(volume: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut found = 0;
    for kind in SOURCES.iter().filter(|kind| has(volume, kind)) {
        let (given, path) = (&volume[*kind], format!("{path}.{kind}"));
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        match *kind {
            "emptyDir" if has(given, "sizeLimit") => {
                errors.extend(resource_check::not_negative(
                    &given["sizeLimit"],
                    &format!("{path}.sizeLimit"),
                ));
            }
            "hostPath" => {
                let place = text(given, "path");
                if place.is_empty() {
                    errors.push(FieldError::required(format!("{path}.path"), ""));
                } else if place.split('/').any(|part| part == "..") {
                    errors.push(FieldError::invalid(
                        format!("{path}.path"),
                        &place.into(),
                        "must not contain '..'",
                    ));
                }
            }
            "secret" => {
                named(&mut errors, given, "secretName", &path);
                errors.extend(mode_and_items(given, &path));
            }
            "configMap" => {
                named(&mut errors, given, "name", &path);
                errors.extend(mode_and_items(given, &path));
            }
            "persistentVolumeClaim" => named(&mut errors, given, "claimName", &path),
            "downwardAPI" => errors.extend(downward(given, &path)),
            "projected" => errors.extend(projected(given, &path)),
            _ => {}
        }
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    errors
}

fn named(errors: &mut Vec<FieldError>, source: &Value, field: &str, path: &str) {
    if text(source, field).is_empty() {
        errors.push(FieldError::required(format!("{path}.{field}"), ""));
    }
}

fn mode(errors: &mut Vec<FieldError>, object: &Value, field: &str, path: &str) {
    if let Some(mode) = int(object, field)
        && !(0..=0o777).contains(&mode)
    {
        errors.push(FieldError::invalid(
            format!("{path}.{field}"),
            &mode.into(),
            "must be a number between 0 and 0777 (octal), both inclusive",
        ));
    }
}

fn mode_and_items(source: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    mode(&mut errors, source, "defaultMode", path);
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = format!("{path}.items[{index}]");
        if text(item, "key").is_empty() {
            errors.push(FieldError::required(format!("{path}.key"), ""));
        }
        errors.extend(local_path(item, &path));
        mode(&mut errors, item, "mode", &path);
    }
    errors
}

/// A path that stays inside of the volume.
fn local_path(item: &Value, path: &str) -> Vec<FieldError> {
    let place = text(item, "path");
    let subject = format!("{path}.path");
    if place.is_empty() {
        return vec![FieldError::required(subject, "")];
    }
    let mut errors = Vec::new();
    if place.starts_with('/') {
        errors.push(FieldError::invalid(subject.clone(), &place.into(), "must be a relative path"));
    }
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(subject.clone(), &place.into(), "must not contain '..'"));
    }
    if place.starts_with("..") && !place.starts_with("../") && place != ".." {
        errors.push(FieldError::invalid(subject, &place.into(), "must not start with '..'"));
    }
    errors
}

fn downward(source: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    mode(&mut errors, source, "defaultMode", path);
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = format!("{path}.items[{index}]");
        errors.extend(local_path(item, &path));
        mode(&mut errors, item, "mode", &path);
        match (has(item, "fieldRef"), has(item, "resourceFieldRef")) {
            (true, true) => errors.push(FieldError::invalid(
                path,
                &"resource".into(),
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            )),
            (true, false) => errors.extend(field_ref(
                &item["fieldRef"],
                &format!("{path}.fieldRef"),
                VOLUME_FIELDS,
            )),
            (false, true) => {}
            (false, false) => {
                errors.push(FieldError::required(
                    path,
                    "one of fieldRef and resourceFieldRef is required",
                ));
            }
        }
    }
    errors
}

fn projected(source: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    mode(&mut errors, source, "defaultMode", path);
    for (index, part) in list(source, "sources").iter().enumerate() {
        let path = format!("{path}.sources[{index}]");
        let mut found = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let given = &part[kind];
            if given.is_null() {
                continue;
            }
            found += 1;
            let path = format!("{path}.{kind}");
            if found > 1 {
                errors.push(FieldError::forbidden(
                    path,
                    "may not specify more than 1 volume type per source",
                ));
                continue;
            }
            match kind {
                "secret" | "configMap" => {
                    named(&mut errors, given, "name", &path);
                    errors.extend(mode_and_items(given, &path));
                }
                "downwardAPI" => errors.extend(downward(given, &path)),
                "serviceAccountToken" => {
                    let seconds = int(given, "expirationSeconds").unwrap_or(0);
                    if seconds < 600 {
                        errors.push(FieldError::invalid(
                            format!("{path}.expirationSeconds"),
                            &seconds.into(),
                            "may not specify a duration less than 10 minutes",
                        ));
                    }
                    named(&mut errors, given, "path", &path);
                }
                _ => {}
            }
        }
        if found == 0 {
            errors.push(FieldError::required(path, "must specify a volume type"));
        }
    }
    errors
}
