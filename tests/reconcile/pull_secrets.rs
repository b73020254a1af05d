//! A registry that lets in only those whom the pull secrets of a Revision, or of its ServiceAccount, name.

use std::sync::Arc;

use controller::revision::{
    digest::{Question, Resolver},
    registry::Registries,
};
use http::{Response, header};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::{Api, Client, api::PostParams};
use local::api::{Api as Embedded, Options};
use proxy::{body::Body, drain, serve};
use runtime::{clock::Clock, cluster::Key};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const SUM: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A registry that opens to `me:secret`; returns where it is.
async fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let handler: serve::Handler = Arc::new(|request, _| {
        let pass = request.headers().get(header::AUTHORIZATION);
        let answer = if pass.is_some_and(|it| it == "Basic bWU6c2VjcmV0") {
            Response::builder().header("docker-content-digest", SUM)
        } else {
            Response::builder().status(401).header(header::WWW_AUTHENTICATE, "Basic realm=\"r\"")
        };
        Box::pin(async move { answer.body(Body::empty()).unwrap() })
    });
    tokio::spawn(serve::serve(listener, handler, Default::default(), drain::Count::default()));
    at
}

async fn create<K>(api: Api<K>, object: Value)
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn cluster(registry: &str) -> Client {
    let api = Embedded::open(Options::in_memory(Clock::start())).unwrap();
    let client = api.client();
    create(Api::<Namespace>::all(client.clone()), json!({ "metadata": { "name": "team" } })).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "team");
    let auths = json!({ registry: { "username": "me", "password": "secret" } });
    create(
        secrets.clone(),
        json!({
            "metadata": { "name": "new" },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": { ".dockerconfigjson": json!({ "auths": auths }).to_string() },
        }),
    )
    .await;
    create(
        secrets,
        json!({
            "metadata": { "name": "old" },
            "type": "kubernetes.io/dockercfg",
            "stringData": { ".dockercfg": auths.to_string() },
        }),
    )
    .await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "team");
    let pulls = json!([{ "name": "gone" }, { "name": "old" }]);
    let puller = json!({ "metadata": { "name": "puller" }, "imagePullSecrets": pulls });
    create(accounts, puller).await;
    client
}

#[tokio::test]
async fn pull_secrets_open_a_registry() {
    let registry = registry().await;
    let registries = Registries::new(cluster(&registry).await);
    let config = Arc::new(config::Config::default());
    let image = format!("{registry}/app:v1");
    let pinned = format!("{registry}/app@{SUM}");
    for (account, secrets, opens) in [
        ("", &[][..], false),
        ("", &["new"], true),
        ("", &["old"], true),
        ("puller", &[], true),
        ("nobody", &[], false),
        ("nobody", &["gone", "new"], true),
    ] {
        let question = Question {
            revision: Key::new("team", "app-00001"),
            image: image.clone(),
            service_account: account.to_owned(),
            pull_secrets: secrets.iter().map(|it| (*it).to_owned()).collect(),
        };
        let answer = registries.resolve(question, config.clone()).await;
        match (opens, answer) {
            (true, Ok(Some(it))) => assert_eq!(it, pinned),
            (false, Err(why)) => assert!(why.contains("401 Unauthorized"), "{why}"),
            (_, other) => panic!("{account:?} {secrets:?}: {other:?}"),
        }
    }
}
