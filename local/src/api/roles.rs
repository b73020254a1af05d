//! The roles and bindings that every cluster has from the beginning.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`.

use serde_json::{Value, json};

use super::Server;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What readers, writers and administrators of a namespace may touch: group and resources.
const READABLE: [(&str, &[&str]); 7] = [
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
            "bindings",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
];
const WRITABLE: [(&str, &[&str]); 6] = [
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "events",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/eviction",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "replicationcontrollers",
            "secrets",
            "serviceaccounts",
            "serviceaccounts/token",
            "services",
            "services/proxy",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

fn rules(places: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    places.iter().map(|(group, resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs})).collect()
}

fn roles() -> Vec<(&'static str, Value)> {
    let read = ["get", "list", "watch"];
    let write = ["create", "delete", "deletecollection", "patch", "update"];
    let urls = |urls: &[&str]| json!({"rules": [{"verbs": ["get"], "nonResourceURLs": urls}]});
    let aggregated = |to: &str| json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{to}"): "true"}}]}, "rules": []});
    let part = |to: &[&str], rules: Vec<Value>| {
        let labels: serde_json::Map<String, Value> = to
            .iter()
            .map(|to| (format!("rbac.authorization.k8s.io/aggregate-to-{to}"), "true".into()))
            .collect();
        json!({"metadata": {"labels": labels}, "rules": rules})
    };
    let mut edit = rules(&WRITABLE, &write);
    edit.push(json!({"apiGroups": [""], "resources": ["secrets", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"], "verbs": read}));
    edit.push(
        json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}),
    );
    let mut admin = rules(
        &[(GROUP, &["rolebindings", "roles"])],
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    );
    admin.push(json!({"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]}));
    vec![
        (
            "cluster-admin",
            json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
        ),
        (
            "system:discovery",
            urls(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ]),
        ),
        (
            "system:public-info-viewer",
            urls(&["/healthz", "/livez", "/readyz", "/version", "/version/"]),
        ),
        (
            "system:basic-user",
            json!({"rules": [
                {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
            ]}),
        ),
        (
            "system:auth-delegator",
            json!({"rules": [
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
                {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"]},
            ]}),
        ),
        ("admin", aggregated("admin")),
        ("edit", aggregated("edit")),
        ("view", aggregated("view")),
        ("system:aggregate-to-admin", part(&["admin"], admin)),
        ("system:aggregate-to-edit", part(&["edit", "admin"], edit)),
        ("system:aggregate-to-view", part(&["view", "edit", "admin"], rules(&READABLE, &read))),
    ]
}

fn bindings() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    vec![
        ("cluster-admin", "cluster-admin", &["system:masters"]),
        ("system:discovery", "system:discovery", &["system:authenticated"]),
        ("system:basic-user", "system:basic-user", &["system:authenticated"]),
        (
            "system:public-info-viewer",
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
    ]
}

/// Stores the roles and bindings that are missing.
pub fn begin(server: &Server) {
    for (name, mut role) in roles() {
        store(server, "clusterroles", name, &mut role);
    }
    for (name, role, groups) in bindings() {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|group| json!({"kind": "Group", "apiGroup": GROUP, "name": group}))
            .collect();
        let mut binding = json!({"subjects": subjects, "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}});
        store(server, "clusterrolebindings", name, &mut binding);
    }
}

fn store(server: &Server, plural: &str, name: &str, value: &mut Value) {
    let resource = format!("{GROUP}/{plural}");
    if server.store.get(&resource, name).is_some() {
        return;
    }
    value["metadata"]["name"] = name.into();
    value["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
    value["metadata"]["creationTimestamp"] = super::seconds(server.clock.now()).into();
    value["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
    value["metadata"]["annotations"] =
        json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    if let Err(error) = server.store.create(&resource, name, value) {
        tracing::error!(role = name, %error, "a first role cannot be stored");
    }
}
