//! What a metric says of how many pods there should be.
//!
//! Pure: pods and their figures in, a number out.
//! Source: kubernetes `pkg/controller/podautoscaler/{replica_calculator.go,metrics/utilization.go}`.

use std::collections::BTreeMap;

use api::quantity::Amount;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
        ResourceMetricStatus,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    super::objects::{Phase, Pod, later},
    Figures, Seen,
    limits::Tolerance,
};

/// How long a pod's processor time may be that of its start. Upstream's defaults.
const START_S: i64 = 300;
/// A pod that is unready from so soon after its start on was never ready.
const FIRST_READY_S: i64 = 30;

/// What one metric asks for.
#[derive(Debug)]
pub struct Found {
    pub replicas: i32,
    /// The metric, for people.
    pub name: String,
    pub status: MetricStatus,
}

/// Why a metric says nothing.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    /// What was to be found out: stands before `text` where that is not clear.
    pub about: String,
    pub text: String,
}

/// Replicas that `metric` asks for.
pub fn measure(
    metric: &MetricSpec,
    namespace: &str,
    current: i32,
    seen: &Seen,
    tolerance: Tolerance,
    now: Timestamp,
) -> Result<Found, Failure> {
    let registered = |api: &str, group: &str| {
        format!(
            "unable to fetch metrics from {api} metrics API: no {api} metrics API ({group}) registered"
        )
    };
    let custom = || registered("custom", "custom.metrics.k8s.io");
    if let Some(source) = &metric.resource {
        let ask = Ask { current, seen, resource: &source.name, container: None, tolerance, now };
        let found = ask.answer(&source.target).map_err(|text| Failure {
            reason: "FailedGetResourceMetric",
            about: format!("failed to get {} resource metric value", source.name),
            text,
        })?;
        let status =
            ResourceMetricStatus { name: source.name.clone(), current: found.value.clone() };
        return Ok(Found {
            replicas: found.replicas,
            name: format!("{} resource{}", source.name, found.kind),
            status: MetricStatus {
                type_: "Resource".to_owned(),
                resource: Some(status),
                ..MetricStatus::default()
            },
        });
    }
    if let Some(source) = &metric.container_resource {
        let container = Some(source.container.as_str());
        let ask = Ask { current, seen, resource: &source.name, container, tolerance, now };
        let found = ask.answer(&source.target).map_err(|text| Failure {
            reason: "FailedGetContainerResourceMetric",
            about: format!("failed to get {} container metric value", source.name),
            text,
        })?;
        return Ok(Found {
            replicas: found.replicas,
            name: format!("{} container resource{}", source.name, found.kind),
            status: MetricStatus {
                type_: "ContainerResource".to_owned(),
                container_resource: Some(ContainerResourceMetricStatus {
                    container: source.container.clone(),
                    name: source.name.clone(),
                    current: found.value,
                }),
                ..MetricStatus::default()
            },
        });
    }
    Err(if let Some(source) = &metric.pods {
        Failure {
            reason: "FailedGetPodsMetric",
            about: "failed to get pods metric value".to_owned(),
            text: format!("unable to get metric {}: {}", source.metric.name, custom()),
        }
    } else if let Some(source) = &metric.object {
        let of = &source.described_object;
        Failure {
            reason: "FailedGetObjectMetric",
            about: "failed to get object metric value".to_owned(),
            text: format!(
                "unable to get metric {}: {} on {namespace} {}/{}",
                source.metric.name,
                of.kind,
                of.name,
                custom()
            ),
        }
    } else if let Some(source) = &metric.external {
        let name = &source.metric.name;
        Failure {
            reason: "FailedGetExternalMetric",
            about: format!("failed to get {name} external metric value"),
            text: format!(
                "unable to get external metric {namespace}/{name}: {}",
                registered("external", "external.metrics.k8s.io")
            ),
        }
    } else {
        let text = format!("unknown metric source type {:?}", metric.type_);
        Failure { reason: "InvalidMetricSourceType", about: "invalid metric".to_owned(), text }
    })
}

/// A question for one resource of the target's pods.
struct Ask<'a> {
    current: i32,
    seen: &'a Seen<'a>,
    resource: &'a str,
    container: Option<&'a str>,
    tolerance: Tolerance,
    now: Timestamp,
}

struct Answer {
    replicas: i32,
    value: MetricValueStatus,
    /// What was compared, behind the resource's name.
    kind: &'static str,
}

/// One pod's part, in thousandths.
#[derive(Clone, Copy)]
struct Sample<'a> {
    value: i64,
    of: &'a Figures,
}

/// Pods by what their figures are worth.
#[derive(Default)]
struct Groups<'a> {
    ready: usize,
    unready: Vec<&'a str>,
    missing: Vec<&'a str>,
    ignored: Vec<&'a str>,
}

impl<'a> Ask<'a> {
    fn answer(&self, target: &MetricTarget) -> Result<Answer, String> {
        let resource = self.resource;
        if let Some(average) = &target.average_value {
            let wanted = Amount::parse(&average.0).map_or(0, Amount::milli);
            let found = self.plain(wanted);
            let (replicas, usage) =
                found.map_err(|text| format!("failed to get {resource} usage: {text}"))?;
            let value =
                MetricValueStatus { average_value: Some(milli(usage)), ..Default::default() };
            return Ok(Answer { replicas, value, kind: "" });
        }
        let Some(wanted) = target.average_utilization else {
            return Err(
                "invalid resource metric source: neither an average utilization target nor an \
                        average value (usage) target was set"
                    .to_owned(),
            );
        };
        let found = self.utilization(wanted);
        let (replicas, percent, usage) =
            found.map_err(|text| format!("failed to get {resource} utilization: {text}"))?;
        let value = MetricValueStatus {
            average_utilization: Some(percent),
            average_value: Some(milli(usage)),
            value: None,
        };
        Ok(Answer { replicas, value, kind: " utilization (percentage of request)" })
    }

    /// Replicas by use, and the use of a pod.
    fn plain(&self, wanted: i64) -> Result<(i32, i64), String> {
        let (groups, used) = self.look()?;
        let usage = used.values().sum::<i64>() / used.len() as i64;
        let ratio = |used: &BTreeMap<&str, i64>| {
            let usage = used.values().sum::<i64>() / used.len().max(1) as i64;
            Some(usage as f64 / wanted as f64)
        };
        let missing = |_: &str, ratio: f64| Some(if ratio < 1.0 { wanted } else { 0 });
        let replicas = self.replicas(&groups, used, &ratio, &missing).unwrap_or(self.current);
        Ok((replicas, usage))
    }

    /// Replicas by use as a part of what was requested, that part, and the use of a pod.
    fn utilization(&self, wanted: i32) -> Result<(i32, i32, i64), String> {
        let (groups, used) = self.look()?;
        let requests = self.requests()?;
        let compare = |used: &BTreeMap<&str, i64>| {
            let known = used.iter().filter_map(|(pod, used)| Some((*used, *requests.get(pod)?)));
            let (total, requested, count) =
                known.fold((0, 0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1, sum.2 + 1));
            (requested != 0).then(|| ((total * 100 / requested) as i32, total / count))
        };
        let none = || "no metrics returned matched known pods".to_owned();
        let (percent, usage) = compare(&used).ok_or_else(none)?;
        let ratio = |used: &BTreeMap<&str, i64>| {
            compare(used).map(|(percent, _)| f64::from(percent) / f64::from(wanted))
        };
        let missing = |pod: &str, ratio: f64| {
            let all = i64::from(wanted.max(100));
            match ratio {
                _ if ratio < 1.0 => Some(requests.get(pod)? * all / 100),
                _ if ratio > 1.0 => Some(0),
                _ => None,
            }
        };
        let replicas = self.replicas(&groups, used, &ratio, &missing).ok_or_else(none)?;
        Ok((replicas, percent, usage))
    }

    /// The pods, and what those use whose figures count.
    fn look(&self) -> Result<(Groups<'a>, BTreeMap<&'a str, i64>), String> {
        let resource = self.resource;
        let samples = self.samples();
        let samples = samples
            .map_err(|text| format!("unable to get metrics for resource {resource}: {text}"))?;
        if self.seen.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let groups = self.group(&samples);
        let counts = |pod: &str| !groups.ignored.contains(&pod) && !groups.unready.contains(&pod);
        let used: BTreeMap<&str, i64> =
            samples.iter().filter(|it| counts(it.0)).map(|it| (*it.0, it.1.value)).collect();
        if used.is_empty() {
            let text = "did not receive metrics for targeted pods (pods might be unready)";
            return Err(text.to_owned());
        }
        Ok((groups, used))
    }

    /// What each of the target's pods uses.
    fn samples(&self) -> Result<BTreeMap<&'a str, Sample<'a>>, String> {
        let figures = self.seen.figures.as_ref().map_err(|error| {
            format!("unable to fetch metrics from resource metrics API: {error}")
        })?;
        let mut found = BTreeMap::new();
        for of in figures {
            if !self.seen.pods.iter().any(|pod| *pod.meta.key.name == *of.pod) {
                continue;
            }
            let mut containers = of
                .containers
                .iter()
                .filter(|(name, _)| self.container.is_none_or(|wanted| wanted == *name));
            let value = containers.try_fold(None, |sum: Option<i64>, (_, used)| {
                Some(Some(sum.unwrap_or(0) + *used.get(self.resource)?))
            });
            if let Some(Some(value)) = value {
                found.insert(&*of.pod, Sample { value, of });
            }
        }
        if found.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        Ok(found)
    }

    fn group(&self, samples: &BTreeMap<&str, Sample>) -> Groups<'a> {
        let mut groups = Groups::default();
        for pod in &self.seen.pods {
            let name: &str = &pod.meta.key.name;
            let group = if pod.meta.deleted.is_some() || pod.phase == Phase::Failed {
                &mut groups.ignored
            } else if pod.phase == Phase::Pending {
                &mut groups.unready
            } else {
                match samples.get(name) {
                    None => &mut groups.missing,
                    Some(sample) if self.resource == "cpu" && self.is_starting(pod, sample.of) => {
                        &mut groups.unready
                    }
                    Some(_) => {
                        groups.ready += 1;
                        continue;
                    }
                }
            };
            group.push(name);
        }
        groups
    }

    /// Whether the processor time of a pod may be that of its start.
    fn is_starting(&self, pod: &Pod, figures: &Figures) -> bool {
        let (Some(since), Some(started)) = (pod.ready_since, pod.started) else { return true };
        if later(started, START_S) > self.now {
            let window = SignedDuration::try_from(figures.window).unwrap_or(SignedDuration::MAX);
            let full = since.saturating_add(window).unwrap_or(Timestamp::MAX);
            !pod.is_ready || figures.at < full
        } else {
            !pod.is_ready && later(started, FIRST_READY_S) > since
        }
    }

    /// What each pod requests.
    fn requests(&self) -> Result<BTreeMap<&'a str, i64>, String> {
        let mut found = BTreeMap::new();
        for pod in &self.seen.pods {
            let name: &str = &pod.meta.key.name;
            let mut sum = 0;
            for requests in &pod.requests {
                if self.container.is_some_and(|wanted| *wanted != *requests.container) {
                    continue;
                }
                let request = match self.resource {
                    "cpu" => requests.cpu_milli,
                    "memory" => requests.memory_milli,
                    _ => None,
                };
                sum += request.ok_or_else(|| {
                    let (resource, container) = (self.resource, &requests.container);
                    format!("missing request for {resource} in container {container} of Pod {name}")
                })?;
            }
            found.insert(name, sum);
        }
        Ok(found)
    }

    /// Replicas at which the ratio of use to target would be 1. Pods of which nothing is known count against a change.
    fn replicas(
        &self,
        groups: &Groups<'a>,
        mut used: BTreeMap<&'a str, i64>,
        ratio_of: &dyn Fn(&BTreeMap<&str, i64>) -> Option<f64>,
        missing: &dyn Fn(&str, f64) -> Option<i64>,
    ) -> Option<i32> {
        let current = self.current;
        let is_close =
            |ratio: f64| 1.0 - self.tolerance.down <= ratio && ratio <= 1.0 + self.tolerance.up;
        let ratio = ratio_of(&used)?;
        let counts_unready = !groups.unready.is_empty() && ratio > 1.0;
        if !counts_unready && groups.missing.is_empty() {
            return Some(match is_close(ratio) {
                true => current,
                false => (ratio * groups.ready as f64).ceil() as i32,
            });
        }
        used.extend(groups.missing.iter().filter_map(|pod| Some((*pod, missing(pod, ratio)?))));
        if counts_unready {
            used.extend(groups.unready.iter().map(|pod| (*pod, 0)));
        }
        let new = ratio_of(&used)?;
        let turns = (ratio < 1.0 && new > 1.0) || (ratio > 1.0 && new < 1.0);
        if is_close(new) || turns {
            return Some(current);
        }
        let replicas = (new * used.len() as f64).ceil() as i32;
        let turns = (new < 1.0 && replicas > current) || (new > 1.0 && replicas < current);
        Some(if turns { current } else { replicas })
    }
}

/// Thousandths as a quantity.
fn milli(value: i64) -> Quantity {
    let text = format!("{value}m");
    Quantity(Amount::parse(&text).map_or(text, |it| it.canonical()))
}
