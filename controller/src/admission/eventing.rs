//! What the kinds of Eventing may say, and what is filled in.
//!
//! Pure: values only. Source: knative/eventing `cmd/webhook`, `cmd/in_memory/channel_controller`.

mod broker;
mod channel;
mod destination;
mod event_type;
mod filters;
mod flow;
mod integration;
mod job_sink;
mod policy;
mod request_reply;
mod source;
mod subscription;
#[cfg(test)]
mod tests;
mod transform;
mod trigger;

use api::{
    eventing::options::Mistake,
    field_error::{FieldError, FieldErrors},
    keys::eventing::{FLOWS_GROUP, GROUP, MESSAGING_GROUP, SINKS_GROUP, SOURCES_GROUP},
    shape::{
        Struct, diff::short_diff, eventing as e, flows as f, messaging as m, sinks as k,
        sources as s,
    },
};
use serde_json::Value;

use super::{Annotations, Rules, Seen, nothing};

/// The rules of a kind of Eventing.
pub fn rules(group: &str, version: &str, kind: &str) -> Option<Rules> {
    type Default = fn(&Seen<'_>, &mut Value, &mut Annotations);
    type Validate = fn(&Seen<'_>, &Value) -> FieldErrors;
    let rules = |group, shape: &'static Struct, default: Default, validate: Validate| {
        Some(Rules::eventing(group, shape, default, validate))
    };
    match (group, kind) {
        (GROUP, "Broker") => rules(GROUP, &e::BROKER_SPEC, broker::default, broker::validate),
        (GROUP, "Trigger") => {
            let trigger = rules(GROUP, &e::TRIGGER_SPEC, trigger::default, trigger::validate);
            trigger.map(|it| Rules { label: trigger::label, ..it })
        }
        (GROUP, "EventType") => {
            let shape = &e::OLDER_EVENT_TYPE_SPEC;
            let (validate, view): (Validate, _) = match version {
                "v1beta1" => (event_type::validate_oldest, None),
                // Upstream's webhook knows the older versions only; the API server converts for it.
                "v1beta3" => (event_type::validate, Some("v1beta3")),
                _ => (event_type::validate, None),
            };
            let kept = rules(GROUP, shape, event_type::default, validate);
            kept.map(|it| Rules { view, ..it })
        }
        (GROUP, "EventPolicy") => {
            rules(GROUP, &e::EVENT_POLICY_SPEC, policy::default, policy::validate)
        }
        (GROUP, "RequestReply") => {
            let shape = &e::REQUEST_REPLY_SPEC;
            let reply = rules(GROUP, shape, request_reply::default, request_reply::validate);
            reply.map(|it| Rules { label: request_reply::label, ..it })
        }
        (GROUP, "EventTransform") => {
            rules(GROUP, &e::EVENT_TRANSFORM_SPEC, nothing, transform::validate)
        }
        (MESSAGING_GROUP, "Channel") => {
            rules(MESSAGING_GROUP, &m::CHANNEL_SPEC, channel::default, channel::validate)
        }
        (MESSAGING_GROUP, "InMemoryChannel") => rules(
            MESSAGING_GROUP,
            &m::IN_MEMORY_CHANNEL_SPEC,
            channel::default_in_memory,
            channel::validate_in_memory,
        ),
        (MESSAGING_GROUP, "Subscription") => rules(
            MESSAGING_GROUP,
            &m::SUBSCRIPTION_SPEC,
            subscription::default,
            subscription::validate,
        ),
        (FLOWS_GROUP, "Sequence") => {
            rules(FLOWS_GROUP, &f::SEQUENCE_SPEC, flow::default_sequence, flow::validate_sequence)
        }
        (FLOWS_GROUP, "Parallel") => {
            rules(FLOWS_GROUP, &f::PARALLEL_SPEC, flow::default_parallel, flow::validate_parallel)
        }
        (SOURCES_GROUP, "PingSource") => {
            rules(SOURCES_GROUP, &s::PING_SOURCE_SPEC, source::default_ping, source::validate_ping)
        }
        (SOURCES_GROUP, "ApiServerSource") => rules(
            SOURCES_GROUP,
            &s::API_SERVER_SOURCE_SPEC,
            source::default_api_server,
            source::validate_api_server,
        ),
        (SOURCES_GROUP, "ContainerSource") => rules(
            SOURCES_GROUP,
            &s::CONTAINER_SOURCE_SPEC,
            source::default_container,
            source::validate_container,
        ),
        (SOURCES_GROUP, "SinkBinding") => rules(
            SOURCES_GROUP,
            &s::SINK_BINDING_SPEC,
            source::default_binding,
            source::validate_binding,
        ),
        (SOURCES_GROUP, "IntegrationSource") => {
            rules(SOURCES_GROUP, &s::INTEGRATION_SOURCE_SPEC, nothing, integration::validate_source)
        }
        (SINKS_GROUP, "JobSink") => {
            rules(SINKS_GROUP, &k::JOB_SINK_SPEC, job_sink::default, job_sink::validate)
        }
        (SINKS_GROUP, "IntegrationSink") => {
            rules(SINKS_GROUP, &k::INTEGRATION_SINK_SPEC, nothing, integration::validate_sink)
        }
        _ => None,
    }
}

/// The error about a spec of which something changed that must stay; `free` are the fields that may change.
fn unchanged(
    root: &str,
    shape: &'static Struct,
    free: &[&str],
    old: &Value,
    new: &Value,
) -> Option<FieldError> {
    let without = |spec: &Value| {
        let mut spec = spec.clone();
        for field in free {
            spec.as_object_mut().map(|fields| fields.remove(*field));
        }
        spec
    };
    let diff = short_diff(root, shape, &without(old), &without(new));
    (!diff.is_empty()).then(|| FieldError::new(IMMUTABLE, &["spec"]).with_details(diff))
}

/// What is said of fields that must stay as they are.
const IMMUTABLE: &str = "Immutable fields changed (-old +new)";

/// How the difference of two texts is told.
fn text_diff(old: &str, new: &str) -> String {
    format!("{{string}}:\n\t-: \"{old}\"\n\t+: \"{new}\"\n")
}

/// The errors about Weft's own annotations.
fn mistakes(mistakes: Vec<Mistake>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for Mistake { key, value, wanted } in mistakes {
        let error = FieldError::invalid_value(value, &format!("metadata.annotations[{key}]"));
        errors.push(error.with_details(format!("expected {wanted}")));
    }
    errors
}
