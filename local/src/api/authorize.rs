//! Who may do what: the administrators everything, everyone else what roles grant.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/auth/authorizer/rbac`.

use http::Method;
use http::request::Parts;
use serde_json::{Value, json};

use super::Server;
use super::path::Path;
use super::query::Query;
use super::status::{Refusal, Status};
use super::user::User;
use crate::kinds::Kind;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Of requests that are not for resources.
    pub path: String,
}

/// Refuses what the user may not do.
pub fn check(
    server: &Server,
    user: &User,
    parts: &Parts,
    query: &Query,
    target: Option<&Path>,
) -> Result<(), Refusal> {
    if user.is_master() {
        return Ok(());
    }
    let attributes = attributes(parts, query, target);
    if allowed(server, user, &attributes).is_some() {
        return Ok(());
    }
    Err(forbidden(user, &attributes))
}

/// The refusal of something.
pub fn forbidden(user: &User, what: &Attributes) -> Refusal {
    if !what.path.is_empty() {
        let message =
            format!("forbidden: User {:?} cannot {} path {:?}", user.name, what.verb, what.path);
        return Status::other(403, "Forbidden", message, Some(super::status::Details::default()));
    }
    let resource = if what.subresource.is_empty() {
        what.resource.clone()
    } else {
        format!("{}/{}", what.resource, what.subresource)
    };
    let mut why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?}",
        user.name, what.verb, what.group
    );
    if what.namespace.is_empty() {
        why.push_str(" at the cluster scope");
    } else {
        why.push_str(&format!(" in the namespace {:?}", what.namespace));
    }
    Status::forbidden(&what.group, &what.resource, &what.name, &why)
}

fn attributes(parts: &Parts, query: &Query, target: Option<&Path>) -> Attributes {
    let verb = parts.method.as_str().to_lowercase();
    let Some(target) = target.filter(|target| !target.resource.is_empty()) else {
        return Attributes { verb, path: parts.uri.path().to_owned(), ..Attributes::default() };
    };
    let watch = target.watch || query.flag("watch").unwrap_or(false);
    let verb = match (&parts.method, target.name.is_empty()) {
        (&Method::GET | &Method::HEAD, true) if watch => "watch",
        (&Method::GET | &Method::HEAD, true) => "list",
        (&Method::GET | &Method::HEAD, false) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "deletecollection",
        (&Method::DELETE, false) => "delete",
        _ => &verb,
    };
    // A namespace is in itself.
    let namespace = if target.resource == "namespaces" {
        target.name.clone()
    } else {
        target.namespace.clone()
    };
    Attributes {
        verb: verb.to_owned(),
        group: target.group.clone(),
        resource: target.resource.clone(),
        subresource: target.subresource.join("/"),
        namespace,
        name: target.name.clone(),
        path: String::new(),
    }
}

/// Why a user may do something; none when they may not.
pub fn allowed(server: &Server, user: &User, what: &Attributes) -> Option<String> {
    if user.is_master() {
        return Some(String::new());
    }
    for grant in grants(server, user, &what.namespace) {
        if grant.rules.iter().any(|rule| grants_attributes(rule, what)) {
            return Some(grant.reason);
        }
    }
    None
}

/// The rules of one binding of a user.
pub struct Grant {
    pub rules: Vec<Value>,
    pub reason: String,
}

/// All that bindings give a user in a namespace and in the cluster.
pub fn grants(server: &Server, user: &User, namespace: &str) -> Vec<Grant> {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let mut grants = Vec::new();
    let mut bindings = vec![("clusterrolebindings", String::new())];
    if !namespace.is_empty() {
        bindings.push(("rolebindings", namespace.to_owned()));
    }
    for (plural, namespace) in bindings {
        let Ok(page) = server.store.list(&format!("{GROUP}/{plural}"), &namespace, None) else {
            continue;
        };
        for object in page.objects {
            let binding = object.value();
            let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
            let Some(subject) =
                subjects.iter().find(|subject| is_subject(user, subject, &namespace))
            else {
                continue;
            };
            let role = &binding["roleRef"];
            let (kind, name) = (
                role["kind"].as_str().unwrap_or_default(),
                role["name"].as_str().unwrap_or_default(),
            );
            let found = match kind {
                "ClusterRole" => server.store.get(&format!("{GROUP}/clusterroles"), name),
                _ => server.store.get(&format!("{GROUP}/roles"), &format!("{namespace}/{name}")),
            };
            let Some(found) = found else { continue };
            let what = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
            let place = if namespace.is_empty() {
                object.name().to_owned()
            } else {
                format!("{}/{namespace}", object.name())
            };
            let who = match subject["kind"].as_str() {
                Some("ServiceAccount") => format!(
                    "ServiceAccount {:?}",
                    format!(
                        "{}/{}",
                        subject["name"].as_str().unwrap_or_default(),
                        subject["namespace"].as_str().unwrap_or_default()
                    )
                ),
                Some(other) => {
                    format!("{other} {:?}", subject["name"].as_str().unwrap_or_default())
                }
                None => String::new(),
            };
            let reason = format!("RBAC: allowed by {what} {place:?} of {kind} {name:?} to {who}");
            grants.push(Grant { rules: rules_of(server, &found.value()), reason });
        }
    }
    grants
}

/// A role's rules; those of an aggregated role are the rules of the roles that it selects.
fn rules_of(server: &Server, role: &Value) -> Vec<Value> {
    let mut rules = role["rules"].as_array().cloned().unwrap_or_default();
    for selector in role["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten()
    {
        let Ok(selector) = crate::selector::parse_labels(&super::scale::selector_text(selector))
        else {
            continue;
        };
        let Ok(page) = server.store.list("rbac.authorization.k8s.io/clusterroles", "", None) else {
            continue;
        };
        for object in page.objects.iter().filter(|object| selector.match_sorted(&object.labels)) {
            rules.extend(object.value()["rules"].as_array().cloned().unwrap_or_default());
        }
    }
    rules
}

fn is_subject(user: &User, subject: &Value, namespace: &str) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => user.name == name,
        Some("Group") => user.groups.iter().any(|group| group == name),
        Some("ServiceAccount") => {
            let namespace =
                subject["namespace"].as_str().filter(|one| !one.is_empty()).unwrap_or(namespace);
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn has(list: &Value, wanted: &str) -> bool {
    list.as_array().into_iter().flatten().any(|one| one == "*" || one == wanted)
}

fn grants_attributes(rule: &Value, what: &Attributes) -> bool {
    if !has(&rule["verbs"], &what.verb) {
        return false;
    }
    if !what.path.is_empty() {
        return rule["nonResourceURLs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|pattern| {
                pattern == what.path
                    || pattern.strip_suffix('*').is_some_and(|prefix| what.path.starts_with(prefix))
            });
    }
    let full = if what.subresource.is_empty() {
        what.resource.clone()
    } else {
        format!("{}/{}", what.resource, what.subresource)
    };
    let every = format!("*/{}", what.subresource);
    let resource = rule["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|one| *one == full || one == "*" || !what.subresource.is_empty() && *one == every);
    let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
    has(&rule["apiGroups"], &what.group)
        && resource
        && names.is_none_or(|names| {
            !what.name.is_empty() && names.iter().any(|name| *name == what.name)
        })
}

/// The user that a request is made as.
pub fn impersonated(
    server: &Server,
    user: &User,
    parts: &Parts,
    query: &Query,
) -> Result<User, Refusal> {
    let headers = &parts.headers;

    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let all = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    };
    let (name, groups, uid) =
        (text("impersonate-user"), all("impersonate-group"), text("impersonate-uid"));
    let extra: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(key, value)| {
            let key = key.as_str().strip_prefix("impersonate-extra-")?;
            Some((super::path::percent_decoded(key), value.to_str().ok()?.to_owned()))
        })
        .collect();
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        if groups.is_empty() && uid.is_none() && extra.is_empty() {
            return Ok(user.clone());
        }

        let list = |values: &[String]| {
            format!(
                "[]string{{{}}}",
                values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
            )
        };
        let (uid, groups) = (
            uid.unwrap_or_default(),
            if groups.is_empty() { "[]string(nil)".to_owned() } else { list(&groups) },
        );
        let extra = if extra.is_empty() {
            "map[string][]string(nil)".to_owned()
        } else {
            let parts: Vec<String> = extra
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", list(std::slice::from_ref(value))))
                .collect();
            format!("map[string][]string{{{}}}", parts.join(", "))
        };
        return Err(Status::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:{groups}, Extra:{extra}}} without impersonating a user name"
        )));
    };
    let name_is_account = name.starts_with("system:serviceaccount:");
    let ask = |resource: &str, name: &str, namespace: &str, group: &str, subresource: &str| {
        let what = Attributes {
            verb: "impersonate".into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            path: String::new(),
        };
        if allowed(server, user, &what).is_some() {
            return Ok(());
        }
        // The last thing that upstream tries is the right to impersonate for this one action, and it tells of that.
        let target = super::path::parse(parts.uri.path());
        let mut action = attributes(parts, query, target.as_ref());
        let sort = if name_is_account { "serviceaccount" } else { "user-info" };
        action.verb = format!("impersonate-on:{sort}:{}", action.verb);
        Err(forbidden(user, &action))
    };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => ask("serviceaccounts", account, namespace, "", "")?,
        None => ask("users", &name, "", "", "")?,
    }
    for group in &groups {
        ask("groups", group, "", "", "")?;
    }
    if let Some(uid) = &uid {
        ask("uids", uid, "", "authentication.k8s.io", "")?;
    }
    for (key, value) in &extra {
        ask("userextras", value, "", "authentication.k8s.io", key)?;
    }
    let mut new = match account {
        Some((namespace, account)) if groups.is_empty() => {
            super::tokens::service_account(namespace, account)
        }
        _ => User { name: name.clone(), groups, ..User::default() },
    };
    let authenticated =
        if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !new.groups.iter().any(|group| group == authenticated) {
        new.groups.push(authenticated.into());
    }
    new.uid = uid.unwrap_or_default();
    for (key, value) in extra {
        new.extra.entry(key).or_default().push(value);
    }
    Ok(new)
}

/// Nobody can grant more than they have.
pub fn check_escalation(
    server: &Server,
    user: &User,
    kind: &Kind,
    value: &Value,
) -> Result<(), Refusal> {
    if user.is_master() || &*kind.group != "rbac.authorization.k8s.io" {
        return Ok(());
    }
    let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let (verb, target, rules) = if kind.plural.ends_with("bindings") {
        let role = &value["roleRef"];
        let role_name = role["name"].as_str().unwrap_or_default();
        let found = match role["kind"].as_str() {
            Some("ClusterRole") => {
                server.store.get("rbac.authorization.k8s.io/clusterroles", role_name)
            }
            _ => server
                .store
                .get("rbac.authorization.k8s.io/roles", &format!("{namespace}/{role_name}")),
        };
        let Some(found) = found else {
            let plural = if role["kind"] == "ClusterRole" { "clusterroles" } else { "roles" };
            return Err(Status::not_found("rbac.authorization.k8s.io", plural, role_name));
        };
        let plural = if role["kind"] == "ClusterRole" { "clusterroles" } else { "roles" };
        ("bind", (plural.to_owned(), role_name.to_owned()), rules_of(server, &found.value()))
    } else {
        (
            "escalate",
            (kind.plural.to_string(), name.to_owned()),
            value["rules"].as_array().cloned().unwrap_or_default(),
        )
    };
    let may = Attributes {
        verb: verb.into(),
        group: kind.group.to_string(),
        resource: target.0,
        namespace: namespace.into(),
        name: target.1,
        ..Attributes::default()
    };
    if allowed(server, user, &may).is_some() {
        return Ok(());
    }
    let held: Vec<Value> =
        grants(server, user, namespace).into_iter().flat_map(|grant| grant.rules).collect();
    let missing: Vec<Value> = rules
        .iter()
        .flat_map(single_rules)
        .filter(|rule| !held.iter().any(|one| covers(one, rule)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing.iter().map(rule_text).collect();
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        texts.join("\n")
    );
    Err(Status::forbidden(&kind.group, &kind.plural, name, &why))
}

/// A rule taken apart into rules of one verb, one group and one resource.
fn single_rules(rule: &Value) -> Vec<Value> {
    let list = |key: &str| rule[key].as_array().cloned().unwrap_or_default();
    let mut single = Vec::new();
    for verb in list("verbs") {
        for url in list("nonResourceURLs") {
            single.push(json!({"verbs": [verb], "nonResourceURLs": [url]}));
        }
        for group in list("apiGroups") {
            for resource in list("resources") {
                let mut one =
                    json!({"verbs": [verb], "apiGroups": [group], "resources": [resource]});
                if let Some(names) = rule
                    .get("resourceNames")
                    .filter(|names| names.as_array().is_some_and(|names| !names.is_empty()))
                {
                    one["resourceNames"] = names.clone();
                }
                single.push(one);
            }
        }
    }
    single
}

fn covers(held: &Value, wanted: &Value) -> bool {
    let all = |key: &str| {
        wanted[key]
            .as_array()
            .into_iter()
            .flatten()
            .all(|one| has(&held[key], one.as_str().unwrap_or_default()))
    };
    let names = held["resourceNames"].as_array().is_none_or(Vec::is_empty)
        || wanted["resourceNames"].as_array().is_some_and(|names| {
            !names.is_empty()
                && names
                    .iter()
                    .all(|name| has(&held["resourceNames"], name.as_str().unwrap_or_default()))
        });
    if wanted.get("nonResourceURLs").is_some() {
        all("verbs") && all("nonResourceURLs")
    } else {
        all("verbs") && all("apiGroups") && all("resources") && names
    }
}

fn rule_text(rule: &Value) -> String {
    let list = |key: &str| -> String {
        rule[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let parts = [
        ("APIGroups", "apiGroups"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, key)| rule[*key].as_array().is_some_and(|list| !list.is_empty()))
        .map(|(name, key)| format!("{name}:[{}]", list(key).replace(' ', ", ").replace(", ", " ")))
        .collect();
    let texts: Vec<String> =
        parts.into_iter().map(|part| part.replace("\" \"", "\", \"")).collect();
    format!("{{{}}}", texts.join(", "))
}
