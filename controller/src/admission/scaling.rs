//! Annotations about scaling.
//!
//! Pure: values only. Source: knative/serving `pkg/apis/autoscaling/annotation_validation.go`.

use std::collections::BTreeMap;

use api::{
    field_error::{FieldError, FieldErrors},
    go::{SECOND, format_duration, parse_duration, parse_float, parse_int},
    keys::autoscaling as keys,
};
use config::autoscaler::{Autoscaler, TARGET_MIN};

use super::annotations::first;

type Annotations = BTreeMap<String, String>;

/// Shortest and longest window, in nanoseconds.
const WINDOW: (i64, i64) = (6 * SECOND, 3600 * SECOND);

/// Everything that is wrong with the annotations about scaling.
pub fn check(annotations: &Annotations, config: &Autoscaler) -> FieldErrors {
    let mut errors = FieldErrors::none();
    errors.also(class(annotations));
    errors.also(bounds(annotations, config));
    errors.also(numbers(annotations));
    errors.also(window(annotations));
    errors.also(span(annotations, keys::RETENTION, Precision::Any));
    errors.also(span(annotations, keys::SCALE_DOWN_DELAY, Precision::Seconds));
    errors.also(metric(annotations, config));
    errors.also(algorithm(annotations));
    errors.also(initial_scale(annotations, config));
    errors
}

/// A class under `knative.dev` must be one of Knative's; others are somebody else's.
fn class(annotations: &Annotations) -> Option<FieldError> {
    let class = annotations.get(keys::CLASS)?;
    let is_unknown =
        class.ends_with(".knative.dev") && class != keys::KPA_CLASS && class != keys::HPA_CLASS;
    is_unknown.then(|| FieldError::invalid_value(class, keys::CLASS))
}

fn bounds(annotations: &Annotations, config: &Autoscaler) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut at_least_0 = |names: &[&'static str]| match scale(annotations, names) {
        Ok(scale) => scale,
        Err(error) => {
            errors.push(error);
            0
        }
    };
    let min = at_least_0(keys::MIN_SCALE);
    let max = at_least_0(keys::MAX_SCALE);
    if max != 0 && max < min {
        errors.push(FieldError::new(
            format!("max-scale={max} is less than min-scale={min}"),
            &[keys::MAX_SCALE[0], keys::MIN_SCALE[0]],
        ));
    }
    let limit = i64::from(config.max_scale_limit);
    if let Some((key, _)) = first(annotations, keys::MAX_SCALE)
        && limit != 0
    {
        if max > limit {
            errors.push(FieldError::out_of_bounds(max, 1, limit, key));
        }
        if max == 0 {
            let text = format!("max-scale=0 (unlimited), must be less than {limit}");
            errors.push(FieldError::new(text, &[key]));
        }
    }
    if let Some((key, text)) = first(annotations, keys::ACTIVATION_SCALE) {
        errors.also(match parse_int(text, 32) {
            Err(_) => Some(FieldError::invalid_value(text, key)),
            Ok(activation) => {
                let why = if min > activation {
                    Some(format!("min-scale={min} is greater than activation-scale={activation}"))
                } else if max < activation && max != 0 {
                    Some(format!("max-scale={max} is less than activation-scale={activation}"))
                } else if activation < 2 {
                    Some(format!("activation-scale={activation} must be greater than 1"))
                } else {
                    None
                };
                why.map(|why| FieldError::new(why, &[key]))
            }
        });
    }
    errors
}

/// A number of pods; 0 when it is not said.
fn scale(annotations: &Annotations, names: &[&'static str]) -> Result<i64, FieldError> {
    let Some((key, text)) = first(annotations, names) else { return Ok(0) };
    let out_of_bounds = || FieldError::out_of_bounds(text, 0, i32::MAX, key);
    match parse_int(text, 32) {
        Ok(scale) if scale >= 0 => Ok(scale),
        Ok(_) => Err(out_of_bounds()),
        Err(why) if why.ends_with("out of range") => Err(out_of_bounds()),
        Err(_) => Err(FieldError::invalid_value(text, key)),
    }
}

fn numbers(annotations: &Annotations) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (names, low, high) in [
        (keys::PANIC_WINDOW_PERCENTAGE, 1.0, 100.0),
        (keys::PANIC_THRESHOLD_PERCENTAGE, 110.0, 1000.0),
        (keys::TARGET_UTILIZATION, 1.0, 100.0),
    ] {
        if let Some((key, text)) = first(annotations, names) {
            match parse_float(text) {
                Err(_) => errors.push(FieldError::invalid_value(text, key)),
                Ok(value) if value < low || value > high => {
                    errors.push(FieldError::out_of_bounds(text, low, high, key));
                }
                Ok(_) => {}
            }
        }
    }
    if let Some((key, text)) = first(annotations, keys::TARGET) {
        match parse_float(text) {
            Err(_) => errors.push(FieldError::invalid_value(text, key)),
            Ok(value) if value < TARGET_MIN => {
                let why = format!("target {text} should be at least {TARGET_MIN}");
                errors.push(FieldError::new(why, &[key]));
            }
            Ok(_) => {}
        }
    }
    if let Some((key, text)) = first(annotations, keys::TARGET_BURST_CAPACITY)
        && !parse_float(text).is_ok_and(|value| value >= 0.0 || value == -1.0)
    {
        errors.push(FieldError::invalid_value(text, key));
    }
    errors
}

fn window(annotations: &Annotations) -> Option<FieldError> {
    let (key, text) = first(annotations, keys::WINDOW)?;
    in_span(text, key, WINDOW, Precision::Seconds)
}

/// How exact a time may be.
#[derive(Clone, Copy, PartialEq)]
enum Precision {
    Any,
    Seconds,
}

/// A time of up to an hour.
fn span(annotations: &Annotations, names: &[&str], precision: Precision) -> Option<FieldError> {
    let (key, text) = names.iter().find_map(|key| Some((*key, annotations.get(*key)?.as_str())))?;
    in_span(text, key, (0, WINDOW.1), precision)
}

fn in_span(
    text: &str,
    key: &str,
    (low, high): (i64, i64),
    precision: Precision,
) -> Option<FieldError> {
    match parse_duration(text) {
        Err(_) => Some(FieldError::invalid_value(text, key)),
        Ok(nanos) if nanos < low || nanos > high => {
            Some(FieldError::out_of_bounds(text, format_duration(low), format_duration(high), key))
        }
        Ok(nanos) if precision == Precision::Seconds && nanos % SECOND != 0 => {
            Some(FieldError::new("must be specified with at most second precision", &[key]))
        }
        Ok(_) => None,
    }
}

fn metric(annotations: &Annotations, config: &Autoscaler) -> Option<FieldError> {
    let metric = annotations.get(keys::METRIC)?;
    let class = annotations.get(keys::CLASS).unwrap_or(&config.pod_autoscaler_class);
    let is_known = match class.as_str() {
        keys::KPA_CLASS => [keys::CONCURRENCY, keys::RPS].contains(&metric.as_str()),
        keys::HPA_CLASS => !metric.is_empty(),
        _ => true,
    };
    (!is_known).then(|| FieldError::invalid_value(metric, keys::METRIC))
}

/// How load is averaged; only looked at where the class is said to be Knative's.
fn algorithm(annotations: &Annotations) -> Option<FieldError> {
    if annotations.get(keys::CLASS).map(String::as_str) != Some(keys::KPA_CLASS) {
        return None;
    }
    let (key, text) = first(annotations, keys::AGGREGATION)?;
    let is_known = ["", "linear", "weighted-exponential", "weightedExponential"].contains(&text);
    (!is_known).then(|| FieldError::invalid_value(text, key))
}

fn initial_scale(annotations: &Annotations, config: &Autoscaler) -> Option<FieldError> {
    let (key, text) = first(annotations, keys::INITIAL_SCALE)?;
    match parse_int(text, 64) {
        Err(_) => Some(FieldError::invalid_value(text, key)),
        Ok(scale) if scale < 0 => {
            Some(FieldError::invalid_value(text, &format!("{key} must be greater than 0")))
        }
        Ok(0) if !config.allow_zero_initial_scale => {
            Some(FieldError::invalid_value(text, &format!("{key}=0 not allowed by cluster")))
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Annotations without their group, and what is wrong with them, `…` for the group.
    #[track_caller]
    fn check_all(given: &[(&str, &str)], wanted: &[&str]) {
        let group = keys::GROUP;
        let annotations = given
            .iter()
            .map(|(key, value)| (format!("{group}/{key}"), value.to_string()))
            .collect();
        let errors = check(&annotations, &Autoscaler::default());
        let text = errors.text().unwrap_or_default().replace(&format!("{group}/"), "…");
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn mistakes_are_found() {
        check_all(&[("min-scale", "1"), ("max-scale", "3"), ("target", "0.5")], &[]);
        check_all(
            &[("min-scale", "3"), ("maxScale", "2")],
            &["max-scale=2 is less than min-scale=3: …max-scale, …min-scale"],
        );
        check_all(
            &[("initial-scale", "0")],
            &["invalid value: 0: …initial-scale=0 not allowed by cluster"],
        );
        check_all(
            &[("min-scale", "9999999999")],
            &["expected 0 <= 9999999999 <= 2147483647: …min-scale"],
        );
        check_all(
            &[("class", "hpa.autoscaling.knative.dev"), ("metric", "")],
            &["invalid value: : …metric"],
        );
        check_all(
            &[
                ("class", "kpa.autoscaling.knative.dev"),
                ("metric-aggregation-algorithm", "foo"),
                ("min-scale", "5"),
                ("activation-scale", "3"),
            ],
            &[
                "invalid value: foo: …metric-aggregation-algorithm",
                "min-scale=5 is greater than activation-scale=3: …activation-scale",
            ],
        );
        check_all(
            &[("window", "5s"), ("scaleDownDelay", "1500ms")],
            &[
                "expected 6s <= 5s <= 1h0m0s: …window",
                "must be specified with at most second precision: …scaleDownDelay",
            ],
        );
    }
}
