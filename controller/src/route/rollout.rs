//! How traffic moves to a new Revision in steps; where it stands is kept in an annotation of the Ingress.
//!
//! Pure: traffic, what stands and the time in, what is to stand out.
//! Source: knative/serving `pkg/reconciler/route/traffic/rollout.go`.

use std::{cmp::Ordering, time::Duration};

use jiff::Timestamp;
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

const SECOND_NS: f64 = 1e9;

/// What stands now, and the time it is to take.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// The annotation of the Ingress.
    pub annotation: &'a str,
    /// Whether the Ingress has just begun to serve what the annotation says.
    pub is_news: bool,
    /// How long traffic takes to move; 0 is at once.
    pub duration: Duration,
}

/// The shares that `traffic` is to have now, and how long until the next step.
pub fn rollout(
    traffic: &Traffic,
    standing: Option<Standing>,
    now: Timestamp,
) -> (Rollout, Option<Duration>) {
    let goal = complete(traffic);
    // Parts of a second do not count.
    let standing = standing.filter(|it| it.duration.as_secs() > 0);
    let Some(standing) = standing else { return (goal, None) };
    let Some(mut before) = read(standing.annotation) else { return (goal, None) };
    let now = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    if standing.is_news {
        for shares in &mut before.configurations {
            shares.measure(standing.duration.as_secs() as f64, now);
        }
    }
    let stepped = step(goal, &before, now);
    let next = stepped.configurations.iter().map(|it| it.step_params.next_step_time);
    let next = next.filter(|it| *it > 0).min();
    let wait = next.map(|next| Duration::from_nanos(u64::try_from(next - now).unwrap_or_default()));
    (stepped, wait)
}

/// The state in which the newest Revision of each followed Configuration has all.
fn complete(traffic: &Traffic) -> Rollout {
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

/// The state that an annotation tells; none where people have made it impossible.
fn read(annotation: &str) -> Option<Rollout> {
    let read: Rollout = serde_json::from_str(annotation).ok()?;
    let is_possible = |it: &Shares| {
        let sum: i64 = it.revisions.iter().map(|it| it.percent).sum();
        (0..=100).contains(&it.percent)
            && (0..=it.percent).contains(&it.step_params.step_size)
            && it.revisions.iter().all(|it| it.percent >= 0)
            && sum == it.percent
    };
    read.configurations.iter().all(is_possible).then_some(read)
}

/// Brings what stood before nearer to the goal.
fn step(goal: Rollout, before: &Rollout, now: i64) -> Rollout {
    let stepped = |goal: Shares| {
        let is_its = |it: &&Shares| {
            it.tag.cmp(&goal.tag).then_with(|| it.configuration_name.cmp(&goal.configuration_name))
                == Ordering::Equal
        };
        match before.configurations.iter().find(is_its) {
            // One percent cannot be divided.
            Some(before) if goal.percent > 1 => goal.step_from(before.clone(), now),
            _ => goal,
        }
    };
    Rollout { configurations: goal.configurations.into_iter().map(stepped).collect() }
}

impl Shares {
    /// Makes the steps of a rollout that has begun, once it is known how long the first one took: it has
    /// been served since `now`.
    fn measure(&mut self, duration_s: f64, now: i64) {
        let steps = &mut self.step_params;
        if steps.step_duration != 0 || steps.start_time == 0 {
            return;
        }
        let shortest_s = ((now - steps.start_time) as f64 / SECOND_NS).ceil().max(1.0);
        let left_s = (duration_s - shortest_s).max(1.0);
        // One percent has moved already.
        let left = (self.percent - 1) as f64;
        let count = (left_s / shortest_s).max(1.0).min(left);
        steps.step_size = (left / count).round() as i64;
        steps.step_duration = (left_s / count * SECOND_NS) as i64;
        steps.next_step_time = now + steps.step_duration;
    }

    /// These shares, which give all to one Revision, as near as may be after those `before`.
    fn step_from(mut self, mut before: Shares, now: i64) -> Shares {
        before.adjust(self.percent);
        let (Some(newest), Some(last)) = (self.revisions.first(), before.revisions.last()) else {
            return self;
        };
        if newest.revision_name == last.revision_name {
            if before.revisions.len() > 1 {
                self.revisions = before.revisions;
                self.step_params = before.step_params;
                self.advance(now);
            }
            return self;
        }
        // A new Revision begins with one percent, which the newest that has any gives.
        let newest = Share { revision_name: newest.revision_name.clone(), percent: 1 };
        if let Some(giver) = before.revisions.iter_mut().rfind(|it| it.percent > 0) {
            giver.percent -= 1;
        }
        before.revisions.retain(|it| it.percent > 0);
        self.revisions = before.revisions;
        self.revisions.push(newest);
        self.step_params = Steps { start_time: now, ..Steps::default() };
        self
    }

    /// Gives the shares another sum: the newest gains what it grows by, the oldest lose what it shrinks by.
    fn adjust(&mut self, percent: i64) {
        let growth = percent - self.percent;
        self.percent = percent;
        if growth > 0 {
            if let Some(newest) = self.revisions.last_mut() {
                newest.percent += growth;
            }
        } else {
            take(self.revisions.iter_mut(), -growth);
            self.revisions.retain(|it| it.percent > 0);
        }
    }

    /// Moves one step's share to the newest Revision, when it is time.
    fn advance(&mut self, now: i64) {
        let steps = &mut self.step_params;
        if steps.step_size == 0 || now < steps.next_step_time {
            return;
        }
        let Some(mut newest) = self.revisions.pop() else { return };
        // Of the others the newest gives first.
        take(self.revisions.iter_mut().rev(), steps.step_size);
        self.revisions.retain(|it| it.percent > 0);
        newest.percent = (newest.percent + steps.step_size).min(self.percent);
        self.revisions.push(newest);
        if self.revisions.len() > 1 {
            steps.next_step_time = now + steps.step_duration;
        } else {
            *steps = Steps::default();
        }
    }
}

/// Takes `percent` from the shares, one after the other.
fn take<'a>(shares: impl Iterator<Item = &'a mut Share>, mut percent: i64) {
    for share in shares {
        let taken = share.percent.min(percent);
        share.percent -= taken;
        percent -= taken;
    }
}

impl Rollout {
    /// Whether no traffic is moving.
    pub fn is_done(&self) -> bool {
        self.configurations.iter().all(|it| it.revisions.len() < 2)
    }

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const START: i64 = 1_000_000;

    fn traffic(revision: &str, percent: i64) -> Traffic {
        let target = Target {
            revision: revision.to_owned(),
            configuration: Some("hello".to_owned()),
            tag: String::new(),
            percent,
            latest: Some(true),
            is_h2c: false,
        };
        Traffic {
            hosts: BTreeMap::from([(String::new(), vec![target.clone()])]),
            targets: vec![target],
        }
    }

    /// A Route over time: its Ingress is served a moment after each change.
    struct Story {
        duration: Duration,
        annotation: String,
        served: String,
    }

    impl Story {
        fn new(seconds: u64) -> Story {
            let (first, _) = rollout(&traffic("r1", 100), None, Timestamp::UNIX_EPOCH);
            let annotation = serde_json::to_string(&first).unwrap();
            Story { duration: Duration::from_secs(seconds), served: annotation.clone(), annotation }
        }

        /// Plans for `revision` at a second: the shares, and when to plan again.
        #[track_caller]
        fn check(
            &mut self,
            revision: &str,
            percent: i64,
            at: i64,
            expected: &str,
            again: Option<u64>,
        ) {
            let standing = Standing {
                annotation: &self.annotation,
                is_news: self.served != self.annotation,
                duration: self.duration,
            };
            let now = Timestamp::from_second(START + at).unwrap();
            let (found, wait) = rollout(&traffic(revision, percent), Some(standing), now);
            self.served =
                std::mem::replace(&mut self.annotation, serde_json::to_string(&found).unwrap());
            let shares = found.configurations.iter().flat_map(|it| &it.revisions);
            let shares: Vec<String> =
                shares.map(|it| format!("{}={}", it.revision_name, it.percent)).collect();
            assert_eq!(
                (shares.join(" ").as_str(), wait.map(|it| it.as_secs())),
                (expected, again),
                "at {at}"
            );
            assert_eq!(found.is_done(), again.is_none() && shares.len() < 2, "at {at}");
        }
    }

    #[test]
    fn without_a_duration_traffic_moves_at_once() {
        let mut story = Story::new(0);
        story.check("r2", 100, 0, "r2=100", None);
    }

    #[test]
    fn traffic_moves_in_equal_steps_as_recorded() {
        let mut story = Story::new(16);
        story.check("r1", 100, 0, "r1=100", None);
        story.check("r2", 100, 1, "r1=99 r2=1", None);
        // Served: one second for one step leaves 15 for as many steps of 7.
        story.check("r2", 100, 2, "r1=99 r2=1", Some(1));
        assert!(story.annotation.contains(r#""stepDuration":1000000000,"stepSize":7"#));
        for (step, shares) in [(1, "r1=92 r2=8"), (2, "r1=85 r2=15"), (3, "r1=78 r2=22")] {
            story.check("r2", 100, 2 + step, shares, Some(1));
            let before = story.annotation.clone();
            story.check("r2", 100, 2 + step, shares, Some(1));
            assert_eq!(story.annotation, before, "nothing happens before it is time");
        }
        for step in 4..15 {
            let shares = format!("r1={} r2={}", 99 - 7 * step, 1 + 7 * step);
            story.check("r2", 100, 2 + step, &shares, Some(1));
        }
        story.check("r2", 100, 17, "r2=100", None);
        assert!(story.annotation.ends_with(r#""stepParams":{}}]}"#), "{}", story.annotation);
        story.check("r2", 100, 18, "r2=100", None);
    }

    #[test]
    fn a_slow_first_step_makes_few_steps() {
        let mut story = Story::new(30);
        story.check("r2", 100, 0, "r1=99 r2=1", None);
        // 10 s for one step leave 20 s for two.
        story.check("r2", 100, 10, "r1=99 r2=1", Some(10));
        story.check("r2", 100, 20, "r1=49 r2=51", Some(10));
        story.check("r2", 100, 30, "r2=100", None);
        // Slower than all of it: one step.
        let mut story = Story::new(5);
        story.check("r2", 100, 0, "r1=99 r2=1", None);
        story.check("r2", 100, 60, "r1=99 r2=1", Some(1));
        story.check("r2", 100, 61, "r2=100", None);
    }

    #[test]
    fn a_newer_revision_begins_anew_and_the_oldest_goes_last() {
        let mut story = Story::new(11);
        story.check("r2", 100, 0, "r1=99 r2=1", None);
        story.check("r2", 100, 1, "r1=99 r2=1", Some(1));
        story.check("r2", 100, 2, "r1=89 r2=11", Some(1));
        story.check("r3", 100, 3, "r1=89 r2=10 r3=1", None);
        story.check("r3", 100, 4, "r1=89 r2=10 r3=1", Some(1));
        story.check("r3", 100, 5, "r1=89 r3=11", Some(1));
        story.check("r3", 100, 6, "r1=79 r3=21", Some(1));
        // Back to the one before: it is the newest now.
        story.check("r1", 100, 7, "r1=79 r3=20 r1=1", None);
    }

    #[test]
    fn another_percentage_is_taken_in_on_the_way() {
        let mut story = Story::new(11);
        story.check("r2", 100, 0, "r1=99 r2=1", None);
        story.check("r2", 100, 1, "r1=99 r2=1", Some(1));
        story.check("r2", 60, 1, "r1=59 r2=1", Some(1));
        story.check("r2", 80, 1, "r1=59 r2=21", Some(1));
        story.check("r2", 5, 1, "r2=5", None);
        story.check("r3", 1, 2, "r3=1", None);
        story.check("r4", 0, 3, "", None);
    }

    #[test]
    fn an_annotation_that_cannot_be_is_no_state() {
        for annotation in [
            "",
            "{",
            r#"{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"r1","percent":90}],"stepParams":{}}]}"#,
            r#"{"configurations":[{"configurationName":"hello","percent":101,"revisions":[{"revisionName":"r1","percent":101}],"stepParams":{}}]}"#,
        ] {
            let mut story = Story::new(16);
            story.annotation = annotation.to_owned();
            story.check("r2", 100, 0, "r2=100", None);
        }
    }
}
