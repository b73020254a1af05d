//! Where events for a destination are sent.
//!
//! Pure: a destination and what is seen of the object that it names in, a URL or a reason out.
//! Source: knative.dev/pkg `resolver/addressable_resolver.go`.

use api::{
    duck::{Addressable, Destination, KReference},
    go::quote,
    url::Url,
};
use config::domain::CLUSTER_LOCAL_DOMAIN;

use crate::{
    cluster::Key,
    tracker::{Found, Lookup, ObjectKind, object::Object},
};

/// Why nothing can be sent to a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The object that it names, or its kind, is not there.
    #[error("{0}")]
    Missing(String),
    /// All else.
    #[error("{0}")]
    Wrong(String),
}

/// Where a destination is that an object in `namespace` names.
pub fn destination(
    destination: &Destination,
    namespace: &str,
    lookup: Lookup,
) -> Result<Addressable, Problem> {
    let uri = destination.uri.as_deref();
    let wrong = |why: String| Err(Problem::Wrong(why));
    let Some(reference) = &destination.reference else {
        let Some(uri) = uri else {
            return wrong("destination missing Ref and URI, expected at least one".to_owned());
        };
        let url = Url::of(uri);
        if !url.is_absolute() || url.authority.is_empty() {
            return wrong(format!(
                "URI is not absolute (both scheme and host should be non-empty): {}",
                quote(uri)
            ));
        }
        return Ok(Addressable {
            url: Some(uri.to_owned()),
            ca_certs: destination.ca_certs.clone(),
            audience: destination.audience.clone(),
            ..Addressable::default()
        });
    };
    let mut address = reference_address(destination, reference, namespace, lookup)?;
    if let Some(uri) = uri {
        if Url::of(uri).is_absolute() {
            return wrong(
                "absolute URI is not allowed when Ref or [apiVersion, kind, name] exists"
                    .to_owned(),
            );
        }
        address.url = address.url.map(|url| Url::of(&url).join(uri));
    }
    Ok(address)
}

/// The object that `reference` names, if it is there.
pub fn object(
    reference: &KReference,
    namespace: &str,
    lookup: Lookup,
) -> Result<std::sync::Arc<Object>, Problem> {
    let kind = kind(reference);
    let key = Key::new(namespace_of(reference, namespace), &reference.name);
    match (lookup.object)(&kind, &key) {
        Found::Here(object) => Ok(object),
        Found::Missing => Err(Problem::Missing(not_found(&kind, &key.name))),
        Found::Hidden(why) => Err(Problem::Wrong(why)),
    }
}

/// What the API says when there is no object of that kind and name.
pub fn not_found(kind: &ObjectKind, name: &str) -> String {
    format!("{} {} not found", kind.resource(), quote(name))
}

/// The kind that a reference names.
pub fn kind(reference: &KReference) -> ObjectKind {
    ObjectKind::new(reference.api_version.as_deref().unwrap_or_default(), &reference.kind)
}

/// The namespace that a reference of an object in `own` leads to.
pub fn namespace_of<'a>(reference: &'a KReference, own: &'a str) -> &'a str {
    reference.namespace.as_deref().filter(|it| !it.is_empty()).unwrap_or(own)
}

fn reference_address(
    destination: &Destination,
    reference: &KReference,
    own: &str,
    lookup: Lookup,
) -> Result<Addressable, Problem> {
    let namespace = namespace_of(reference, own);
    let object = object(reference, own, lookup).map_err(|problem| {
        let what = format!("{namespace}/{}", reference.name);
        match problem {
            Problem::Missing(why) => {
                Problem::Missing(format!("failed to get object {what}: {why}"))
            }
            Problem::Wrong(why) => Problem::Wrong(format!("failed to get object {what}: {why}")),
        }
    })?;
    let ca_certs = destination.ca_certs.clone().filter(|it| !it.is_empty());
    let audience = destination.audience.clone().filter(|it| !it.is_empty());
    if kind(reference) == ObjectKind::new("v1", "Service") {
        let scheme = if ca_certs.is_some() { "https" } else { "http" };
        return Ok(Addressable {
            name: reference.address.clone(),
            url: Some(format!("{scheme}://{}.{namespace}.{CLUSTER_LOCAL_DOMAIN}", reference.name)),
            ca_certs,
            audience,
        });
    }
    let described = || described(reference, namespace);
    let wrong = |why: String| Err(Problem::Wrong(why));
    let addresses = object.status.as_ref().map(|it| (&it.address, &it.addresses[..]));
    let (address, addresses) = match addresses {
        None | Some((None, [])) => return wrong(format!("address not set for {}", described())),
        Some(addresses) => addresses,
    };
    let address = match reference.address.as_deref().filter(|it| !it.is_empty()) {
        Some(name) => match addresses.iter().find(|it| it.name.as_deref() == Some(name)) {
            Some(address) => address,
            None => {
                return wrong(format!(
                    "address with name {} not found for {}",
                    quote(name),
                    described()
                ));
            }
        },
        None => match addresses.first().or(address.as_ref()) {
            Some(address) => address,
            None => return wrong(format!("address not set for {}", described())),
        },
    };
    match &address.url {
        None => return wrong(format!("URL missing in address of {}", described())),
        Some(url) if Url::of(url).authority.is_empty() => {
            return wrong(format!("hostname missing in address of {}", described()));
        }
        Some(_) => {}
    }
    let mut address = address.clone();
    address.ca_certs = ca_certs.or(address.ca_certs);
    address.audience = audience.or(address.audience);
    Ok(address)
}

fn described(reference: &KReference, namespace: &str) -> String {
    format!(
        "Kind = {}, Namespace = {namespace}, Name = {}, APIVersion = {}, Group = {}, Address = {}",
        reference.kind,
        reference.name,
        reference.api_version.as_deref().unwrap_or_default(),
        reference.group.as_deref().unwrap_or_default(),
        reference.address.as_deref().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_destination_leads_to_a_url_or_a_reason() {
        check(json!({ "uri": "http://a.b/c" }), Ok("http://a.b/c"));
        check(
            json!({ "uri": "/c" }),
            Err("URI is not absolute (both scheme and host should be non-empty): \"/c\""),
        );
        check(json!({}), Err("destination missing Ref and URI, expected at least one"));
        check(service(json!({})), Ok("http://sink.ns.svc.cluster.local"));
        check(
            json!({ "ref": service(json!({}))["ref"], "uri": "/x?y=1" }),
            Ok("http://sink.ns.svc.cluster.local/x?y=1"),
        );
        check(
            json!({ "ref": service(json!({}))["ref"], "CACerts": "x" }),
            Ok("https://sink.ns.svc.cluster.local"),
        );
        check(
            service(json!({ "name": "nope" })),
            Err("failed to get object ns/nope: services \"nope\" not found"),
        );
        check(
            json!({ "ref": service(json!({}))["ref"], "uri": "http://x" }),
            Err("absolute URI is not allowed when Ref or [apiVersion, kind, name] exists"),
        );
        check(broker("b", json!({})), Ok("http://ingress/ns/b"));
        check(
            broker("b", json!({ "namespace": "other" })),
            Err("failed to get object other/b: brokers.eventing.knative.dev \"b\" not found"),
        );
        check(broker("many", json!({})), Ok("https://first"));
        check(broker("many", json!({ "address": "second" })), Ok("http://second"));
        check(
            broker("many", json!({ "address": "third" })),
            Err(
                "address with name \"third\" not found for Kind = Broker, Namespace = ns, Name = many, \
                 APIVersion = eventing.knative.dev/v1, Group = , Address = third",
            ),
        );
        check(
            broker("new", json!({})),
            Err("address not set for Kind = Broker, Namespace = ns, Name = new, \
                 APIVersion = eventing.knative.dev/v1, Group = , Address = "),
        );
    }

    #[track_caller]
    fn check(wanted: Value, leads_to: Result<&str, &str>) {
        let objects = [
            ("v1 Service", json!({ "metadata": { "name": "sink", "namespace": "ns" } })),
            (
                "eventing.knative.dev/v1 Broker",
                json!({
                    "metadata": { "name": "b", "namespace": "ns" },
                    "status": { "address": { "url": "http://ingress/ns/b" } },
                }),
            ),
            (
                "eventing.knative.dev/v1 Broker",
                json!({
                    "metadata": { "name": "many", "namespace": "ns" },
                    "status": { "addresses": [
                        { "name": "first", "url": "https://first" },
                        { "name": "second", "url": "http://second" },
                    ] },
                }),
            ),
            (
                "eventing.knative.dev/v1 Broker",
                json!({ "metadata": { "name": "new", "namespace": "ns" }, "status": {} }),
            ),
        ];
        let objects: HashMap<(String, Key), Arc<Object>> = objects
            .into_iter()
            .map(|(kind, object)| {
                let object = Object::read(&object.to_string()).unwrap();
                ((kind.to_owned(), object.key.clone()), Arc::new(object))
            })
            .collect();
        let lookup = Lookup {
            object: &|kind, key| {
                let found = objects.get(&(format!("{kind:?}"), key.clone()));
                found.cloned().map_or(Found::Missing, Found::Here)
            },
            objects: &|_, _| Vec::new(),
        };
        let wanted: Destination = serde_json::from_value(wanted).unwrap();
        let found = destination(&wanted, "ns", lookup);
        let found = found.map(|it| it.url.unwrap()).map_err(|it| it.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), leads_to);
    }

    fn service(over: Value) -> Value {
        reference(json!({ "apiVersion": "v1", "kind": "Service", "name": "sink" }), over)
    }

    fn broker(name: &str, over: Value) -> Value {
        let own =
            json!({ "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": name });
        reference(own, over)
    }

    fn reference(mut own: Value, over: Value) -> Value {
        for (key, value) in over.as_object().into_iter().flatten() {
            own[key] = value.clone();
        }
        json!({ "ref": own })
    }
}
