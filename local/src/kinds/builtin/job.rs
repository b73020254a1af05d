//! Jobs and CronJobs on their way in.
//!
//! Pure: values in, values out.
//! Source: Kubernetes' `pkg/apis/batch/v1/defaults.go`, `pkg/apis/batch/validation/validation.go`,
//! `pkg/registry/batch/job/strategy.go`.

use serde_json::{Value, json};

use super::strategy::{PLAIN, Strategy};
use super::workload::{counts, immutable, selects};
use super::{cron, pod, pod_warnings, spec_check};
use crate::kinds::problem::FieldError;
use crate::kinds::walk::{child, fill, has, int, text};
use crate::kinds::{meta, names};

pub(super) const JOB: Strategy = Strategy {
    default: default_job,
    prepare_create: prepare_job,
    validate: |object| {
        let mut errors = validate_spec(&object["spec"], "spec");
        errors.extend(selected(&object["spec"]));
        errors
    },
    validate_update: update_job,
    warnings: pod_warnings::of_template,
    ..PLAIN
};

pub(super) const CRON_JOB: Strategy = Strategy {
    default: default_cron_job,
    validate: validate_cron_job,
    validate_update: |new, _| validate_cron_job(new),
    ..PLAIN
};

fn default_job(object: &mut Value) {
    let spec = child(object, "spec");
    // Neither given: one pod. Parallelism alone: a work queue.
    if !has(spec, "completions") && !has(spec, "parallelism") {
        spec["completions"] = 1.into();
        spec["parallelism"] = 1.into();
    }
    default_spec(spec, true);
    fill(spec, "manualSelector", false);
    let labels = spec["template"]["metadata"]["labels"].clone();
    if labels.is_object() && !has(child(object, "metadata"), "labels") {
        object["metadata"]["labels"] = labels;
    }
}

fn default_spec(spec: &mut Value, whole: bool) {
    if whole {
        fill(spec, "parallelism", 1);
        let per_index = has(spec, "backoffLimitPerIndex");
        fill(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        fill(spec, "completionMode", "NonIndexed");
        fill(spec, "suspend", false);
        let replacement =
            if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        fill(spec, "podReplacementPolicy", replacement);
    }
    pod::default_template(child(spec, "template"));
}

/// Pods of a job are told apart by the job's uid, unless the client wants to choose.
fn prepare_job(object: &mut Value) {
    object["status"] = json!({});
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    let template = child(child(object, "spec"), "template");
    let labels = child(child(template, "metadata"), "labels");
    for (key, value) in [
        ("controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        labels[key] = value.clone();
    }
    let labels = labels.clone();
    // A job without labels of its own has those of its template.
    let own = child(child(object, "metadata"), "labels");
    for (key, value) in labels.as_object().into_iter().flatten() {
        if own.get(key).is_none() && (key.ends_with("controller-uid") || key.ends_with("job-name"))
        {
            own[key] = value.clone();
        }
    }
    child(object, "spec")["selector"] =
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
}

fn validate_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let fields = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ];
    let mut errors = counts(spec, path, &fields);
    if let Some(mode) = spec.get("completionMode").and_then(Value::as_str) {
        if !["NonIndexed", "Indexed"].contains(&mode) {
            errors.push(FieldError::not_supported(
                format!("{path}.completionMode"),
                &mode.into(),
                &["Indexed", "NonIndexed"],
            ));
        } else if mode == "Indexed" && !has(spec, "completions") {
            errors.push(FieldError::required(
                format!("{path}.completions"),
                "when completion mode is Indexed",
            ));
        }
    }
    errors.extend(spec_check::template(&spec["template"], &format!("{path}.template")));
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    if policy == "Always" {
        let field = format!("{path}.template.spec.restartPolicy");
        if path == "spec" {
            errors.push(FieldError::required(field, "valid values: \"OnFailure\", \"Never\""));
        } else {
            errors.push(FieldError::not_supported(field, &policy.into(), &["OnFailure", "Never"]));
        }
    } else if !policy.is_empty() && !["OnFailure", "Never"].contains(&policy) {
        errors.push(FieldError::not_supported(
            format!("{path}.template.spec.restartPolicy"),
            &policy.into(),
            &["OnFailure", "Never"],
        ));
    }
    errors
}

fn selected(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = &spec["selector"];
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else {
        errors.extend(meta::label_selector(selector, "spec.selector"));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !selects(selector, labels) {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
    errors
}

fn update_job(new: &Value, old: &Value) -> Vec<FieldError> {
    let (spec, before) = (&new["spec"], &old["spec"]);
    // The job is checked as a whole and as a change: what its selector lacks is told twice.
    let mut errors = validate_spec(spec, "spec");
    errors.extend(selected(spec));
    errors.extend_from_within(..);
    for field in [
        "completions",
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        if spec.get(field) == before.get(field) {
            continue;
        }
        let elastic = field == "completions"
            && text(spec, "completionMode") == "Indexed"
            && int(spec, "completions") == int(spec, "parallelism");
        if elastic {
            continue;
        }
        let path = format!("spec.{field}");
        if field == "template" {
            // A suspended job that never started may still be moved.
            let shown = super::internal::pod_template(&spec["template"]);
            errors.push(FieldError::invalid_shown(path, &shown, "field is immutable"));
        } else {
            errors.push(immutable(&path, &spec[field]));
        }
    }
    errors
}

fn default_cron_job(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    let template = child(spec, "jobTemplate");
    child(template, "metadata");
    default_spec(child(template, "spec"), false);
}

fn validate_cron_job(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    // The names of its jobs are longer than its own.
    let name = text(&object["metadata"], "name");
    if name.len() > 52 {
        errors.push(FieldError::invalid(
            "metadata.name",
            &name.into(),
            "must be no more than 52 characters",
        ));
    }
    errors.extend(validate_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec"));
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        errors.push(FieldError::invalid(
            "spec.schedule",
            &schedule.into(),
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    } else if let Err(wrong) = cron::check(schedule) {
        errors.push(FieldError::invalid("spec.schedule", &schedule.into(), &wrong));
    }
    if let Some(zone) = spec.get("timeZone").and_then(Value::as_str) {
        if zone.is_empty() {
            errors.push(FieldError::invalid(
                "spec.timeZone",
                &zone.into(),
                "timeZone must be nil or non-empty string",
            ));
        } else if !cron::is_zone(zone) {
            errors.push(FieldError::invalid(
                "spec.timeZone",
                &zone.into(),
                &format!("unknown time zone {zone}"),
            ));
        }
    }
    errors.extend(counts(spec, "spec", &["startingDeadlineSeconds"]));
    let policy = text(spec, "concurrencyPolicy");
    if !["Allow", "Forbid", "Replace"].contains(&policy) {
        errors.push(FieldError::not_supported(
            "spec.concurrencyPolicy",
            &policy.into(),
            &["Allow", "Forbid", "Replace"],
        ));
    }
    errors.extend(counts(spec, "spec", &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]));
    // Names of jobs made of it must be labels too.
    if errors.is_empty() && !names::subdomain(name).is_empty() {
        return errors;
    }
    errors
}
