//! The queue in front of a Revision's container: its ports, probe, resources and settings.
//!
//! Pure: a Revision and the configuration in, a container out.
//! Source: knative/serving `pkg/reconciler/revision/resources/queue.go`, `resourceboundary.go`.

use std::{collections::BTreeMap, time::Duration};

use api::{
    headers,
    keys::serving,
    quantity::Amount,
    queue::{
        ADMIN_PORT, CONTAINER, ENV, H2C_PORT, HTTP_PORT, METRICS_PORT, STAT_PORT, Settings,
        TLS_PORT, TlsLimits,
    },
    serving::Revision,
};
use config::{
    Config,
    domain::CLUSTER_DOMAIN,
    features::Flag,
    logging::Level,
    observability::{Metrics, MetricsProtocol, Observability, TracingProtocol},
};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, HTTPHeader,
        ObjectFieldSelector, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
        TCPSocketAction,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use runtime::plan::controller_of;
use serde_json::{Map as JsonMap, Value, json};

use super::{
    deployment::{user_port, variable},
    is_h2c, serving_container,
};
use crate::metadata::{self, Map, name, namespace};

const PROFILING_PORT: u16 = 8008;
/// The queue and the container share their network.
const HERE: &str = "127.0.0.1";
const FULL_DUPLEX: &str = "features.knative.dev/http-full-duplex";
const PERCENTAGE: &[&str] = &[
    "queue.sidecar.serving.knative.dev/resource-percentage",
    "queue.sidecar.serving.knative.dev/resourcePercentage",
];

/// The queue's container.
pub fn container(revision: &Revision, config: &Config, system_namespace: &str) -> Container {
    let is_h2c = is_h2c(revision);
    let serving_port = if is_h2c { H2C_PORT } else { HTTP_PORT };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        ..ContainerPort::default()
    };
    let mut ports = vec![port("http-autometric", STAT_PORT), port("http-usermetric", METRICS_PORT)];
    if config.observability.runtime_profiling {
        ports.push(port("profiling-port", PROFILING_PORT));
    }
    ports.extend([port("queue-port", serving_port), port("https-port", TLS_PORT)]);
    debug_assert!(ports.iter().all(|it| it.container_port != i32::from(ADMIN_PORT)));

    let user_probe = serving_container(revision).and_then(|it| it.readiness_probe.as_ref());
    let readiness_probe = user_probe.map(|probe| Probe {
        http_get: Some(HTTPGetAction {
            port: IntOrString::Int(serving_port.into()),
            http_headers: Some(vec![HTTPHeader {
                name: "K-Network-Probe".to_owned(),
                value: headers::PROBE_QUEUE.to_owned(),
            }]),
            ..HTTPGetAction::default()
        }),
        tcp_socket: None,
        exec: None,
        grpc: None,
        ..probe.clone()
    });
    Container {
        name: CONTAINER.to_owned(),
        image: Some(config.deployment.queue_sidecar_image.clone()),
        // The image is the whole platform's; upstream's takes no argument and ignores this one.
        args: Some(vec!["queue".to_owned()]),
        ports: Some(ports),
        env: Some(variables(revision, config, serving_port, system_namespace)),
        resources: Some(resources(revision, config)),
        readiness_probe,
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// A variable's value that is a field of the pod.
pub fn field(path: &str) -> EnvVarSource {
    EnvVarSource {
        field_ref: Some(ObjectFieldSelector { api_version: None, field_path: path.to_owned() }),
        ..EnvVarSource::default()
    }
}

/// [`Settings`] for the queue, and the names that people's tools read.
fn variables(
    revision: &Revision,
    config: &Config,
    serving_port: u16,
    system_namespace: &str,
) -> Vec<EnvVar> {
    let of_pod = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(field(path)),
        ..EnvVar::default()
    };
    let settings = settings(revision, config, system_namespace);
    let level = config.logging.loglevel.get("queueproxy").map_or("", |level| match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    });
    let probes_several = config.features.multi_container_probing == Flag::Enabled;
    let has_probe = serving_container(revision).is_some_and(|it| it.readiness_probe.is_some());
    let probe = match settings.readiness.as_slice() {
        several if probes_several && has_probe => serde_json::to_string(several),
        several if probes_several => {
            // The serving container has none; its place is kept.
            let with_place: Vec<Option<&Probe>> =
                std::iter::once(None).chain(several.iter().map(Some)).collect();
            serde_json::to_string(&with_place)
        }
        [only] if has_probe => serde_json::to_string(only),
        _ => Ok(String::new()),
    };
    let full_duplex =
        metadata::get(&revision.metadata.annotations, FULL_DUPLEX).eq_ignore_ascii_case("Enabled");
    let deployment = &config.deployment;
    vec![
        variable("SERVING_NAMESPACE", settings.namespace.clone()),
        variable("SERVING_SERVICE", settings.service.clone()),
        variable("SERVING_CONFIGURATION", settings.configuration.clone()),
        variable("SERVING_REVISION", settings.revision.clone()),
        variable("QUEUE_SERVING_PORT", serving_port.to_string()),
        variable("QUEUE_SERVING_TLS_PORT", TLS_PORT.to_string()),
        variable("CONTAINER_CONCURRENCY", settings.container_concurrency.to_string()),
        variable("REVISION_TIMEOUT_SECONDS", settings.timeout_s.to_string()),
        variable(
            "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
            settings.response_start_timeout_s.to_string(),
        ),
        variable("REVISION_IDLE_TIMEOUT_SECONDS", settings.idle_timeout_s.to_string()),
        of_pod("SERVING_POD", "metadata.name"),
        of_pod("SERVING_POD_IP", "status.podIP"),
        variable("SERVING_LOGGING_CONFIG", config.logging.zap_logger_config.clone()),
        variable("SERVING_LOGGING_LEVEL", level.to_owned()),
        variable("USER_PORT", settings.user_port.to_string()),
        variable("SYSTEM_NAMESPACE", system_namespace.to_owned()),
        variable("SERVING_READINESS_PROBE", probe.expect("probes are plain data")),
        of_pod("HOST_IP", "status.hostIP"),
        variable(
            "ENABLE_HTTP2_AUTO_DETECTION",
            (config.features.autodetect_http2 == Flag::Enabled).to_string(),
        ),
        variable("ENABLE_HTTP_FULL_DUPLEX", full_duplex.to_string()),
        variable("ROOT_CA", deployment.queue_sidecar_rootca.clone()),
        variable("QUEUE_PROXY_TLS_MIN_VERSION", deployment.queue_sidecar_tls_min_version.clone()),
        variable("QUEUE_PROXY_TLS_MAX_VERSION", deployment.queue_sidecar_tls_max_version.clone()),
        variable(
            "QUEUE_PROXY_TLS_CIPHER_SUITES",
            deployment.queue_sidecar_tls_cipher_suites.clone(),
        ),
        variable(
            "QUEUE_PROXY_TLS_CURVE_PREFERENCES",
            deployment.queue_sidecar_tls_curve_preferences.clone(),
        ),
        variable("ENABLE_MULTI_CONTAINER_PROBES", probes_several.to_string()),
        variable("OBSERVABILITY_CONFIG", observability(&config.observability).to_string()),
        variable(ENV, serde_json::to_string(&settings).expect("settings are plain data")),
    ]
}

fn settings(revision: &Revision, config: &Config, system_namespace: &str) -> Settings {
    let spec = &revision.spec;
    let seconds = |value: Option<i64>| u64::try_from(value.unwrap_or_default()).unwrap_or_default();
    let observability = &config.observability;
    let log_template = if observability.logging_enable_request_log {
        observability.logging_request_log_template.clone()
    } else {
        String::new()
    };
    let configuration = controller_of(&revision.metadata, "Configuration");
    Settings {
        namespace: namespace(&revision.metadata).to_owned(),
        revision: name(&revision.metadata).to_owned(),
        configuration: configuration.map(|it| it.name.clone()).unwrap_or_default(),
        service: metadata::get(&revision.metadata.labels, serving::SERVICE).to_owned(),
        user_port: u16::try_from(user_port(revision)).unwrap_or_default(),
        user_h2c: is_h2c(revision),
        detect_h2c: config.features.autodetect_http2 == Flag::Enabled && !is_h2c(revision),
        container_concurrency: u32::try_from(spec.container_concurrency.unwrap_or_default())
            .unwrap_or_default(),
        timeout_s: seconds(spec.timeout_seconds),
        response_start_timeout_s: seconds(spec.response_start_timeout_seconds),
        idle_timeout_s: seconds(spec.idle_timeout_seconds),
        readiness: readiness(revision, config),
        request_log_template: log_template,
        log_probes: observability.logging_enable_probe_request_log,
        request_metrics: observability.request_metrics.protocol == MetricsProtocol::Prometheus,
        opencensus_names: observability.opencensus_names,
        tls: TlsLimits {
            min_version: config.deployment.queue_sidecar_tls_min_version.clone(),
            max_version: config.deployment.queue_sidecar_tls_max_version.clone(),
            cipher_suites: config.deployment.queue_sidecar_tls_cipher_suites.clone(),
            curve_preferences: config.deployment.queue_sidecar_tls_curve_preferences.clone(),
        },
        report_to: format!("http://autoscaler.{system_namespace}.svc.{CLUSTER_DOMAIN}:8080"),
        ..Settings::default()
    }
}

/// The probes that the queue makes, ready to be made: that of the serving container first.
fn readiness(revision: &Revision, config: &Config) -> Vec<Probe> {
    let serving = serving_container(revision);
    let mut probes: Vec<Probe> = serving
        .and_then(|it| it.readiness_probe.clone())
        .map(|probe| aimed(probe, user_port(revision)))
        .into_iter()
        .collect();
    if config.features.multi_container_probing != Flag::Enabled {
        return probes;
    }
    for container in &revision.spec.pod.containers {
        let is_serving = serving.is_some_and(|it| std::ptr::eq(it, container));
        // What a command finds out on a sidecar is the kubelet's to ask, and to tell.
        let probe = container.readiness_probe.clone().filter(|it| it.exec.is_none());
        if !is_serving && let Some(probe) = probe {
            // Admission has made sure that it names a port.
            probes.push(aimed(probe, 0));
        }
    }
    probes
}

/// The probe on this host, at its own port or else at `port`; a command becomes a connection.
fn aimed(mut probe: Probe, port: i32) -> Probe {
    let or_port = |found: &IntOrString| match found {
        IntOrString::Int(0) => IntOrString::Int(port),
        IntOrString::String(text) => {
            IntOrString::Int(text.parse().ok().filter(|it| *it != 0).unwrap_or(port))
        }
        found => found.clone(),
    };
    if let Some(it) = &mut probe.http_get {
        it.host = Some(HERE.to_owned());
        it.port = or_port(&it.port);
        it.scheme.get_or_insert_with(|| "HTTP".to_owned());
    } else if let Some(it) = &mut probe.tcp_socket {
        it.host = Some(HERE.to_owned());
        it.port = or_port(&it.port);
    } else if probe.exec.take().is_some() {
        probe.tcp_socket =
            Some(TCPSocketAction { host: Some(HERE.to_owned()), port: IntOrString::Int(port) });
    } else if let Some(it) = &mut probe.grpc
        && it.port == 0
    {
        it.port = port;
    }
    if probe.period_seconds.unwrap_or_default() > 0 && probe.timeout_seconds.unwrap_or_default() < 1
    {
        probe.timeout_seconds = Some(1);
    }
    probe
}

/// Source: knative/serving `pkg/observability/config.go` as JSON.
fn observability(from: &Observability) -> Value {
    let metrics = |from: &Metrics| {
        let protocol = match from.protocol {
            MetricsProtocol::None => "none",
            MetricsProtocol::Prometheus => "prometheus",
            MetricsProtocol::Grpc => "grpc",
            MetricsProtocol::HttpProtobuf => "http/protobuf",
        };
        let mut json = JsonMap::from_iter([("protocol".to_owned(), json!(protocol))]);
        put(&mut json, "endpoint", &from.endpoint);
        put(&mut json, "exportInterval", nanos(from.export_interval));
        json
    };
    let protocol = match from.tracing.protocol {
        TracingProtocol::None => "none",
        TracingProtocol::Stdout => "stdout",
        TracingProtocol::Grpc => "grpc",
        TracingProtocol::HttpProtobuf => "http/protobuf",
    };
    let mut tracing = JsonMap::from_iter([("protocol".to_owned(), json!(protocol))]);
    put(&mut tracing, "endpoint", &from.tracing.endpoint);
    if from.tracing.sampling_rate != 0.0 {
        put(&mut tracing, "samplingRate", from.tracing.sampling_rate);
    }
    let profiling = if from.runtime_profiling { "enabled" } else { "disabled" };
    let mut runtime = JsonMap::from_iter([("profiling".to_owned(), json!(profiling))]);
    put(&mut runtime, "exportInterval", nanos(from.runtime_export_interval));
    let mut json = JsonMap::from_iter([
        ("tracing".to_owned(), Value::Object(tracing)),
        ("metrics".to_owned(), Value::Object(metrics(&from.metrics))),
        ("runtime".to_owned(), Value::Object(runtime)),
        ("requestMetrics".to_owned(), Value::Object(metrics(&from.request_metrics))),
    ]);
    put(&mut json, "EnableVarLogCollection", from.logging_enable_var_log_collection);
    put(&mut json, "LoggingURLTemplate", &from.logging_revision_url_template);
    put(&mut json, "enableRequestLog", from.logging_enable_request_log);
    put(&mut json, "requestLogTemplate", &from.logging_request_log_template);
    put(&mut json, "enableProbeRequestLog", from.logging_enable_probe_request_log);
    Value::Object(json)
}

/// Puts a value that is not nothing.
fn put(json: &mut JsonMap<String, Value>, key: &str, value: impl serde::Serialize) {
    let value = json!(value);
    if ![json!(0), json!(""), json!(false)].contains(&value) {
        json.insert(key.to_owned(), value);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Annotations win over the share of the user's container, and that wins over the configuration.
fn resources(revision: &Revision, config: &Config) -> ResourceRequirements {
    let deployment = &config.deployment;
    let with_defaults = config.features.queueproxy_resource_defaults == Flag::Enabled;
    let default = |text: &str| with_defaults.then(|| Quantity(text.to_owned()));
    let mut requests: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut limits: BTreeMap<String, Quantity> = BTreeMap::new();
    for (resource, request, limit) in [
        (
            "cpu",
            deployment.queue_sidecar_cpu_request.clone().or_else(|| default("25m")),
            deployment.queue_sidecar_cpu_limit.clone().or_else(|| default("1000m")),
        ),
        (
            "memory",
            deployment.queue_sidecar_memory_request.clone().or_else(|| default("400Mi")),
            deployment.queue_sidecar_memory_limit.clone().or_else(|| default("800Mi")),
        ),
        (
            "ephemeral-storage",
            deployment.queue_sidecar_ephemeral_storage_request.clone(),
            deployment.queue_sidecar_ephemeral_storage_limit.clone(),
        ),
    ] {
        requests.extend(request.map(|it| (resource.to_owned(), it)));
        limits.extend(limit.map(|it| (resource.to_owned(), it)));
    }

    let annotations = &revision.metadata.annotations;
    let share = metadata::first(annotations, PERCENTAGE).and_then(|it| it.parse::<f64>().ok());
    let of_user = serving_container(revision).and_then(|it| it.resources.as_ref());
    if let (Some(percent), Some(of_user)) = (share, of_user) {
        let take = |to: &mut BTreeMap<String, Quantity>, from, resource: &str, bounds| {
            let from: &Option<BTreeMap<String, Quantity>> = from;
            let of_user = from.as_ref().and_then(|it| it.get(resource));
            if let Some(part) = of_user.and_then(|it| part(it, percent / 100.0, bounds)) {
                to.insert(resource.to_owned(), part);
            }
        };
        take(&mut requests, &of_user.requests, "cpu", ("25m", "100m"));
        take(&mut requests, &of_user.requests, "memory", ("50Mi", "200Mi"));
        take(&mut limits, &of_user.limits, "cpu", ("40m", "500m"));
        take(&mut limits, &of_user.limits, "memory", ("200Mi", "500Mi"));
    }
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        let annotation = |what| asked(annotations, resource, what);
        requests.extend(annotation("request").map(|it| (resource.to_owned(), it)));
        limits.extend(annotation("limit").map(|it| (resource.to_owned(), it)));
    }
    ResourceRequirements {
        requests: Some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        claims: None,
    }
}

/// What an annotation asks for.
fn asked(annotations: &Option<Map>, resource: &str, what: &str) -> Option<Quantity> {
    let key = format!("queue.sidecar.serving.knative.dev/{resource}-resource-{what}");
    let text = metadata::first(annotations, &[&key])?;
    Amount::parse(text).ok().map(|it| Quantity(it.canonical()))
}

/// A fraction of an amount, within bounds.
fn part(of: &Quantity, fraction: f64, (least, most): (&str, &str)) -> Option<Quantity> {
    let milli = |text: &str| Amount::parse(text).map(Amount::milli).unwrap_or_default();
    let whole = Amount::parse(&of.0).ok().filter(|it| !it.is_zero())?;
    let part = (whole.milli() as f64 * fraction) as i64;
    if part < milli(least) {
        return Some(Quantity(least.to_owned()));
    }
    if part > milli(most) {
        return Some(Quantity(most.to_owned()));
    }
    Amount::parse(&format!("{part}m")).ok().map(|it| Quantity(it.canonical()))
}
