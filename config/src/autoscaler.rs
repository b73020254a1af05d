//! `config-autoscaler`: how load becomes pods.
//!
//! Pure: data in, values out. Source: knative/serving `pkg/autoscaler/config`.

use std::{collections::BTreeMap, time::Duration};

use api::go::{SECOND, format_duration, format_float};

use crate::{
    Error,
    read::{Data, nanos, span},
};

/// Name of the ConfigMap.
pub const NAME: &str = "config-autoscaler";

/// Smallest target there is, in requests in flight or a second.
pub const TARGET_MIN: f64 = 0.01;
/// Shortest window, so that it holds several seconds' buckets.
pub const WINDOW_MIN: Duration = Duration::from_secs(6);
/// Longest window, above which decisions say little about now.
pub const WINDOW_MAX: Duration = Duration::from_secs(3600);

/// The values of `config-autoscaler`, all of them in range.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    pub pod_autoscaler_class: String,
    pub enable_scale_to_zero: bool,
    pub allow_zero_initial_scale: bool,
    /// Greater than 1.
    pub max_scale_up_rate: f64,
    /// Greater than 1.
    pub max_scale_down_rate: f64,
    /// Above 0, up to 100; a value up to 1 in the ConfigMap is a fraction and becomes a percentage here.
    pub container_concurrency_target_percentage: f64,
    pub container_concurrency_target_default: f64,
    pub requests_per_second_target_default: f64,
    /// At least 0, or -1 for "always through the activator".
    pub target_burst_capacity: f64,
    /// 1 to 100, of the stable window.
    pub panic_window_percentage: f64,
    pub panic_threshold_percentage: f64,
    /// At least 1.
    pub activator_capacity: f64,
    pub initial_scale: i32,
    pub min_scale: i32,
    /// 0 is no limit.
    pub max_scale: i32,
    /// Most that a revision may ask for as its `max-scale`; 0 is no limit.
    pub max_scale_limit: i32,
    /// Whole seconds from [`WINDOW_MIN`] to [`WINDOW_MAX`].
    pub stable_window: Duration,
    /// Whole seconds.
    pub scale_down_delay: Duration,
    /// Above 0.
    pub scale_to_zero_grace_period: Duration,
    pub scale_to_zero_pod_retention_period: Duration,
}

impl Default for Autoscaler {
    fn default() -> Self {
        Autoscaler {
            pod_autoscaler_class: api::keys::autoscaling::KPA_CLASS.to_string(),
            enable_scale_to_zero: true,
            allow_zero_initial_scale: false,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            container_concurrency_target_percentage: 70.0,
            container_concurrency_target_default: 100.0,
            requests_per_second_target_default: 200.0,
            target_burst_capacity: 211.0,
            panic_window_percentage: 10.0,
            panic_threshold_percentage: 200.0,
            activator_capacity: 100.0,
            initial_scale: 1,
            min_scale: 0,
            max_scale: 0,
            max_scale_limit: 0,
            stable_window: Duration::from_secs(60),
            scale_down_delay: Duration::ZERO,
            scale_to_zero_grace_period: Duration::from_secs(30),
            scale_to_zero_pod_retention_period: Duration::ZERO,
        }
    }
}

impl Autoscaler {
    /// Reads and checks the ConfigMap; the first mistake is the error.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Autoscaler, Error> {
        let data = Data(data);
        let mut read = Autoscaler::default();
        let mut spans = Spans {
            stable_window: nanos(read.stable_window),
            scale_down_delay: nanos(read.scale_down_delay),
            grace_period: nanos(read.scale_to_zero_grace_period),
            retention: nanos(read.scale_to_zero_pod_retention_period),
        };
        fill(data, &mut read, &mut spans)
            .map_err(|why| Error::new(format!("failed to parse data: {why}")))?;
        if read.container_concurrency_target_percentage <= 1.0 {
            read.container_concurrency_target_percentage *= 100.0;
        }
        check(&read, &spans).map_err(Error::new)?;
        read.stable_window = span(spans.stable_window);
        read.scale_down_delay = span(spans.scale_down_delay);
        read.scale_to_zero_grace_period = span(spans.grace_period);
        read.scale_to_zero_pod_retention_period = span(spans.retention);
        Ok(read)
    }
}

/// Durations as they were written: nanoseconds, not yet checked.
struct Spans {
    stable_window: i64,
    scale_down_delay: i64,
    grace_period: i64,
    retention: i64,
}

fn fill(data: Data<'_>, read: &mut Autoscaler, spans: &mut Spans) -> Result<(), Error> {
    data.text("pod-autoscaler-class", &mut read.pod_autoscaler_class);
    data.bool("enable-scale-to-zero", &mut read.enable_scale_to_zero)?;
    data.bool("allow-zero-initial-scale", &mut read.allow_zero_initial_scale)?;
    data.f64("max-scale-up-rate", &mut read.max_scale_up_rate)?;
    data.f64("max-scale-down-rate", &mut read.max_scale_down_rate)?;
    data.f64(
        "container-concurrency-target-percentage",
        &mut read.container_concurrency_target_percentage,
    )?;
    data.f64(
        "container-concurrency-target-default",
        &mut read.container_concurrency_target_default,
    )?;
    data.f64("requests-per-second-target-default", &mut read.requests_per_second_target_default)?;
    data.f64("target-burst-capacity", &mut read.target_burst_capacity)?;
    data.f64("panic-window-percentage", &mut read.panic_window_percentage)?;
    data.f64("activator-capacity", &mut read.activator_capacity)?;
    data.f64("panic-threshold-percentage", &mut read.panic_threshold_percentage)?;
    data.i32("initial-scale", &mut read.initial_scale)?;
    data.i32("min-scale", &mut read.min_scale)?;
    data.i32("max-scale", &mut read.max_scale)?;
    data.i32("max-scale-limit", &mut read.max_scale_limit)?;
    data.nanos("stable-window", &mut spans.stable_window)?;
    data.nanos("scale-down-delay", &mut spans.scale_down_delay)?;
    data.nanos("scale-to-zero-grace-period", &mut spans.grace_period)?;
    data.nanos("scale-to-zero-pod-retention-period", &mut spans.retention)
}

fn check(read: &Autoscaler, spans: &Spans) -> Result<(), String> {
    if spans.grace_period <= 0 {
        let was = format_duration(spans.grace_period);
        return Err(format!("scale-to-zero-grace-period must be positive, was: {was}"));
    }
    let delay = format_duration(spans.scale_down_delay);
    if spans.scale_down_delay < 0 {
        return Err(format!("scale-down-delay cannot be negative, was: {delay}"));
    }
    if spans.scale_down_delay % SECOND != 0 {
        return Err(format!(
            "scale-down-delay = {delay}, must be specified with at most second precision"
        ));
    }
    if spans.retention < 0 {
        let was = format_duration(spans.retention);
        return Err(format!("scale-to-zero-pod-retention-period cannot be negative, was: {was}"));
    }
    let burst = read.target_burst_capacity;
    if burst < 0.0 && burst != -1.0 {
        return Err(format!(
            "target-burst-capacity must be either non-negative or -1 (for unlimited), was: {burst:.6}"
        ));
    }
    let fraction = read.container_concurrency_target_percentage / 100.0;
    if fraction <= 0.0 || fraction > 1.0 {
        return Err(format!(
            "container-concurrency-target-percentage = {fraction:.6} is outside of valid range of (0, 100]"
        ));
    }
    let target = fraction * read.container_concurrency_target_default;
    if target < TARGET_MIN {
        return Err(format!(
            "container-concurrency-target-percentage and container-concurrency-target-default yield \
             target concurrency of {}, can't be less than {}",
            format_float(target),
            format_float(TARGET_MIN)
        ));
    }
    if read.requests_per_second_target_default < TARGET_MIN {
        return Err(format!(
            "requests-per-second-target-default must be at least {}, was: {}",
            format_float(TARGET_MIN),
            format_float(read.requests_per_second_target_default)
        ));
    }
    if read.activator_capacity < 1.0 {
        let was = format_float(read.activator_capacity);
        return Err(format!("activator-capacity = {was}, must be at least 1"));
    }
    for (key, rate) in [
        ("max-scale-up-rate", read.max_scale_up_rate),
        ("max-scale-down-rate", read.max_scale_down_rate),
    ] {
        if rate <= 1.0 {
            return Err(format!("{key} = {}, must be greater than 1.0", format_float(rate)));
        }
    }
    let window = format_duration(spans.stable_window);
    if spans.stable_window < nanos(WINDOW_MIN) || spans.stable_window > nanos(WINDOW_MAX) {
        return Err(format!(
            "stable-window = {window}, must be in [{}; {}] range",
            format_duration(nanos(WINDOW_MIN)),
            format_duration(nanos(WINDOW_MAX))
        ));
    }
    if spans.stable_window % SECOND != 0 {
        return Err(format!(
            "stable-window = {window}, must be specified with at most second precision"
        ));
    }
    if !(1.0..=100.0).contains(&read.panic_window_percentage) {
        let was = format_float(read.panic_window_percentage);
        return Err(format!("panic-window-percentage = {was}, must be in [1, 100] interval"));
    }
    let initial = read.initial_scale;
    if initial < 0 || (initial == 0 && !read.allow_zero_initial_scale) {
        return Err(format!(
            "initial-scale = {initial}, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)"
        ));
    }
    let (min, max, limit) = (read.min_scale, read.max_scale, read.max_scale_limit);
    if min < 0 {
        return Err(format!("min-scale = {min}, must be at least 0"));
    }
    let least = i32::from(limit > 0);
    if max < least || (limit > 0 && max > limit) {
        return Err(format!(
            "max-scale = {max}, must be in [{least}, max-scale-limit({limit})] range"
        ));
    }
    if limit < 0 {
        return Err(format!("max-scale-limit = {limit}, must be at least 0"));
    }
    if min > max && max > 0 {
        return Err(format!("min-scale ({min}) must be less than max-scale ({max})"));
    }
    Ok(())
}
