//! `weft logs`: the lines of all pods of a service, while pods come and go, also of those that are gone.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    runtime::watcher,
};
use local::node::kept::{self, Kept};
use runtime::cluster::raw;
use tokio::task::JoinSet;

use crate::{args, connect, place};

/// Prints the logs; with `--follow` until interrupted.
pub async fn run(logs: args::Logs) -> anyhow::Result<()> {
    let client = connect::client(&logs.target).await?;
    let service = connect::service(&client, &logs.target).await?;
    let folder = match logs.target.kubeconfig {
        None => Some(place::logs(&place::data_dir(&logs.target.place)?)),
        // Of another cluster's pods, only its API knows.
        Some(_) => None,
    };
    let reader = Reader {
        pods: Api::namespaced(client, &logs.target.namespace),
        service: service.name_any(),
        folder,
        logs,
    };
    if reader.logs.follow { reader.follow().await } else { reader.print_once().await }
}

/// Reads the logs of one service.
#[derive(Clone)]
struct Reader {
    pods: Api<Pod>,
    service: String,
    /// Where this machine's platform keeps logs.
    folder: Option<PathBuf>,
    logs: args::Logs,
}

impl Reader {
    fn selector(&self) -> String {
        format!("{}={}", api::keys::serving::SERVICE, self.service)
    }

    /// What is kept of the service's pods, the oldest first.
    fn kept(&self) -> Vec<Kept> {
        let mut kept = self.folder.as_deref().map(kept::kept).unwrap_or_default();
        kept.retain(|it| {
            it.namespace == self.logs.target.namespace
                && it.labels().get(api::keys::serving::SERVICE) == Some(&self.service)
        });
        kept
    }

    async fn print_once(self) -> anyhow::Result<()> {
        let list = ListParams::default().labels(&self.selector());
        let found = self.pods.list(&list).await.context("list the pods")?;
        let mut none = found.items.is_empty();
        for gone in self.kept() {
            if found.iter().all(|pod| pod.uid().as_ref() != Some(&gone.uid)) {
                none = false;
                self.print_kept(&gone);
            }
        }
        if none {
            eprintln!(
                "{} has had no pod yet; a request starts one, and -f waits for it",
                self.service
            );
        }
        for pod in found.items {
            self.print_pod(pod.name_any(), pod.uid().unwrap_or_default()).await;
        }
        Ok(())
    }

    async fn follow(self) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(&self.selector());
        let namespace = Some(&*self.logs.target.namespace);
        let mut events = raw::watch_kind::<Pod>(self.pods.clone().into_client(), namespace, config);
        // One reader a pod: as many as the service has pods.
        let mut readers = JoinSet::new();
        // The pods that were printed or are being read, by uid, and whether they are there: as many as there are
        // and as are kept.
        let mut printed: BTreeMap<String, bool> = BTreeMap::new();
        // Those of a list that is still coming.
        let mut listed: Vec<Pod> = Vec::new();
        loop {
            let now = match events.next().await {
                Some(Ok(watcher::Event::Apply(pod))) => vec![pod],
                Some(Ok(watcher::Event::Init)) => {
                    listed.clear();
                    continue;
                }
                Some(Ok(watcher::Event::InitApply(pod))) => {
                    listed.push(pod);
                    continue;
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    let here: Vec<String> = listed.iter().filter_map(|pod| pod.uid()).collect();
                    self.print_gone(&mut printed, &here);
                    std::mem::take(&mut listed)
                }
                Some(Ok(watcher::Event::Delete(pod))) => {
                    self.forget(&mut printed, pod.uid().unwrap_or_default());
                    continue;
                }
                // The watcher itself starts again after a pause.
                Some(Err(error)) => {
                    eprintln!("watch the pods: {error}");
                    continue;
                }
                None => return Ok(()),
            };
            for pod in now {
                let uid = pod.uid().unwrap_or_default();
                if started(&pod, &self.logs.container)
                    && printed.insert(uid.clone(), true) != Some(true)
                {
                    let reader = self.clone();
                    readers.spawn(async move { reader.print_pod(pod.name_any(), uid).await });
                }
            }
            while readers.try_join_next().is_some() {}
        }
    }

    /// Prints what is kept of pods that are not here and were not printed, and forgets those of which nothing is kept.
    fn print_gone(&self, printed: &mut BTreeMap<String, bool>, here: &[String]) {
        let kept = self.kept();
        printed.retain(|uid, is_here| {
            *is_here = here.contains(uid);
            *is_here || kept.iter().any(|it| it.uid == *uid)
        });
        for gone in kept.iter().filter(|it| !here.contains(&it.uid)) {
            if printed.insert(gone.uid.clone(), false).is_none() {
                self.print_kept(gone);
            }
        }
    }

    /// Notes that a pod is gone, and prints it if it came and went unread.
    fn forget(&self, printed: &mut BTreeMap<String, bool>, uid: String) {
        let kept = self.kept();
        if let (None, Some(unread)) = (printed.get(&uid), kept.iter().find(|it| it.uid == uid)) {
            self.print_kept(unread);
        }
        printed.insert(uid, false);
        printed.retain(|uid, is_here| *is_here || kept.iter().any(|it| it.uid == *uid));
    }

    /// Prints one pod's lines, each behind the pod's name.
    async fn print_pod(&self, name: String, uid: String) {
        let printed = async {
            let parameters = LogParams {
                container: Some(self.logs.container.clone()),
                follow: self.logs.follow,
                tail_lines: self.logs.tail,
                ..LogParams::default()
            };
            let mut lines = self.pods.log_stream(&name, &parameters).await?.lines();
            while let Some(line) = lines.try_next().await? {
                println!("{name}: {line}");
            }
            anyhow::Ok(())
        };
        let Err(error) = printed.await else { return };
        let gone =
            matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.is_not_found());
        match self.kept().into_iter().find(|it| gone && it.uid == uid) {
            // It went between the news of it and the question for its log.
            Some(kept) => self.print_kept(&kept),
            None => eprintln!("read the log of {name}: {error}"),
        }
    }

    /// Prints the lines of a pod that is gone.
    fn print_kept(&self, gone: &Kept) {
        let tail = self.logs.tail.map(|count| u64::try_from(count).unwrap_or(0));
        match gone.text(&self.logs.container, tail) {
            Ok(text) => text.lines().for_each(|line| println!("{}: {line}", gone.pod)),
            Err(error) => eprintln!("read the log of {}: {error}", gone.pod),
        }
    }
}

/// Whether the container has run, so that there is a log to read.
fn started(pod: &Pod, container: &str) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().any(|status| {
        let state = status.state.as_ref();
        status.name == container
            && state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}
