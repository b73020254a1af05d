//! What Sequences and Parallels do alike: channels and Subscriptions are made, kept as wanted, and taken away.
//!
//! Pure: what is wanted and what was seen in, writes and statuses out.
//! Source: knative/eventing `pkg/reconciler/sequence`, `pkg/reconciler/parallel`.

use std::sync::Arc;

use api::{
    condition::{Condition, READY, find},
    duck::{Destination, KReference},
    messaging::{ChannelTemplate, Subscription, SubscriptionSpec},
};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use runtime::{
    cluster::{Key, Kind},
    plan::{Plan, Write, is_controlled_by, owner},
    tracker::{Found, Lookup, ObjectKind, object::Object},
};

use super::template;
use crate::metadata::{is_deleted, name, namespace, uid};

/// What there is around a Sequence or a Parallel.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Finds its channels.
    pub lookup: Lookup<'a>,
    /// The Subscriptions that it controls.
    pub subscriptions: &'a [Arc<Subscription>],
    /// The Subscription of a name, whoever controls it.
    pub subscription: &'a dyn Fn(&str) -> Option<Arc<Subscription>>,
    /// Whether a write is known to change nothing: see [`runtime::cluster::Cluster::is_futile`].
    pub is_futile: &'a dyn Fn(&Write) -> bool,
}

/// The channel of that name, for `flow`; it is made where there is none, and planned again when it is there.
pub fn channel<K: Kind>(
    flow: &K,
    template: Option<&ChannelTemplate>,
    its_name: &str,
    lookup: Lookup,
    plan: &mut Plan,
) -> Result<Option<Arc<Object>>, String> {
    let kind = template::kind(template);
    let key = Key::new(namespace(flow.meta()), its_name);
    match (lookup.object)(&kind, &key) {
        Found::Here(object) => Ok(Some(object)),
        Found::Missing => {
            let wanted = template::channel(flow, template, its_name);
            let write = Write::create_any(&kind, &key, &wanted);
            plan.writes.push(write.with_context(format!("failed to create channel {its_name}")));
            Ok(None)
        }
        Found::Hidden(why) => Err(format!("failed to get channel {its_name}: {why}")),
    }
}

/// A Subscription of `flow` to one of its channels.
pub fn wanted<K: Kind>(flow: &K, its_name: &str, spec: SubscriptionSpec) -> Subscription {
    Subscription {
        metadata: ObjectMeta {
            name: Some(its_name.to_owned()),
            namespace: flow.meta().namespace.clone(),
            owner_references: Some(vec![owner(flow)]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Makes a Subscription be as wanted; tells of the one that there is.
pub fn subscribe(wanted: Subscription, seen: Seen, plan: &mut Plan) -> Option<Arc<Subscription>> {
    let found = (seen.subscription)(name(&wanted.metadata));
    let Some(found) = found else {
        plan.writes.push(Write::create(&wanted).with_context("failed to create Subscription"));
        return None;
    };
    if is_deleted(&found.metadata) {
        // It is made anew when it is gone.
        return None;
    }
    if found.spec.channel != wanted.spec.channel {
        // The channel of a Subscription cannot be changed.
        plan.writes.push(Write::delete(&*found));
        return None;
    }
    if found.spec != wanted.spec {
        let mut changed = (*found).clone();
        changed.spec = wanted.spec;
        let write = Write::replace(&changed);
        if !(seen.is_futile)(&write) {
            plan.writes.push(write.with_context("failed to update Subscription"));
        }
    }
    Some(found)
}

/// Takes away the channels and the Subscriptions of `flow` that are not wanted any more.
pub fn sweep<K: Kind>(
    flow: &K,
    template: Option<&ChannelTemplate>,
    channels: &[String],
    subscriptions: &[String],
    seen: Seen,
    plan: &mut Plan,
) {
    let kind = template::kind(template);
    for channel in (seen.lookup.objects)(&kind, namespace(flow.meta())) {
        let is_wanted = channels.iter().any(|it| **it == *channel.key.name);
        if channel.owner == uid(flow.meta()) && !channel.is_deleted && !is_wanted {
            plan.writes.push(Write::delete_any(&kind, &channel));
        }
    }
    for subscription in seen.subscriptions {
        let is_wanted = subscriptions.iter().any(|it| *it == name(&subscription.metadata));
        let is_own = is_controlled_by(&**subscription, flow);
        if is_own && !is_deleted(&subscription.metadata) && !is_wanted {
            plan.writes.push(Write::delete(&**subscription));
        }
    }
}

/// A reference to a channel of a flow.
pub fn channel_reference(template: Option<&ChannelTemplate>, its_name: &str) -> KReference {
    let ObjectKind { api_version, kind } = template::kind(template);
    KReference {
        api_version: Some(api_version),
        kind,
        name: its_name.to_owned(),
        ..KReference::default()
    }
}

/// A channel of a flow as a place where events go.
pub fn channel_destination(
    template: Option<&ChannelTemplate>,
    its_name: &str,
    namespace: &str,
) -> Destination {
    let reference = channel_reference(template, its_name);
    let reference = KReference { namespace: Some(namespace.to_owned()), ..reference };
    Destination { reference: Some(reference), ..Destination::default() }
}

/// A channel of a flow, as its status names it.
pub fn channel_object(
    template: Option<&ChannelTemplate>,
    its_name: &str,
    namespace: &str,
) -> ObjectReference {
    let ObjectKind { api_version, kind } = template::kind(template);
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(kind),
        name: Some(its_name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}

/// A Subscription of a flow, as its status names it.
pub fn subscription_object(its_name: &str, namespace: &str) -> ObjectReference {
    ObjectReference {
        name: Some(its_name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}

/// Whether a Subscription is ready, in its own words.
pub fn ready(subscription: Option<&Subscription>) -> Option<&Condition> {
    find(&subscription?.status.as_ref()?.conditions, READY)
}
