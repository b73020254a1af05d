//! The kinds the API server serves: the built-in ones and those that CustomResourceDefinitions add.
//!
//! One registry per server. A [`Kind`] never changes; a definition that changes gives a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::convert;
use parking_lot::RwLock;
use serde_json::Value;

use crate::schema::builtin::Library;
use crate::schema::decode::{self, Decoded, zero};
use crate::schema::{Schema, cel, prune, validate};
use problem::FieldError;
use walk::{keep, remove};

pub mod builtin;
mod custom;
pub mod meta;
pub mod names;
pub mod problem;
pub mod walk;

/// What is served, by group, version and plural.
pub struct Registry {
    library: Arc<Library>,
    kinds: RwLock<BTreeMap<Key, Arc<Kind>>>,
}

/// Group, version, plural.
type Key = (Box<str>, Box<str>, Box<str>);

/// One version of one kind.
pub struct Kind {
    /// Empty for the core group.
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub list_kind: Box<str>,
    pub plural: Box<str>,
    pub singular: Box<str>,
    pub short_names: Vec<Box<str>>,
    pub categories: Vec<Box<str>>,
    pub namespaced: bool,
    /// Empty for kinds that are only asked (`SubjectAccessReview` has `create`).
    pub verbs: Vec<&'static str>,
    pub subresources: Vec<Subresource>,
    /// Where the objects are kept: kinds that are views of the same objects share it.
    pub storage: Storage,
    /// Whether `metadata.generation` counts changes.
    pub has_generation: bool,
    /// What every request to this version is warned of.
    pub deprecation: Option<Box<str>>,
    /// Whether a replacement must say which `resourceVersion` it replaces.
    pub needs_version: bool,
    source: Source,
    schema: OnceLock<Arc<Schema>>,
    library: Arc<Library>,
}

/// The group, the plural, and the version and kind in which objects are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Storage {
    pub group: Box<str>,
    pub plural: Box<str>,
    pub version: Box<str>,
}

/// A path below an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `log`, …
    pub name: Box<str>,
    /// Of what it takes and gives, where that is not the kind itself.
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub verbs: Vec<&'static str>,
    /// For `scale`: where the numbers are.
    pub scale: Option<ScalePaths>,
}

/// Where a scale's numbers are, as paths of fields from the object's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec_replicas: Vec<Box<str>>,
    pub status_replicas: Vec<Box<str>>,
    /// A label selector: an object, or a string in its serialised form.
    pub selector: Option<Vec<Box<str>>>,
}

/// A column of table output.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: Box<str>,
    /// `string`, `integer`, `date`, …
    pub kind: Box<str>,
    pub format: Box<str>,
    pub description: Box<str>,
    /// 0 is always shown, more only when asked for (`-o wide`).
    pub priority: i32,
}

enum Source {
    Builtin(&'static builtin::Facts),
    Custom(custom::Facts),
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::new()
    }
}

impl Registry {
    /// The built-in kinds.
    pub fn new() -> Registry {
        let library = Arc::new(Library::default());
        let kinds = builtin::FACTS.iter().map(|facts| {
            let kind = Arc::new(builtin::kind(facts, &library));
            ((kind.group.clone(), kind.version.clone(), kind.plural.clone()), kind)
        });
        let kinds = RwLock::new(kinds.collect());
        Registry { library, kinds }
    }

    /// The kind served at that path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.kinds.read().get(&(group.into(), version.into(), plural.into())).cloned()
    }

    /// The kind of that name.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Kind>> {
        let kinds = self.kinds.read();
        let mut of_version =
            kinds.values().filter(|k| *k.group == *group && *k.version == *version);
        of_version.find(|k| *k.kind == *kind).cloned()
    }

    /// Any served version of a resource, the preferred one first.
    pub fn versions(&self, group: &str, plural: &str) -> Vec<Arc<Kind>> {
        let mut found: Vec<_> = self
            .kinds
            .read()
            .values()
            .filter(|k| *k.group == *group && *k.plural == *plural)
            .cloned()
            .collect();
        found.sort_by(|a, b| version_order(&a.version, &b.version));
        found
    }

    /// Everything served, by group, version and plural.
    pub fn all(&self) -> Vec<Arc<Kind>> {
        self.kinds.read().values().cloned().collect()
    }

    /// Serves what a CustomResourceDefinition defines, in place of what an earlier state of it defined.
    pub fn define(&self, definition: &Value) {
        let made = custom::kinds(definition, &self.library);
        let (group, plural) =
            (text_at(definition, "/spec/group"), text_at(definition, "/spec/names/plural"));
        let mut kinds = self.kinds.write();
        kinds.retain(|(g, _, p), kind| !(kind.is_custom() && **g == *group && **p == *plural));
        for kind in made {
            kinds.insert(
                (kind.group.clone(), kind.version.clone(), kind.plural.clone()),
                Arc::new(kind),
            );
        }
    }

    /// Serves no more what the CustomResourceDefinition of that name (`PLURAL.GROUP`) defines.
    pub fn undefine(&self, name: &str) {
        self.kinds.write().retain(|(group, _, plural), kind| {
            !(kind.is_custom() && format!("{plural}.{group}") == name)
        });
    }

    /// The built-in types, for schemas of things that are no kinds (`io.k8s.api.autoscaling.v1.Scale`).
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }
}

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `deployments.apps`, as errors name resources.
    pub fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Pod` or `Deployment.apps`, as errors name kinds.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.to_string()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| *sub.name == *name)
    }

    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether CustomResourceDefinitions define it.
    pub fn is_custom(&self) -> bool {
        match self.source {
            Source::Builtin(_) => false,
            Source::Custom(_) => true,
        }
    }

    /// What its objects look like.
    pub fn schema(&self) -> &Arc<Schema> {
        self.schema.get_or_init(|| match self.source {
            Source::Builtin(facts) => Arc::new(builtin::schema(facts, &self.library)),
            Source::Custom(ref facts) => Arc::new(facts.schema(&self.library)),
        })
    }

    /// Makes a document into an object of this kind, and tells which fields it does not know.
    ///
    /// The error is the text after `cannot be handled as a Pod: `.
    pub fn decode(&self, document: Value) -> Result<Decoded, String> {
        let schema = self.schema();
        if self.is_custom() {
            prune::prune(document, schema.root())
        } else {
            decode::decode(document, schema.root())
        }
    }

    /// Fills what an object leaves out. Done after decoding, on create, update and patch.
    pub fn default(&self, object: &mut Value) {
        match self.source {
            Source::Builtin(facts) => (facts.strategy.default)(object),
            Source::Custom(_) => {
                prune::drop_nulls(object, self.schema().root());
                prune::default(object, self.schema().root());
            }
        }
    }

    /// Fills in the defaults of an object that admission has changed. What is not allowed stays, to be refused: upstream
    /// takes nulls away only from what clients send.
    pub fn default_admitted(&self, object: &mut Value) {
        match self.source {
            Source::Builtin(facts) => (facts.strategy.default)(object),
            Source::Custom(_) => prune::default(object, self.schema().root()),
        }
    }

    /// Takes away what a client may not set, and sets what a new object starts with.
    ///
    /// Its `uid` and name must be set: the pods of a Job are found by the Job's uid.
    pub fn prepare_create(&self, object: &mut Value) {
        if self.has_status() && !self.reports_itself() {
            remove(object, "status");
            let schema = self.schema().root();
            if let Some(status) = schema.property("status")
                && status.edge.always
            {
                object["status"] = zero(status);
            }
        }
        if self.has_generation {
            object["metadata"]["generation"] = 1.into();
        }
        match self.source {
            Source::Builtin(facts) => (facts.strategy.prepare_create)(object),
            Source::Custom(_) => {}
        }
    }

    /// Takes over from the stored object what a client may not change, and counts the generation.
    pub fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.has_status() {
            keep(new, old, "status");
        }
        match self.source {
            Source::Builtin(facts) => (facts.strategy.prepare_update)(new, old),
            Source::Custom(_) => {}
        }
        self.count_generation(new, old);
    }

    /// The same for a write of the status subresource: everything but the status stays.
    pub fn prepare_status(&self, new: &mut Value, old: &Value) {
        let Some(fields) = old.as_object() else { return };
        let Some(object) = new.as_object_mut() else { return };
        object.retain(|key, _| {
            key == "status" || key == "metadata" || key == "kind" || key == "apiVersion"
        });
        for (key, value) in fields {
            if key != "status" && key != "metadata" {
                object.insert(key.clone(), value.clone());
            }
        }
        match self.source {
            Source::Builtin(facts) => (facts.strategy.prepare_status)(new, old),
            Source::Custom(_) => {}
        }
    }

    /// All that is wrong with a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        match self.source {
            Source::Builtin(facts) => {
                let mut errors = meta::validate(object, facts.names, self.namespaced);
                errors.extend(meta::standard_finalizers(object));
                errors.extend((facts.strategy.validate)(object));
                errors
            }
            Source::Custom(_) => {
                let mut errors = meta::validate(object, meta::NameRule::Subdomain, self.namespaced);
                errors.extend(self.validate_custom(object, None));
                errors
            }
        }
    }

    /// All that is wrong with an object in place of another.
    pub fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        match self.source {
            Source::Builtin(facts) => {
                // Both the registry and the kind look at the metadata: causes come twice.
                let mut errors = meta::validate_update(new, old);
                errors.extend_from_within(..);
                errors.extend((facts.strategy.validate_update)(new, old));
                errors
            }
            Source::Custom(_) => {
                let mut errors = meta::validate_update(new, old);
                errors.extend(self.validate_custom(new, Some(old)));
                errors
            }
        }
    }

    /// All that is wrong with a write of the status subresource.
    pub fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        match self.source {
            Source::Builtin(facts) => {
                let mut errors = meta::validate_update(new, old);
                errors.extend((facts.strategy.validate_status)(new, old));
                errors
            }
            Source::Custom(_) => {
                let mut errors = meta::validate_update(new, old);
                // The status is looked at by itself, and errors in it are worded so.
                let place = |error: &mut FieldError| {
                    if let Some(rest) = error.field.strip_prefix("status.") {
                        let (whole, part) = (&error.field, format!("{rest} in body"));
                        error.message =
                            error.message.replacen(&format!("{whole} in body"), &part, 1);
                    }
                };
                let mut custom = self.validate_custom(new, Some(old));
                custom.iter_mut().for_each(place);
                errors.extend(custom);
                errors
            }
        }
    }

    /// All that is wrong with a write of a subresource that changes one part of the object.
    pub fn validate_part(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        match self.source {
            Source::Builtin(facts) => {
                let mut errors = meta::validate_update(new, old);
                errors.extend((facts.strategy.validate)(new));
                errors
            }
            Source::Custom(_) => self.validate_update(new, old),
        }
    }

    /// The schema, then the rules if nothing else is wrong. What did not change may stay as wrong as it is.
    fn validate_custom(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let schema = self.schema();
        let errors = validate::validate(object, old, schema.root(), "");
        if errors.is_empty() { cel::validate(object, old, schema.root()) } else { errors }
    }

    /// What a client should know about an object that is taken nevertheless (`Warning` headers).
    pub fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        match self.source {
            Source::Builtin(facts) => (facts.strategy.warnings)(new, old),
            Source::Custom(_) if old.is_none() => meta::finalizer_warnings(new),
            Source::Custom(_) => Vec::new(),
        }
    }

    /// The columns of table output.
    pub fn columns(&self) -> Vec<Column> {
        match self.source {
            Source::Builtin(_) => builtin::table::columns(&self.kind),
            Source::Custom(ref facts) => facts.columns(),
        }
    }

    /// The cells of one object, as many as there are columns.
    pub fn row(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        match self.source {
            Source::Builtin(_) => builtin::table::row(&self.kind, object, now),
            Source::Custom(ref facts) => facts.row(object, now),
        }
    }

    /// What is said of a whole row: pods that are over.
    pub fn row_conditions(&self, object: &Value) -> Vec<Value> {
        if self.is_custom() || &*self.kind != "Pod" {
            return Vec::new();
        }
        let (reason, message) = match object["status"]["phase"].as_str() {
            Some("Succeeded") => ("Succeeded", "The pod has completed successfully."),
            Some("Failed") => ("Failed", "The pod failed."),
            _ => return Vec::new(),
        };
        vec![
            serde_json::json!({"type": "Completed", "status": "True", "reason": reason, "message": message}),
        ]
    }

    /// The value of a field that field selectors may name; none if the kind does not support it.
    pub fn selectable(&self, object: &Value, field: &str) -> Option<String> {
        match (field, &self.source) {
            ("metadata.name", _) => Some(text_at(object, "/metadata/name")),
            ("metadata.namespace", _) if self.namespaced => {
                Some(text_at(object, "/metadata/namespace"))
            }
            (_, Source::Builtin(facts)) => {
                let (_, pointer) = facts.selectable.iter().find(|(name, _)| *name == field)?;
                Some(text_at(object, pointer))
            }
            (_, Source::Custom(facts)) => facts.selectable(object, field),
        }
    }

    /// The object as this version shows it, from the form in which it is kept.
    pub fn from_storage(&self, object: &mut Value) {
        match self.source {
            Source::Builtin(facts) => {
                if let Some(convert) = facts.convert {
                    (convert.from_storage)(object);
                }
            }
            Source::Custom(_) => self.convert(object, &self.storage.version, &self.version),
        }
        self.name_version(object, &self.api_version());
    }

    /// The object in the form in which it is kept.
    pub fn to_storage(&self, object: &mut Value) {
        match self.source {
            Source::Builtin(facts) => {
                if let Some(convert) = facts.convert {
                    (convert.to_storage)(object);
                }
            }
            Source::Custom(_) => self.convert(object, &self.version, &self.storage.version),
        }
        let Storage { group, version, .. } = &self.storage;
        let api_version =
            if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
        self.name_version(object, &api_version);
    }

    /// Whether its objects are kept in another form than this version shows.
    pub fn is_kept_otherwise(&self) -> bool {
        if self.storage.version == self.version && self.storage.group == self.group {
            return false;
        }
        !self.is_custom() || convert::is_known(&self.group, &self.plural)
    }

    /// Converts an object of a platform's kind, as its webhook would.
    fn convert(&self, object: &mut Value, from: &str, to: &str) {
        if from != to
            && convert::is_known(&self.group, &self.plural)
            && let Some(spec) = object.get_mut("spec")
        {
            convert::event_type_spec(spec, from, to);
        }
    }

    /// Nodes are made by those who know their state: they may give it on create.
    fn reports_itself(&self) -> bool {
        self.group.is_empty() && &*self.kind == "Node"
    }

    fn name_version(&self, object: &mut Value, api_version: &str) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), api_version.into());
            fields.insert("kind".to_owned(), (*self.kind).into());
        }
    }

    /// The generation grows when anything but metadata and status changes.
    fn count_generation(&self, new: &mut Value, old: &Value) {
        if !self.has_generation {
            return;
        }
        let before = old["metadata"]["generation"].as_i64().unwrap_or(0);
        let counts = |key: &String| {
            !matches!(key.as_str(), "metadata" | "kind" | "apiVersion")
                && (key != "status" || !self.has_status())
        };
        let changed = {
            let empty = serde_json::Map::new();
            let (a, b) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
            a.iter().any(|(key, value)| counts(key) && b.get(key) != Some(value))
                || b.keys().any(|key| counts(key) && !a.contains_key(key))
        };
        let after = before + i64::from(changed);
        if after > 0 {
            new["metadata"]["generation"] = after.into();
        }
    }
}

/// Kubernetes' order of versions: GA before beta before alpha, then the higher number.
///
/// Source: k8s.io/apimachinery `pkg/version/helpers.go`, `CompareKubeAwareVersionStrings`.
pub fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let (stage, at) = match (rest.find("alpha"), rest.find("beta")) {
        (Some(at), _) => (0, Some((at, at + 5))),
        (_, Some(at)) => (1, Some((at, at + 4))),
        _ => (2, None),
    };
    match at {
        None => Some((stage, rest.parse().ok()?, 0)),
        Some((end, from)) => Some((stage, rest[..end].parse().ok()?, rest[from..].parse().ok()?)),
    }
}

fn text_at(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Number(value)) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::decode::decode;
    use serde_json::json;

    #[test]
    fn every_built_in_kind_has_a_schema_and_is_found() {
        let registry = Registry::new();
        for kind in registry.all() {
            assert!(
                kind.schema().root().property("metadata").is_some() || kind.verbs == ["create"],
                "{}",
                kind.kind
            );
            assert!(
                registry.find_kind(&kind.group, &kind.version, &kind.kind).is_some(),
                "{}",
                kind.kind
            );
        }
        assert_eq!(
            registry.versions("autoscaling", "horizontalpodautoscalers")[0].version,
            "v2".into()
        );
    }

    #[test]
    fn orders_versions_as_kubernetes_does() {
        let mut versions =
            ["v1alpha1", "foo1", "v10beta3", "v2", "v11alpha2", "v10", "v1", "v3beta1", "foo10"];
        versions.sort_by(|a, b| version_order(a, b));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v10beta3", "v3beta1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
    }

    #[test]
    fn tells_wrong_types_and_unknown_fields_as_go_does() {
        let registry = Registry::new();
        let pod = registry.find("", "v1", "pods").unwrap();
        let wrong = |spec: Value| decode(json!({"spec": spec}), pod.schema().root()).unwrap_err();
        for (spec, error) in [
            (
                json!({"containers": "x"}),
                "string into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                json!({"containers": [{"ports": [{"containerPort": "80"}]}]}),
                "string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
            ),
            (
                json!({"containers": [{"env": [{"value": 1}]}]}),
                "number into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                json!({"containers": [{"command": "sh"}]}),
                "string into Go struct field Container.spec.containers.command of type []string",
            ),
            (
                json!({"nodeSelector": {"a": 1}}),
                "number into Go struct field PodSpec.spec.nodeSelector of type string",
            ),
            (
                json!({"hostNetwork": "yes"}),
                "string into Go struct field PodSpec.spec.hostNetwork of type bool",
            ),
        ] {
            assert_eq!(wrong(spec), format!("json: cannot unmarshal {error}"));
        }
        let decoded = decode(
            json!({"metadata": {"extra": 1}, "spec": {"containers": [{"name": "a", "imagee": "x"}]}, "top": true}),
            pod.schema().root(),
        )
        .unwrap();
        assert_eq!(decoded.unknown, ["metadata.extra", "spec.containers[0].imagee", "top"]);
        assert_eq!(
            decoded.value,
            json!({"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {}}]}, "status": {}})
        );
    }
}
