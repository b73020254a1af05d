//! Many requests: at zero, through a roll-out, and back to zero, with none lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use futures::future::join_all;
use tests::{eventually::eventually, http::Connection, platform::Platform};
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_at_zero_are_all_answered() {
    let platform = Platform::start().await;
    platform.apply_sample("slow.yaml").await;
    platform.ready("slow").await;
    let host = platform.host("slow").await;
    platform.at_zero("slow").await;

    let requests = (0..200).map(|_| platform.get(&host, "/?sleep=1500"));
    let most = async {
        // The target is ten in flight a pod, at most ten pods for each ready one in a step.
        eventually(Duration::from_secs(60), "the Service scales by its load", || async {
            let pods = platform.pods("slow").await?.len();
            if pods < 5 {
                bail!("{pods} pods");
            }
            anyhow::Ok(())
        })
        .await;
    };
    let (replies, ()) = tokio::join!(join_all(requests), most);
    for reply in replies {
        reply.unwrap().ok().unwrap();
    }
    platform.at_zero("slow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_revisions_and_pods_change() {
    let platform = Platform::start().await;
    platform.apply(&colours("blue")).await;
    platform.ready("colours").await;
    let host = platform.host("colours").await;
    let load = Load::start(&platform, &host, 8).await;
    let one = Load::start_slowly(&platform, &host).await;

    load.goes_on("the first revision").await;
    eventually(Duration::from_secs(60), "the revision gets more pods", || async {
        match platform.pods("colours").await?.len() {
            0 | 1 => bail!("it has one at most"),
            _ => anyhow::Ok(()),
        }
    })
    .await;
    load.goes_on("several pods").await;
    platform.apply(&colours("green")).await;
    platform.ready("colours").await;
    eventually(Duration::from_secs(30), "the new revision answers", || async {
        answers(&platform, &host, "green").await
    })
    .await;
    load.goes_on("the second revision").await;

    let split = r#"[{"revisionName":"colours-blue","percent":90},
        {"revisionName":"colours-green","percent":10,"tag":"green"}]"#;
    set_traffic(&platform, split).await;
    eventually(Duration::from_secs(60), "the first revision answers again", || async {
        answers(&platform, &host, "blue").await
    })
    .await;
    let mut greens = 0;
    for _ in 0..1000 {
        let text = platform.get(&host, "/").await.unwrap().ok().unwrap();
        greens += usize::from(text.contains("green"));
    }
    // A tenth of 1000 is 100, with a deviation of 9.5: 1 in 10^7 runs leaves these bounds.
    assert!((50..=150).contains(&greens), "{greens} of 1000 are green");
    let tagged = format!("green-{host}");
    assert!(platform.get(&tagged, "/").await.unwrap().ok().unwrap().contains("green"));
    load.goes_on("the split").await;

    set_traffic(&platform, r#"[{"revisionName":"colours-blue","percent":100}]"#).await;
    eventually(Duration::from_secs(30), "only the first revision answers", || async {
        for _ in 0..50 {
            answers(&platform, &host, "blue").await?;
        }
        anyhow::Ok(())
    })
    .await;
    load.goes_on("the roll-back").await;
    let count = load.end().await;
    assert!(count > 500, "only {count} requests were sent");
    // With a request now and then the pods become one, and none of these fails either.
    eventually(Duration::from_secs(60), "the pods become one", || async {
        match platform.pods("colours").await? {
            pods if pods.len() == 1 => Ok(()),
            pods => bail!("there are {pods:?}"),
        }
    })
    .await;
    one.goes_on("the scale-down").await;
    one.end().await;
    platform.at_zero("colours").await;
}

fn colours(colour: &str) -> String {
    format!(
        "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: colours}}
spec:
  template:
    metadata:
      name: colours-{colour}
      annotations: {{autoscaling.knative.dev/target: \"2\"}}
    spec:
      containers:
      - image: weft.dev/samples/hello
        env: [{{name: TARGET, value: {colour}}}]
"
    )
}

/// Applying the manifest again would touch the template, which a template with a name of its own does not allow.
async fn set_traffic(platform: &Platform, targets: &str) {
    let patch = format!("{{\"spec\":{{\"traffic\":{targets}}}}}");
    let words = ["patch", "ksvc", "colours", "--type", "merge", "-p", &patch];
    platform.kubectl().run_words(&words, "").await.ok();
    platform.ready("colours").await;
}

async fn answers(platform: &Platform, host: &str, colour: &str) -> anyhow::Result<()> {
    let text = platform.get(host, "/").await?.ok()?;
    if !text.contains(colour) {
        bail!("the answer is {text}");
    }
    Ok(())
}

/// Requests one after the other on several connections, until told to end.
struct Load {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    async fn start(platform: &Platform, host: &str, connections: usize) -> Load {
        Load::with(platform, host, connections, Duration::ZERO).await
    }

    /// A request every so often, far less than one pod can take.
    async fn start_slowly(platform: &Platform, host: &str) -> Load {
        Load::with(platform, host, 1, Duration::from_millis(20)).await
    }

    async fn with(platform: &Platform, host: &str, connections: usize, pause: Duration) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let mut connection = Connection::open(platform.gateway()).await.unwrap();
            let (host, is_over, count) = (host.to_owned(), is_over.clone(), count.clone());
            tasks.push(tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let reply = connection.get(&host, "/").await;
                    reply.and_then(|it| it.ok()).context("a request under load")?;
                    count.fetch_add(1, Ordering::Relaxed);
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok(())
            }));
        }
        Load { is_over, count, tasks }
    }

    /// Waits until each connection had some more answers, and panics if one had another.
    async fn goes_on(&self, during: &str) {
        let before = self.count.load(Ordering::Relaxed);
        eventually(
            Duration::from_secs(60),
            &format!("requests are answered by {during}"),
            || async {
                let failed = self.tasks.iter().any(JoinHandle::is_finished);
                assert!(!failed, "a request failed during {during}");
                match self.count.load(Ordering::Relaxed) - before {
                    0..100 => Err("too few"),
                    _ => Ok(()),
                }
            },
        )
        .await;
    }

    async fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
        self.count.load(Ordering::Relaxed)
    }
}
