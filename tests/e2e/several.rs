//! More than one platform on a machine, and in a process.

use std::time::Duration;

use api::serving::Service;
use cli::up::platform as library;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tests::{eventually::eventually, http, parts, platform::Platform};
use tokio::net::TcpListener;

use super::domains::greeter;

#[tokio::test(flavor = "multi_thread")]
async fn two_platforms_do_not_see_each_other() {
    let (one, two) = tokio::join!(Platform::start_beside(), Platform::start_beside());
    for (platform, name) in [(&one, "One"), (&two, "Two")] {
        platform.apply(&greeter("default", "hello", name)).await;
    }
    for (platform, name) in [(&one, "One"), (&two, "Two")] {
        platform.ready("hello").await;
        let host = platform.host("hello").await;
        let text = platform.get(&host, "/").await.unwrap().ok().unwrap();
        assert_eq!(text.trim(), format!("Hello {name}!"));
    }
    drop(two);
    let host = one.host("hello").await;
    one.get(&host, "/").await.unwrap().ok().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_platforms_run_in_one_process() {
    // Takes a turn among the platforms of other tests, and has folders that go with it.
    let place = Platform::prepare(Default::default()).with_turn().await;
    let start = async |name: &str| {
        let data_dir = place.home().join(name);
        std::fs::create_dir(&data_dir).unwrap();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (api, gateway) = (listen().await, listen().await);
        let address = gateway.local_addr().unwrap();
        let settings = library::Settings {
            data_dir,
            api,
            gateway,
            secure_gateway: None,
            // This process is a test, not the binary that the samples are.
            images: vec![("dev.local/weft".to_owned(), parts::weft())],
            host_network: false,
            max_pods: local::node::MOST_PODS,
        };
        let platform = library::Platform::start(settings).await.unwrap();
        let services: Api<Service> = Api::namespaced(platform.client().clone(), "default");
        let service = json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "hello"},
            "spec": {"template": {"spec": {"containers": [{
                "image": "dev.local/weft", "args": ["sample", "hello"],
                "env": [{"name": "TARGET", "value": name}],
            }]}}},
        });
        services.patch("hello", &PatchParams::apply("test"), &Patch::Apply(service)).await.unwrap();
        let url = eventually(Duration::from_secs(60), "the service is ready", || async {
            let status = services.get("hello").await?.status.unwrap_or_default();
            let ready = status.conditions.iter().find(|it| it.type_ == "Ready");
            match ready.is_some_and(|it| it.status == "True") {
                true => Ok(status.url.unwrap()),
                false => anyhow::bail!("{:?}", status.conditions),
            }
        })
        .await;
        (platform, address, url.trim_start_matches("http://").to_owned())
    };
    let ((one, first, host), (two, second, other)) = tokio::join!(start("One"), start("Two"));
    for (to, host, wanted) in [(first, &host, "Hello One!\n"), (second, &other, "Hello Two!\n")] {
        assert_eq!(http::get(to, host, "/").await.unwrap().ok().unwrap(), wanted);
    }
    one.shutdown().await;
    let text = http::get(second, &other, "/").await.unwrap().ok().unwrap();
    assert_eq!(text, "Hello Two!\n", "the end of one is nothing to the other");
    two.shutdown().await;
}
