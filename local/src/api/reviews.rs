//! Kinds that are questions: who am I, may I, may they.

use http::Response;
use serde_json::{Value, json};

use super::answer::{self, Body};
use super::authorize::{self, Attributes};
use super::call::Call;
use super::query;
use super::seconds;
use super::status::{Cause, Refusal, Status};
use super::user::User;
use crate::kinds::Kind;

/// Whether a kind is a question.
pub fn is_review(kind: &Kind) -> bool {
    matches!(&*kind.group, "authorization.k8s.io" | "authentication.k8s.io")
}

/// Answers a review.
pub fn answer(call: &mut Call<'_>) -> Result<Response<Body>, Refusal> {
    query::write_options(&call.query, "CreateOptions")?;
    let kind = call.kind.clone();
    let (value, duplicates) = call.body_value(&kind.kind)?;
    let mut value = call.decoded(&kind, value, duplicates, query::FieldValidation::Warn)?;
    match &*kind.kind {
        "SelfSubjectReview" => {
            value["metadata"] = json!({"creationTimestamp": seconds(call.now)});
            value["status"] = json!({"userInfo": info(&call.user)});
        }
        "TokenReview" => token_review(call, &mut value)?,
        "SelfSubjectRulesReview" => rules_review(call, &mut value)?,
        "SelfSubjectAccessReview" => access(call, &mut value, None)?,
        _ => {
            let spec = &value["spec"];
            let name = spec["user"].as_str().unwrap_or_default().to_owned();
            let groups: Vec<String> = spec["groups"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|group| group.as_str().map(str::to_owned))
                .collect();
            let mut causes = Vec::new();
            if name.is_empty() && groups.is_empty() {
                causes.push(Cause::invalid(
                    "spec.user",
                    &json!(name),
                    "at least one of user or group must be specified",
                ));
            }
            if &*kind.kind == "LocalSubjectAccessReview" {
                let namespace =
                    spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
                if namespace != call.path.namespace {
                    causes.push(Cause::invalid(
                        "spec.resourceAttributes.namespace",
                        &json!(namespace),
                        "must match metadata.namespace",
                    ));
                }
            }
            if !causes.is_empty() {
                return Err(Status::invalid("authorization.k8s.io", "", "", causes));
            }
            access(call, &mut value, Some(User { name, groups, ..User::default() }))?;
        }
    }
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    if kind.namespaced {
        value["metadata"]["namespace"] = call.path.namespace.clone().into();
    }
    Ok(answer::value(201, call.style(), &value))
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn token_review(call: &Call<'_>, value: &mut Value) -> Result<(), Refusal> {
    let token = value["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = value["spec"]["audiences"].as_array().map_or(&[][..], Vec::as_slice);
    let mut audiences: Vec<_> = asked.iter().filter_map(Value::as_str).collect();
    if audiences.is_empty() {
        audiences.push(super::tokens::AUDIENCE);
    }
    let status = match call.server.tokens.bearer(token, &audiences, call.now, &call.server.store) {
        Some((user, audiences)) => {
            json!({"authenticated": true, "user": info(&user), "audiences": audiences})
        }
        None => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
    };
    value["status"] = status;
    Ok(())
}

fn rules_review(call: &Call<'_>, value: &mut Value) -> Result<(), Refusal> {
    let namespace = value["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let mut rules: Vec<Value> = authorize::grants(call.server, &call.user, namespace)
        .into_iter()
        .flat_map(|grant| grant.rules)
        .collect();
    if call.user.is_master() {
        rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let (urls, resources): (Vec<Value>, Vec<Value>) = rules
        .into_iter()
        .partition(|rule| rule["nonResourceURLs"].as_array().is_some_and(|urls| !urls.is_empty()));
    value["spec"] = json!({});
    value["status"] =
        json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": false});
    Ok(())
}

fn access(call: &Call<'_>, value: &mut Value, user: Option<User>) -> Result<(), Refusal> {
    let spec = &value["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut causes = Vec::new();
    if resource.is_object() && path.is_object() {
        let shown = format!(
            "{{\"Path\":{},\"Verb\":{}}}",
            json!(path["path"].as_str().unwrap_or_default()),
            json!(path["verb"].as_str().unwrap_or_default())
        );
        let message = format!(
            "Invalid value: {shown}: cannot be specified in combination with resourceAttributes"
        );
        causes.push(Cause {
            reason: "FieldValueInvalid".into(),
            message,
            field: "spec.nonResourceAttributes".into(),
        });
    }
    if !resource.is_object() && !path.is_object() {
        let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        causes.push(Cause::invalid("spec.resourceAttributes", &Value::Null, text));
    }
    if !causes.is_empty() {
        return Err(Status::invalid("authorization.k8s.io", "", "", causes));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let what = if resource.is_object() {
        Attributes {
            verb: text(&resource["verb"]),
            group: text(&resource["group"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            path: String::new(),
        }
    } else {
        Attributes { verb: text(&path["verb"]), path: text(&path["path"]), ..Attributes::default() }
    };
    let user = user.unwrap_or_else(|| call.user.clone());
    value["status"] = match authorize::allowed(call.server, &user, &what) {
        Some(reason) if reason.is_empty() => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false}),
    };
    Ok(())
}
