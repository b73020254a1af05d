//! Security contexts of pods and containers.
//!
//! Pure: values only.
//! Source: knative/serving `pkg/apis/serving/{fieldmask,k8s_validation}.go`, `v1/revision_defaults.go`.

use api::field_error::{FieldError, FieldErrors};
use config::{
    Config,
    features::{Flag, SecurePodDefaults},
};
use serde_json::{Map, Value, json};

use super::{
    look::{disallowed, flag, get, has, list, list_mut, number, text},
    pod::check_id,
};

/// Restricts what containers may do, where that is the default and they do not say otherwise.
pub fn default(config: &Config, spec: &mut Value) {
    let secure = config.features.secure_pod_defaults;
    if secure == SecurePodDefaults::Disabled {
        return;
    }
    let pod = get(spec, "securityContext").cloned().unwrap_or_default();
    let pod_has_profile =
        get(&pod, "seccompProfile").is_some_and(|profile| !text(profile, "type").is_empty());
    for field in ["containers", "initContainers"] {
        for container in list_mut(spec, field) {
            let low_port = list(container, "ports")
                .iter()
                .any(|port| number(port, "containerPort").unwrap_or_default() < 1024);
            if !has(container, "securityContext") {
                container["securityContext"] = Value::Object(Map::new());
            }
            let context = &mut container["securityContext"];
            if !has(context, "allowPrivilegeEscalation") {
                context["allowPrivilegeEscalation"] = false.into();
            }
            if !pod_has_profile {
                if !has(context, "seccompProfile") {
                    context["seccompProfile"] = Value::Object(Map::new());
                }
                if text(&context["seccompProfile"], "type").is_empty() {
                    context["seccompProfile"]["type"] = "RuntimeDefault".into();
                }
            }
            if !has(context, "capabilities") {
                context["capabilities"] = json!({"drop": ["ALL"]});
                if low_port {
                    context["capabilities"]["add"] = json!(["NET_BIND_SERVICE"]);
                }
            }
            if secure == SecurePodDefaults::Enabled
                && !has(&pod, "runAsNonRoot")
                && !has(context, "runAsNonRoot")
            {
                context["runAsNonRoot"] = true.into();
            }
        }
    }
}

/// Everything that is wrong with the context of a pod.
pub fn validate_pod(config: &Config, context: Option<&Value>) -> FieldErrors {
    let Some(context) = context else { return FieldErrors::none() };
    let mut allowed = Vec::new();
    if config.features.podspec_securitycontext.is_on() {
        allowed.extend([
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "fsGroup",
            "supplementalGroups",
            "seccompProfile",
        ]);
    } else if config.features.secure_pod_defaults != SecurePodDefaults::Disabled
        && let Some(profile) = get(context, "seccompProfile")
        && ["RuntimeDefault", "Unconfined"].contains(&text(profile, "type"))
        && !has(profile, "localhostProfile")
    {
        allowed.push("seccompProfile");
    }
    let mut errors = FieldErrors::from(disallowed(context, &allowed));
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        errors.also(check_id(context, field));
    }
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        let group = group.as_i64().unwrap_or_default();
        if !(0..=i64::from(i32::MAX)).contains(&group) {
            let error = FieldError::out_of_bounds(group, 0, i32::MAX, "");
            errors.push(error.via_index(index).via("supplementalGroups"));
        }
    }
    errors
}

/// Everything that is wrong with the context of a container.
pub fn validate_container(config: &Config, context: Option<&Value>) -> FieldErrors {
    let Some(context) = context else { return FieldErrors::none() };
    let mut allowed = vec![
        "capabilities",
        "readOnlyRootFilesystem",
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "allowPrivilegeEscalation",
        "seccompProfile",
    ];
    if flag(context, "privileged") == Some(false) {
        allowed.push("privileged");
    }
    let mut errors = FieldErrors::from(disallowed(context, &allowed));
    if let Some(capabilities) = get(context, "capabilities") {
        let mut allowed = vec!["drop"];
        let features = &config.features;
        let only_binds = capabilities.get("add") == Some(&json!(["NET_BIND_SERVICE"]));
        if features.containerspec_addcapabilities == Flag::Enabled
            || (features.secure_pod_defaults != SecurePodDefaults::Disabled && only_binds)
        {
            allowed.push("add");
        }
        errors.also(FieldErrors::from(disallowed(capabilities, &allowed)).via("capabilities"));
    }
    for field in ["runAsUser", "runAsGroup"] {
        errors.also(check_id(context, field));
    }
    errors
}

/// Warns of what Kubernetes allows by default and a container does not forbid.
pub fn warn(config: &Config, spec: &Value, container: &Value) -> FieldErrors {
    let mut warnings = FieldErrors::none();
    if config.features.secure_pod_defaults != SecurePodDefaults::Disabled {
        return warnings;
    }
    let none = Value::Null;
    let pod = get(spec, "securityContext").unwrap_or(&none);
    let context = get(container, "securityContext").unwrap_or(&none);
    let mut insecure = |field: &str| {
        let why = "Kubernetes default value is insecure, Knative may default this to secure in a \
                   future release";
        warnings.push(FieldError::new(why, &[field]).as_warning());
    };
    if !has(pod, "runAsNonRoot") && !has(context, "runAsNonRoot") {
        insecure("runAsNonRoot");
    }
    if !has(context, "allowPrivilegeEscalation") {
        insecure("allowPrivilegeEscalation");
    }
    let profiles = [get(context, "seccompProfile"), get(pod, "seccompProfile")];
    if profiles.iter().all(Option::is_none) {
        insecure("seccompProfile");
    } else if profiles.into_iter().flatten().all(|profile| text(profile, "type").is_empty()) {
        insecure("seccompProfile.type");
    }
    match get(context, "capabilities") {
        None => insecure("capabilities"),
        Some(capabilities) if !has(capabilities, "drop") => insecure("capabilities.drop"),
        Some(capabilities) => {
            if list(capabilities, "drop").first().and_then(Value::as_str) == Some("all") {
                let warning = FieldError::invalid_value("all", "capabilities.drop");
                warnings.push(warning.with_details("Must be spelled as 'ALL'").as_warning());
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_defaults_are_filled_in() {
        let mut config = Config::default();
        config.features.secure_pod_defaults = SecurePodDefaults::Enabled;
        let mut spec = json!({"containers": [{"ports": [{"containerPort": 80}]}, {"securityContext":
            {"runAsNonRoot": false, "capabilities": {"drop": ["X"]}}}]});
        default(&config, &mut spec);
        assert_eq!(
            spec,
            json!({"containers": [
                {"ports": [{"containerPort": 80}], "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                    "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}},
                {"securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["X"]},
                    "runAsNonRoot": false, "seccompProfile": {"type": "RuntimeDefault"}}}]})
        );
        assert!(warn(&config, &spec, &spec["containers"][0]).is_empty());
        let context = get(&spec["containers"][0], "securityContext");
        assert_eq!(validate_container(&config, context).text(), None);
    }

    #[test]
    fn mistakes_are_found() {
        let config = Config::default();
        let check = |found: FieldErrors, wanted: &str| {
            assert_eq!(found.text().unwrap_or_default(), wanted);
        };
        check(
            validate_container(
                &config,
                Some(&json!({"privileged": true, "runAsUser": -1, "capabilities": {"add": ["X"]}})),
            ),
            "expected 0 <= -1 <= 2147483647: runAsUser\n\
             must not set the field(s): capabilities.add, privileged",
        );
        check(
            validate_pod(&config, Some(&json!({"runAsUser": 5, "sysctls": []}))),
            "must not set the field(s): runAsUser, sysctls",
        );
    }
}
