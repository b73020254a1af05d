//! Which bytes the tags of a Revision's images name; asked once and kept for ever in its status.
//!
//! Source: knative/serving `pkg/reconciler/revision/resolve.go`, `background.go`.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use api::serving::{ContainerStatus, Revision, RevisionStatus};
use config::Config;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;

use crate::metadata::namespace;

/// What is asked of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The Revision that asks.
    pub revision: runtime::cluster::Key,
    /// The image as the Revision names it.
    pub image: String,
    /// Whose pull secrets count; empty for the namespace's default.
    pub service_account: String,
    /// Secrets of the Revision's namespace.
    pub pull_secrets: Vec<String>,
}

/// Answers by image: the digest (`repository@sha256:…`), nothing where the tag is to be used as it is,
/// or why there is no such image.
pub type Answers = HashMap<String, Result<Option<String>, String>>;

/// Knows images: a registry's, or those of this machine.
pub trait Resolver: Send + Sync + 'static {
    /// Answers a question, in the time that the configuration gives to it.
    fn resolve(
        &self,
        question: Question,
        config: Arc<Config>,
    ) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>>;

    /// Changes when images have come that were missing before; Revisions that miss one then ask
    /// again.
    fn news(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// How far the resolution of a Revision's images has come.
pub enum Resolution {
    /// The status holds the digests.
    Known,
    /// These are to be asked.
    Asked(Vec<Question>),
    /// There is an image that nobody knows: what to tell.
    Failed(String),
}

/// Puts the digests into `status` when all are known.
pub fn resolve(revision: &Revision, status: &mut RevisionStatus, answers: &Answers) -> Resolution {
    let pod = &revision.spec.pod;
    let init: &[Container] = pod.init_containers.as_deref().unwrap_or_default();
    let known = status.container_statuses.len() + status.init_container_statuses.len();
    if known == pod.containers.len() + init.len() {
        return Resolution::Known;
    }
    let mut questions: Vec<Question> = Vec::new();
    for container in init.iter().chain(&pod.containers) {
        let image = container.image.clone().unwrap_or_default();
        match answers.get(&image) {
            Some(Err(why)) => {
                return Resolution::Failed(format!(
                    "Unable to fetch image \"{image}\": failed to resolve image to digest: {why}"
                ));
            }
            Some(Ok(_)) => {}
            None if questions.iter().any(|it| it.image == image) => {}
            None => questions.push(Question {
                revision: runtime::cluster::Key::of(revision),
                image,
                service_account: pod.service_account_name.clone().unwrap_or_default(),
                pull_secrets: pod
                    .image_pull_secrets
                    .iter()
                    .flatten()
                    .map(|it| it.name.clone())
                    .collect(),
            }),
        }
    }
    if !questions.is_empty() {
        debug_assert!(!namespace(&revision.metadata).is_empty());
        return Resolution::Asked(questions);
    }
    let statuses = |containers: &[Container]| -> Vec<ContainerStatus> {
        containers
            .iter()
            .map(|it| ContainerStatus {
                name: Some(it.name.clone()),
                image_digest: answers
                    .get(it.image.as_deref().unwrap_or_default())
                    .and_then(|answer| answer.clone().ok().flatten()),
            })
            .collect()
    };
    status.container_statuses = statuses(&pod.containers);
    status.init_container_statuses = statuses(init);
    Resolution::Known
}
