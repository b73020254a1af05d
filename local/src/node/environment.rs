//! The environment, command and arguments of a container.
//!
//! Pure: what the environment refers to (ConfigMaps, Secrets, the pod's own fields) is given.
//! Source: kubernetes `pkg/kubelet/kubelet_pods.go` (`makeEnvironmentVariables`), `pkg/kubelet/envvars`,
//! `third_party/forked/golang/expansion`, `pkg/fieldpath`, `pkg/api/v1/resource`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector, Service},
    apimachinery::pkg::api::resource::Quantity,
};

/// The values of ConfigMaps and Secrets that containers refer to, by name; absent ones are not in the maps.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// As text: environment variables hold no other bytes.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
}

/// The names of the ConfigMaps and Secrets that a container's environment refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

/// What is known of the pod, its node and its network.
pub struct Facts<'a> {
    pub pod: &'a Pod,
    pub pod_ip: &'a str,
    pub host_ip: &'a str,
    pub node: &'a str,
    /// The machine's size, for limits that are not set.
    pub cpu_count: u64,
    pub memory_bytes: u64,
}

/// What `container` refers to.
pub fn needs(container: &Container) -> Needs {
    let mut needs = Needs::default();
    for from in container.env_from.iter().flatten() {
        needs.config_maps.extend(from.config_map_ref.iter().map(|it| it.name.clone()));
        needs.secrets.extend(from.secret_ref.iter().map(|it| it.name.clone()));
    }
    for from in container.env.iter().flatten().filter_map(|it| it.value_from.as_ref()) {
        needs.config_maps.extend(from.config_map_key_ref.iter().map(|it| it.name.clone()));
        needs.secrets.extend(from.secret_key_ref.iter().map(|it| it.name.clone()));
    }
    needs
}

/// The variables of `container` over those in `defaults`; the error names what is missing, as kubelet does.
pub fn variables(
    container: &Container,
    sources: &Sources,
    facts: &Facts,
    defaults: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = facts.pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut variables = defaults;
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional, values) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(it), _) => {
                ("configmap", &it.name, it.optional, sources.config_maps.get(&it.name))
            }
            (None, Some(it)) => ("secret", &it.name, it.optional, sources.secrets.get(&it.name)),
            (None, None) => continue,
        };
        match values {
            Some(values) => variables.extend(
                values.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())),
            ),
            None if optional == Some(true) => {}
            None => return Err(format!("{kind} \"{name}\" not found")),
        }
    }
    for variable in container.env.iter().flatten() {
        let Some(from) = &variable.value_from else {
            let value = expand(variable.value.as_deref().unwrap_or_default(), &variables);
            variables.insert(variable.name.clone(), value);
            continue;
        };
        let value = if let Some(field) = &from.field_ref {
            field_value(field, facts)
                .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?
        } else if let Some(resource) = &from.resource_field_ref {
            resource_value(resource, container, facts)?
        } else {
            let (kind, kinds, name, key, optional, values) =
                match (&from.config_map_key_ref, &from.secret_key_ref) {
                    (Some(it), _) => (
                        "configmap",
                        "ConfigMap",
                        &it.name,
                        &it.key,
                        it.optional,
                        sources.config_maps.get(&it.name),
                    ),
                    (None, Some(it)) => (
                        "secret",
                        "Secret",
                        &it.name,
                        &it.key,
                        it.optional,
                        sources.secrets.get(&it.name),
                    ),
                    (None, None) => continue,
                };
            match values.map(|values| values.get(key)) {
                Some(Some(value)) => value.clone(),
                _ if optional == Some(true) => continue,
                None => return Err(format!("{kind} \"{name}\" not found")),
                Some(None) => {
                    return Err(format!("couldn't find key {key} in {kinds} {namespace}/{name}"));
                }
            }
        };
        variables.insert(variable.name.clone(), value);
    }
    Ok(variables)
}

/// The variables that tell where Services are: those of the container engine that came first, and Kubernetes' own.
pub fn services<'a>(services: impl Iterator<Item = &'a Service>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let spec = service.spec.as_ref();
        let address = spec.and_then(|it| it.cluster_ip.as_deref()).unwrap_or_default();
        let ports = spec.and_then(|it| it.ports.as_deref()).unwrap_or_default();
        let (Some(first), false) = (ports.first(), matches!(address, "" | "None")) else {
            continue;
        };
        let name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
        let mut tell = |suffix: String, value: String| {
            variables.insert(format!("{name}_{suffix}"), value);
        };
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        tell("SERVICE_HOST".to_owned(), address.to_owned());
        tell("SERVICE_PORT".to_owned(), first.port.to_string());
        for (index, port) in ports.iter().enumerate() {
            let number = port.port;
            if let Some(name) = port.name.as_deref().filter(|it| !it.is_empty()) {
                tell(format!("SERVICE_PORT_{}", variable_name(name)), number.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let lower = protocol.to_lowercase();
            let url = format!("{lower}://{host}:{number}");
            if index == 0 {
                tell("PORT".to_owned(), url.clone());
            }
            let prefix = format!("PORT_{number}_{}", protocol.to_uppercase());
            tell(format!("{prefix}_PROTO"), lower);
            tell(format!("{prefix}_PORT"), number.to_string());
            tell(format!("{prefix}_ADDR"), address.to_owned());
            tell(prefix, url);
        }
    }
    variables
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The program and its arguments: the container's, where it has them, in place of the image's.
pub fn command_line(
    container: &Container,
    image: (String, &[String]),
    variables: &BTreeMap<String, String>,
) -> (String, Vec<String>) {
    let expanded =
        |texts: &[String]| texts.iter().map(|it| expand(it, variables)).collect::<Vec<_>>();
    let args = expanded(container.args.as_deref().unwrap_or_default());
    match container.command.as_deref().unwrap_or_default() {
        [] => {
            let own = image.1.iter().cloned().chain(args).collect();
            (image.0, own)
        }
        [program, rest @ ..] => {
            (expand(program, variables), expanded(rest).into_iter().chain(args).collect())
        }
    }
}

/// Replaces `$(NAME)` by the variable's value; an unknown name stays as it is, and `$$` is one `$`.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    expand_with(text, |name| variables.get(name).map(String::as_str))
}

/// The names of the variables that [`expand`] would look for.
pub fn names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    expand_with(text, |name| {
        names.push(name);
        None
    });
    names
}

fn expand_with<'a, 'v>(text: &'a str, mut value: impl FnMut(&'a str) -> Option<&'v str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match value(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// The value of a field of the pod; none for a path that the downward API does not have.
pub fn field_value(field: &ObjectFieldSelector, facts: &Facts) -> Option<String> {
    let meta = &facts.pod.metadata;
    let spec = facts.pod.spec.as_ref();
    let path = field.field_path.as_str();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|it| it.split_once("['")) {
        let values = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return None,
        };
        return Some(
            values
                .iter()
                .flatten()
                .find(|it| it.0 == key)
                .map(|it| it.1.clone())
                .unwrap_or_default(),
        );
    }
    let text = match path {
        "metadata.name" => meta.name.as_deref(),
        "metadata.namespace" => meta.namespace.as_deref(),
        "metadata.uid" => meta.uid.as_deref(),
        "spec.nodeName" => Some(facts.node),
        "spec.serviceAccountName" => spec.and_then(|it| it.service_account_name.as_deref()),
        "status.hostIP" | "status.hostIPs" => Some(facts.host_ip),
        "status.podIP" | "status.podIPs" => Some(facts.pod_ip),
        "metadata.labels" => return Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => return Some(lines(meta.annotations.as_ref())),
        _ => return None,
    };
    Some(text.unwrap_or_default().to_owned())
}

fn lines(values: Option<&BTreeMap<String, String>>) -> String {
    let lines = values.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The value of a container's limit or request, in units of the divisor, rounded up.
pub fn resource_value(
    field: &ResourceFieldSelector,
    container: &Container,
    facts: &Facts,
) -> Result<String, String> {
    let resources = container.resources.as_ref();
    let (values, name) = match field.resource.split_once('.') {
        Some(("limits", name)) => (resources.and_then(|it| it.limits.as_ref()), name),
        Some(("requests", name)) => (resources.and_then(|it| it.requests.as_ref()), name),
        _ => return Err(format!("unsupported container resource : {}", field.resource)),
    };
    // What is not limited is limited by the machine.
    let unlimited = match (field.resource.starts_with("limits"), name) {
        (true, "cpu") => facts.cpu_count * 1000,
        (true, "memory") => facts.memory_bytes * 1000,
        _ => 0,
    };
    let value = match values.and_then(|it| it.get(name)) {
        Some(quantity) => {
            thousandths(quantity).ok_or_else(|| format!("bad quantity {}", quantity.0))?
        }
        None => u128::from(unlimited),
    };
    let divisor = match field.divisor.as_ref().and_then(thousandths) {
        None | Some(0) => 1000,
        Some(divisor) => divisor,
    };
    Ok(value.div_ceil(divisor).to_string())
}

/// A quantity in thousandths of its unit; none if it is not one or negative.
pub fn thousandths(quantity: &Quantity) -> Option<u128> {
    let text = quantity.0.trim();
    let digits_end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let factor: u128 = match suffix {
        "n" => return Some(parse_scaled(number, 1)?.div_ceil(1_000_000)),
        "u" => return Some(parse_scaled(number, 1)?.div_ceil(1000)),
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        "Ei" => 1000 << 60,
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            1000u128.checked_mul(10u128.checked_pow(power)?)?
        }
    };
    parse_scaled(number, factor)
}

/// A decimal number times `factor`, rounded up.
fn parse_scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let fraction = fraction.checked_mul(factor)?.div_ceil(scale);
    whole.checked_mul(factor)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn services_are_told_as_kubelet_tells_them() {
        let service = |name: &str, spec: serde_json::Value| -> Service {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
        };
        let all = [
            service(
                "kubernetes",
                json!({"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}),
            ),
            service(
                "my-db",
                json!({"clusterIP": "10.96.0.9", "ports": [{"port": 5432}, {"name": "a-b", "port": 53, "protocol": "UDP"}]}),
            ),
            service("headless", json!({"clusterIP": "None", "ports": [{"port": 80}]})),
            service("elsewhere", json!({"type": "ExternalName", "externalName": "example.com"})),
        ];
        let found: Vec<String> = services(all.iter())
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            found,
            [
                "KUBERNETES_PORT=tcp://10.96.0.1:443",
                "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443",
                "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
                "KUBERNETES_PORT_443_TCP_PORT=443",
                "KUBERNETES_PORT_443_TCP_PROTO=tcp",
                "KUBERNETES_SERVICE_HOST=10.96.0.1",
                "KUBERNETES_SERVICE_PORT=443",
                "KUBERNETES_SERVICE_PORT_HTTPS=443",
                "MY_DB_PORT=tcp://10.96.0.9:5432",
                "MY_DB_PORT_53_UDP=udp://10.96.0.9:53",
                "MY_DB_PORT_53_UDP_ADDR=10.96.0.9",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_5432_TCP=tcp://10.96.0.9:5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.96.0.9",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_SERVICE_HOST=10.96.0.9",
                "MY_DB_SERVICE_PORT=5432",
                "MY_DB_SERVICE_PORT_A_B=53",
            ]
        );
    }

    #[test]
    fn expands_as_kubelet_does() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("ä$(A)", "ä1"),
        ] {
            assert_eq!(expand(text, &variables), expanded, "{text}");
        }
    }

    #[test]
    fn gathers_variables_from_all_sources() {
        let resources = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "250m"}});
        check(
            json!({"resources": resources, "envFrom": [
                {"prefix": "P_", "configMapRef": {"name": "c"}},
                {"secretRef": {"name": "none", "optional": true}},
            ], "env": [
                {"name": "PLAIN", "value": "v-$(P_k)"},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
                {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": true}}},
            ]}),
            Ok("CPU=250 CPUS=4 IP=10.0.0.2 LABEL=c MEM=1024 NAME=p PLAIN=v-1 P_k=1 S=secret"),
        );
    }

    #[test]
    fn says_what_is_missing() {
        let env = |from: Value| json!({"env": [{"name": "X", "valueFrom": from}]});
        check(
            env(json!({"configMapKeyRef": {"name": "none", "key": "k"}})),
            Err("configmap \"none\" not found"),
        );
        check(
            env(json!({"secretKeyRef": {"name": "s", "key": "other"}})),
            Err("couldn't find key other in Secret n/s"),
        );
        check(json!({"envFrom": [{"secretRef": {"name": "x"}}]}), Err("secret \"x\" not found"));
    }

    #[track_caller]
    fn check(container: Value, expected: Result<&str, &str>) {
        let mut container = container;
        container["name"] = json!("c");
        let container: Container = serde_json::from_value(container).unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a/b": "c"}}, "spec": {"containers": []},
        }))
        .unwrap();
        let facts = Facts {
            pod: &pod,
            pod_ip: "10.0.0.2",
            host_ip: "10.0.0.1",
            node: "weft",
            cpu_count: 4,
            memory_bytes: 1 << 30,
        };
        let values = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let sources = Sources {
            config_maps: BTreeMap::from([("c".to_owned(), values("k", "1"))]),
            secrets: BTreeMap::from([("s".to_owned(), values("k", "secret"))]),
        };
        let found = variables(&container, &sources, &facts, BTreeMap::new()).map(|variables| {
            let pairs = variables.iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn command_and_arguments_replace_those_of_the_image() {
        let image = || ("/bin/weft".to_owned(), ["sample".to_owned(), "hello".to_owned()]);
        for (container, line) in [
            (json!({"name": "c"}), "/bin/weft sample hello"),
            (json!({"name": "c", "args": ["-v", "$(A)"]}), "/bin/weft sample hello -v 1"),
            (json!({"name": "c", "command": ["sh", "-c"], "args": ["$(A)"]}), "sh -c 1"),
        ] {
            let container: Container = serde_json::from_value(container).unwrap();
            let (program, own) = image();
            let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
            let (program, args) = command_line(&container, (program, &own), &variables);
            assert_eq!(format!("{program} {}", args.join(" ")), line);
        }
    }

    #[test]
    fn quantities_in_thousandths() {
        for (text, value) in [
            ("1", Some(1000)),
            ("250m", Some(250)),
            ("0.1", Some(100)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("100u", Some(1)),
            ("x", None),
            ("1Xi", None),
        ] {
            assert_eq!(thousandths(&Quantity(text.to_owned())), value, "{text}");
        }
    }
}
