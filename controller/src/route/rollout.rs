//! How the shares of a Configuration's Revisions are, kept in an annotation of the Ingress.
//!
//! Pure: traffic in, state out.
//! Source: knative/serving `pkg/reconciler/route/traffic/rollout.go`.

use serde::{Deserialize, Serialize};

use super::traffic::{Target, Traffic};

/// The shares of all Configurations that are followed; sorted by tag, then by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configurations: Vec<Shares>,
}

/// The shares of one Configuration's Revisions at one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shares {
    pub configuration_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// What the Revisions have together.
    pub percent: i64,
    /// From the oldest to the newest; one when nothing is going on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Share>,
    #[serde(default)]
    pub step_params: Steps,
}

/// The share of one Revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    pub revision_name: String,
    pub percent: i64,
}

/// How a rollout goes on; times are nanoseconds since 1970, all are 0 when none is going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    #[serde(default, rename = "starttime", skip_serializing_if = "is_zero")]
    pub start_time: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next_step_time: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step_duration: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step_size: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// The state in which the newest Revision of each followed Configuration has all.
pub fn complete(traffic: &Traffic) -> Rollout {
    let shares = |(tag, target): (&String, &Target)| Shares {
        configuration_name: target.configuration.clone().unwrap_or_default(),
        tag: tag.clone(),
        percent: target.percent,
        revisions: vec![Share { revision_name: target.revision.clone(), percent: target.percent }],
        step_params: Steps::default(),
    };
    let mut configurations: Vec<Shares> = traffic
        .hosts
        .iter()
        .flat_map(|(tag, targets)| targets.iter().map(move |target| (tag, target)))
        .filter(|(_, target)| target.latest == Some(true) && target.percent != 0)
        .map(shares)
        .collect();
    configurations
        .sort_by(|a, b| (&a.tag, &a.configuration_name).cmp(&(&b.tag, &b.configuration_name)));
    Rollout { configurations }
}

impl Rollout {
    /// The shares that a target of the host `tag` stands for while a rollout is going on.
    pub fn of(&self, tag: &str, target: &Target) -> Option<&[Share]> {
        if target.latest != Some(true) {
            return None;
        }
        let is_its = |it: &&Shares| {
            it.tag == tag && Some(&it.configuration_name) == target.configuration.as_ref()
        };
        let shares = self.configurations.iter().find(is_its)?;
        (shares.revisions.len() > 1).then_some(&shares.revisions)
    }
}
