//! Writes the table of built-in types from `k8s-openapi`, and says when the committed one is stale.
//!
//! `WRITE=1 cargo test -p local --test builtin_types` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use k8s_openapi::api::*;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::SchemaGenerator;
use serde_json::Value;

const FACTS: &str = include_str!("builtin_facts.txt");

#[test]
fn the_table_of_built_in_types_is_fresh() {
    let definitions = definitions();
    compare("builtin.txt", &table(&definitions));
    compare("descriptions.txt", &descriptions(&definitions));
}

fn compare(file: &str, fresh: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/schema").join(file);
    if std::env::vars_os().any(|(name, _)| name == "WRITE") {
        std::fs::write(&path, fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == fresh, "{file} is stale: run this test with WRITE=1 in the environment");
}

/// Every named type that a served kind reaches, by its full name.
fn definitions() -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    macro_rules! reach {
        ($($kind:ty),* $(,)?) => { $( generator.subschema_for::<$kind>(); )* };
    }
    reach!(
        admissionregistration::v1::MutatingAdmissionPolicy,
        admissionregistration::v1::MutatingAdmissionPolicyBinding,
        admissionregistration::v1::MutatingWebhookConfiguration,
        admissionregistration::v1::ValidatingAdmissionPolicy,
        admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        admissionregistration::v1::ValidatingWebhookConfiguration,
        apiextensions::CustomResourceDefinition,
        apiregistration::APIService,
        apps::v1::ControllerRevision,
        apps::v1::DaemonSet,
        apps::v1::Deployment,
        apps::v1::ReplicaSet,
        apps::v1::StatefulSet,
        authentication::v1::SelfSubjectReview,
        authentication::v1::TokenRequest,
        authentication::v1::TokenReview,
        authorization::v1::LocalSubjectAccessReview,
        authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview,
        authorization::v1::SubjectAccessReview,
        autoscaling::v1::HorizontalPodAutoscaler,
        autoscaling::v1::Scale,
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::CronJob,
        batch::v1::Job,
        certificates::v1::CertificateSigningRequest,
        coordination::v1::Lease,
        core::v1::Binding,
        core::v1::ComponentStatus,
        core::v1::ConfigMap,
        core::v1::Endpoints,
        core::v1::Event,
        core::v1::LimitRange,
        core::v1::Namespace,
        core::v1::Node,
        core::v1::PersistentVolume,
        core::v1::PersistentVolumeClaim,
        core::v1::Pod,
        core::v1::PodTemplate,
        core::v1::ReplicationController,
        core::v1::ResourceQuota,
        core::v1::Secret,
        core::v1::Service,
        core::v1::ServiceAccount,
        discovery::v1::EndpointSlice,
        events::v1::Event,
        networking::v1::IPAddress,
        networking::v1::Ingress,
        networking::v1::IngressClass,
        networking::v1::NetworkPolicy,
        networking::v1::ServiceCIDR,
        node::v1::RuntimeClass,
        policy::v1::Eviction,
        policy::v1::PodDisruptionBudget,
        rbac::v1::ClusterRole,
        rbac::v1::ClusterRoleBinding,
        rbac::v1::Role,
        rbac::v1::RoleBinding,
        scheduling::v1::PriorityClass,
        storage::v1::CSIDriver,
        storage::v1::CSINode,
        storage::v1::CSIStorageCapacity,
        storage::v1::StorageClass,
        storage::v1::VolumeAttachment,
        meta::DeleteOptions,
        meta::ListMeta,
        meta::Status,
        meta::WatchEvent<core::v1::Pod>,
    );
    generator.definitions().iter().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

fn table(definitions: &BTreeMap<String, Value>) -> String {
    let mut facts: BTreeMap<(String, &str), Vec<&str>> = BTreeMap::new();
    for line in FACTS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (name, field) = (words.next().unwrap(), words.next().unwrap());
        facts.insert((format!("io.k8s.{name}"), field), words.collect());
    }
    let mut text = String::new();
    for (name, schema) in definitions {
        writeln!(text, "{name}").unwrap();
        if let Some(code) = special(name) {
            writeln!(text, " = {code}").unwrap();
            continue;
        }
        let Some(properties) = schema["properties"].as_object() else {
            writeln!(text, " = {}", code(schema, definitions, &mut Vec::new())).unwrap();
            continue;
        };
        if facts.remove(&(name.clone(), "*")).is_some() {
            text.push_str(" ~atomic .\n");
        }
        let sorted: BTreeMap<&String, &Value> = properties.iter().collect();
        let has_kind = properties.contains_key("apiVersion") && properties.contains_key("kind");
        for (field, schema) in sorted {
            let required = schema_requires(&definitions[name], field);
            let mut said = facts.remove(&(name.clone(), field.as_str())).unwrap_or_default();
            let code = code(schema, definitions, &mut said);
            // Go's kinds keep these as plain structs, which are written even when they are empty.
            let whole = has_kind
                && matches!(field.as_str(), "metadata" | "spec" | "status")
                && code.starts_with('@');
            if whole && !said.contains(&"^") {
                said.push("^");
            }
            let mark = if required { "!" } else { "" };
            let said: String = said.iter().map(|fact| format!(" {fact}")).collect();
            writeln!(text, " {field}{mark} {code}{said}").unwrap();
        }
    }
    assert!(facts.is_empty(), "facts about fields that do not exist: {facts:?}");
    text
}

fn schema_requires(schema: &Value, field: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == field))
}

/// Types whose JSON form is not that of their fields.
fn special(name: &str) -> Option<&'static str> {
    let short = name.rsplit('.').next().unwrap();
    Some(match short {
        "Quantity" => "q",
        "IntOrString" => "x",
        "Time" => "t",
        "MicroTime" => "u",
        "RawExtension" | "FieldsV1" => "o",
        "JSON"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray" => "a",
        _ => return None,
    })
}

/// The code of a field's type; facts about its list or map are taken out of `said` and written into it.
fn code(schema: &Value, definitions: &BTreeMap<String, Value>, said: &mut Vec<&str>) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let atomic = take(said, |fact| fact == "!");
        if atomic.is_some() {
            said.push("~atomic");
        }
        return match special(name) {
            Some(code) => code.to_owned(),
            None if definitions.contains_key(name) => format!("@{name}"),
            None => "a".to_owned(),
        };
    }
    match schema["type"].as_str() {
        Some("string") if schema["format"] == "byte" => "y".to_owned(),
        Some("string") if schema["format"] == "date-time" => "t".to_owned(),
        Some("string") => "s".to_owned(),
        Some("boolean") => "b".to_owned(),
        Some("integer") if schema["format"] == "int32" => "i".to_owned(),
        Some("integer") => "l".to_owned(),
        Some("number") => "n".to_owned(),
        Some("array") => {
            let keys = take(said, |fact| fact == "=" || fact.starts_with('(')).unwrap_or_default();
            format!("[{keys}{}", code(&schema["items"], definitions, &mut Vec::new()))
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            let atomic = take(said, |fact| fact == "!").unwrap_or_default();
            format!(
                "{{{atomic}{}",
                code(&schema["additionalProperties"], definitions, &mut Vec::new())
            )
        }
        Some("object") => "o".to_owned(),
        _ => "a".to_owned(),
    }
}

fn take<'a>(said: &mut Vec<&'a str>, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
    let at = said.iter().position(|fact| wanted(fact))?;
    Some(said.remove(at))
}

/// A type, its description, and below it one line a field; line breaks are written `\n`.
fn descriptions(definitions: &BTreeMap<String, Value>) -> String {
    let mut text = String::new();
    let one_line =
        |value: &Value| value.as_str().unwrap_or("").replace('\\', "\\\\").replace('\n', "\\n");
    for (name, schema) in definitions {
        writeln!(text, "{name} {}", one_line(&schema["description"])).unwrap();
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (field, schema) in fields.collect::<BTreeMap<_, _>>() {
            writeln!(text, " {field} {}", one_line(&schema["description"])).unwrap();
        }
    }
    text
}
