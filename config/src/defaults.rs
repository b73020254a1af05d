//! `config-defaults`: what a revision gets when its author says nothing, and how much they may ask for.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/apis/config/defaults.go`.

use std::collections::BTreeMap;

use api::go::template::{Template, Value, text};
use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use crate::{Error, read::Data};

/// Name of the ConfigMap.
pub const NAME: &str = "config-defaults";

/// The values of `config-defaults`.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub revision_timeout_seconds: i64,
    pub max_revision_timeout_seconds: i64,
    /// The same as `revision_timeout_seconds` unless it is set.
    pub revision_response_start_timeout_seconds: i64,
    /// 0 is no limit.
    pub revision_idle_timeout_seconds: i64,
    pub revision_cpu_request: Option<Quantity>,
    pub revision_cpu_limit: Option<Quantity>,
    pub revision_memory_request: Option<Quantity>,
    pub revision_memory_limit: Option<Quantity>,
    pub revision_ephemeral_storage_request: Option<Quantity>,
    pub revision_ephemeral_storage_limit: Option<Quantity>,
    pub container_name_template: Template,
    pub init_container_name_template: Template,
    /// 0 is no limit.
    pub container_concurrency: i64,
    pub container_concurrency_max_limit: i64,
    /// Whether revisions may have no limit of concurrency.
    pub allow_container_concurrency_zero: bool,
    /// Absent: Kubernetes' own default holds.
    pub enable_service_links: Option<bool>,
}

impl Default for Defaults {
    fn default() -> Self {
        let template = |text| Template::parse(TEMPLATE, text).expect("plain text is a template");
        Defaults {
            revision_timeout_seconds: 300,
            max_revision_timeout_seconds: 600,
            revision_response_start_timeout_seconds: 300,
            revision_idle_timeout_seconds: 0,
            revision_cpu_request: None,
            revision_cpu_limit: None,
            revision_memory_request: None,
            revision_memory_limit: None,
            revision_ephemeral_storage_request: None,
            revision_ephemeral_storage_limit: None,
            container_name_template: template("user-container"),
            init_container_name_template: template("init-container"),
            container_concurrency: 0,
            container_concurrency_max_limit: 1000,
            allow_container_concurrency_zero: true,
            enable_service_links: Some(false),
        }
    }
}

/// What errors call the templates.
const TEMPLATE: &str = "container-template";

impl Defaults {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Defaults, Error> {
        let data = Data(data);
        let mut read = Defaults::default();
        for (key, template) in [
            ("init-container-name-template", &mut read.init_container_name_template),
            ("container-name-template", &mut read.container_name_template),
        ] {
            if let Some(text) = data.get(key) {
                *template = Template::parse(TEMPLATE, text).map_err(Error::new)?;
            }
        }
        data.bool("allow-container-concurrency-zero", &mut read.allow_container_concurrency_zero)?;
        if let Some(text) = data.get("enable-service-links") {
            read.enable_service_links = match text.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            };
        }
        data.i64("revision-timeout-seconds", &mut read.revision_timeout_seconds)?;
        data.i64("max-revision-timeout-seconds", &mut read.max_revision_timeout_seconds)?;
        data.i64("revision-idle-timeout-seconds", &mut read.revision_idle_timeout_seconds)?;
        data.i64("container-concurrency", &mut read.container_concurrency)?;
        data.i64("container-concurrency-max-limit", &mut read.container_concurrency_max_limit)?;
        for (key, quantity) in [
            ("revision-cpu-request", &mut read.revision_cpu_request),
            ("revision-memory-request", &mut read.revision_memory_request),
            ("revision-ephemeral-storage-request", &mut read.revision_ephemeral_storage_request),
            ("revision-cpu-limit", &mut read.revision_cpu_limit),
            ("revision-memory-limit", &mut read.revision_memory_limit),
            ("revision-ephemeral-storage-limit", &mut read.revision_ephemeral_storage_limit),
        ] {
            data.quantity(key, quantity)?;
        }
        read.revision_response_start_timeout_seconds = read.revision_timeout_seconds;
        data.i64(
            "revision-response-start-timeout-seconds",
            &mut read.revision_response_start_timeout_seconds,
        )?;
        check(&read).map_err(Error::new)?;
        for template in [&read.container_name_template, &read.init_container_name_template] {
            template
                .render(&object_meta(&ObjectMeta::default(), &BTreeMap::new()))
                .map_err(|why| Error::new(format!("error executing template: {why}")))?;
        }
        Ok(read)
    }

    /// Name of a container without one, in an object with this metadata.
    pub fn container_name(&self, parent: &ObjectMeta) -> String {
        name(&self.container_name_template, parent)
    }

    /// Name of an init container without one, in an object with this metadata.
    pub fn init_container_name(&self, parent: &ObjectMeta) -> String {
        name(&self.init_container_name_template, parent)
    }

    /// Requests and limits of a container that names none; what is not configured is absent.
    pub fn resources(&self) -> ResourceRequirements {
        let map = |entries: [(&str, &Option<Quantity>); 3]| {
            let map: BTreeMap<String, Quantity> = entries
                .into_iter()
                .filter_map(|(name, quantity)| Some((name.to_string(), quantity.clone()?)))
                .collect();
            (!map.is_empty()).then_some(map)
        };
        ResourceRequirements {
            requests: map([
                ("cpu", &self.revision_cpu_request),
                ("memory", &self.revision_memory_request),
                ("ephemeral-storage", &self.revision_ephemeral_storage_request),
            ]),
            limits: map([
                ("cpu", &self.revision_cpu_limit),
                ("memory", &self.revision_memory_limit),
                ("ephemeral-storage", &self.revision_ephemeral_storage_limit),
            ]),
            ..ResourceRequirements::default()
        }
    }
}

fn check(read: &Defaults) -> Result<(), String> {
    let timeout = read.revision_timeout_seconds;
    if timeout > read.max_revision_timeout_seconds {
        return Err(format!(
            "revision-timeout-seconds ({timeout}) cannot be greater than max-revision-timeout-seconds ({})",
            read.max_revision_timeout_seconds
        ));
    }
    for (key, seconds) in [
        ("revision-response-start-timeout-seconds", read.revision_response_start_timeout_seconds),
        ("revision-idle-timeout-seconds", read.revision_idle_timeout_seconds),
    ] {
        if seconds > 0 && seconds > timeout {
            return Err(format!(
                "{key} ({seconds}) cannot be greater than revision-timeout-seconds ({timeout})"
            ));
        }
    }
    let (concurrency, limit) = (read.container_concurrency, read.container_concurrency_max_limit);
    if limit < 1 {
        let most = i32::MAX;
        return Err(format!("expected 1 <= {limit} <= {most}: container-concurrency-max-limit"));
    }
    if concurrency < 0 || concurrency > limit {
        return Err(format!("expected 0 <= {concurrency} <= {limit}: container-concurrency"));
    }
    Ok(())
}

/// An empty name where the template fails, as upstream: validation then says that a name is missing.
fn name(template: &Template, parent: &ObjectMeta) -> String {
    template.render(&object_meta(parent, &BTreeMap::new())).unwrap_or_default()
}

/// The metadata of an object as templates see it: Go's field names.
fn object_meta<'a>(meta: &'a ObjectMeta, none: &'a BTreeMap<String, String>) -> Value<'a> {
    let text = |field: &'a Option<String>| text(field.as_deref().unwrap_or_default());
    Value::Struct(
        "v1.ObjectMeta",
        vec![
            ("Name", text(&meta.name)),
            ("GenerateName", text(&meta.generate_name)),
            ("Namespace", text(&meta.namespace)),
            ("UID", text(&meta.uid)),
            ("ResourceVersion", text(&meta.resource_version)),
            ("Generation", Value::Int(meta.generation.unwrap_or_default())),
            ("Labels", Value::Map(meta.labels.as_ref().unwrap_or(none))),
            ("Annotations", Value::Map(meta.annotations.as_ref().unwrap_or(none))),
        ],
    )
}
