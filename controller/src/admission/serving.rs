//! Service, Configuration, Revision and Route.
//!
//! Pure: values only.
//! Source: knative/serving `pkg/apis/serving/v1/{service,configuration,revision,route}_*.go`.

use api::{
    field_error::FieldErrors,
    keys::serving::{CONFIGURATION, SERVICE},
};
use serde_json::Value;

use super::{
    Annotations, Seen,
    annotations::{no_scaling, rollout},
    look::text,
    metadata::{annotations, check_user, has_owners, names, owner_label, set_user},
    revision::{self, Parent},
    scaling,
    traffic::{self, Targets},
};

pub fn default_service(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    default_template(seen, spec);
    traffic::default(spec, Targets::Own);
    set_user(seen, spec, annotations);
}

pub fn default_configuration(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    default_template(seen, spec);
    if !has_owners(seen.metadata) {
        set_user(seen, spec, annotations);
    }
}

pub fn default_revision(seen: &Seen<'_>, spec: &mut Value, _: &mut Annotations) {
    if seen.old.is_none() {
        revision::default(seen, spec, Parent::None);
    }
}

pub fn default_route(seen: &Seen<'_>, spec: &mut Value, annotations: &mut Annotations) {
    traffic::default(spec, Targets::Named);
    if !has_owners(seen.metadata) {
        set_user(seen, spec, annotations);
    }
}

/// A template that has a name of its own and keeps it must stay as it was, so nothing is filled in.
fn default_template(seen: &Seen<'_>, spec: &mut Value) {
    let name = template_name(spec);
    let keeps_name = seen.old.is_some_and(|(_, old)| template_name(old) == name);
    if (name.is_empty() || !keeps_name)
        && let Some(template) = spec.pointer_mut("/template/spec")
    {
        revision::default(seen, template, Parent::Holder);
    }
}

fn template_name(spec: &Value) -> &str {
    spec.pointer("/template/metadata").map_or("", |metadata| text(metadata, "name"))
}

pub fn validate_service(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::from(names(seen.metadata));
    metadata.also(no_scaling(annotations(seen.metadata)).via("annotations"));
    metadata.also(FieldErrors::from(rollout(annotations(seen.metadata))).via("annotations"));
    let mut errors = metadata.via("metadata");
    errors.also(validate_template(seen, spec));
    errors.also(traffic::validate(spec, Targets::Own).via("spec"));
    errors.also(check_user(seen, spec).via("metadata.annotations"));
    errors.also(revision::name_change(seen, spec).via("spec.template"));
    errors
}

pub fn validate_configuration(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::from(names(seen.metadata));
    metadata.also(no_scaling(annotations(seen.metadata)).via("annotations"));
    let label = owner_label(seen.metadata, SERVICE, "Service");
    metadata.also(FieldErrors::from(label).via("labels"));
    let mut errors = metadata.via("metadata");
    errors.also(validate_template(seen, spec));
    if !has_owners(seen.metadata) {
        errors.also(check_user(seen, spec).via("metadata.annotations"));
    }
    errors.also(revision::name_change(seen, spec).via("spec.template"));
    errors
}

fn validate_template(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    revision::validate_template(seen, &spec["template"]).via("spec.template")
}

pub fn validate_revision(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::from(names(seen.metadata));
    metadata.also(
        scaling::check(annotations(seen.metadata), &seen.config.autoscaler).via("annotations"),
    );
    let label = owner_label(seen.metadata, CONFIGURATION, "Configuration");
    metadata.also(FieldErrors::from(label).via("labels"));
    let mut errors = metadata.via("metadata");
    match seen.old {
        // What was changed is told alone.
        Some((_, old)) => {
            if let Some(changed) = revision::changed(old, spec) {
                return changed.into();
            }
        }
        None => errors.also(revision::validate(seen, spec).via("spec")),
    }
    errors
}

pub fn validate_route(seen: &Seen<'_>, spec: &Value) -> FieldErrors {
    let mut metadata = FieldErrors::from(names(seen.metadata));
    metadata.also(no_scaling(annotations(seen.metadata)).via("annotations"));
    let label = owner_label(seen.metadata, SERVICE, "Service");
    metadata.also(FieldErrors::from(label).via("labels"));
    metadata.also(FieldErrors::from(rollout(annotations(seen.metadata))).via("annotations"));
    let mut errors = metadata.via("metadata");
    errors.also(traffic::validate(spec, Targets::Named).via("spec"));
    if !has_owners(seen.metadata) {
        errors.also(check_user(seen, spec).via("metadata.annotations"));
    }
    errors
}
