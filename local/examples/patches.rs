//! Patches a Deployment's status many times.
use local::api::{Api as Server, Options};
use kube::api::{Api, Patch, PatchParams, PostParams};
use k8s_openapi::api::apps::v1::Deployment;
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = Server::open(Options::in_memory(runtime::clock::Clock::start()))?;
    let api: Api<Deployment> = Api::namespaced(server.client(), "default");
    let mut object: Deployment = serde_json::from_str(&std::fs::read_to_string("/tmp/dep.json")?)?;
    object.metadata.resource_version = None;
    object.metadata.uid = None;
    object.metadata.managed_fields = None;
    api.create(&PostParams::default(), &object).await?;
    let count = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(200);
    let begin = tokio::time::Instant::now();
    for turn in 0..count {
        let status = serde_json::json!({"status": {"replicas": turn, "observedGeneration": turn}});
        api.patch_status("cold-00001-deployment", &PatchParams { field_manager: Some("kube-controller-manager".into()), ..Default::default() }, &Patch::Merge(status)).await?;
    }
    println!("{:?} each", begin.elapsed() / count);
    Ok(())
}
