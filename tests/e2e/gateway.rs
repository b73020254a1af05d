//! How clients find the gateway besides the machine's own port: by its Services, as any networking layer of Knative's.

use std::net::{IpAddr, SocketAddr};

use ::http::StatusCode;
use tests::{http, machine::may_isolate};

use super::pods::{prints, script};

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_a_load_balancer_with_an_address() {
    let platform = super::kubectl::with_shell().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let service = platform.object("service weft-gateway -n knative-serving").await.unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    let [shown] = &service["status"]["loadBalancer"]["ingress"].as_array().unwrap()[..] else {
        panic!("one address: {service}");
    };
    let ip: IpAddr = shown["ip"].as_str().unwrap().parse().unwrap();
    let port = shown["ports"][0]["port"].as_u64().unwrap_or(80);
    let address = SocketAddr::from((ip, u16::try_from(port).unwrap()));
    let public = platform.host("hello").await;
    let private = "hello.default.svc.cluster.local";
    assert_eq!(
        http::get(address, &public, "/").await.unwrap().ok().unwrap().trim(),
        "Hello World!"
    );
    let refused = http::get(address, private, "/").await.unwrap();
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "names of the cluster are for the cluster");
    if !may_isolate() {
        assert_eq!(address, platform.gateway());
        return;
    }

    // An Ingress tells pods the names of these Services.
    let ingress = platform.object("kingress hello").await.unwrap();
    let domain = |which: &str| {
        let ingress = &ingress["status"][which]["ingress"][0]["domainInternal"];
        ingress.as_str().unwrap().to_owned()
    };
    let (outer, inner) = (domain("publicLoadBalancer"), domain("privateLoadBalancer"));
    for (name, host, at) in [
        ("by-name", &*public, &outer),
        ("by-address", &*public, &ip.to_string()),
        ("within", private, &inner),
    ] {
        let line = format!("curl -sS --max-time 30 -H \"Host: {host}\" http://{at}");
        platform.apply(&script(name, &line, "")).await;
        prints(&platform, name, "Hello World!").await;
    }
    let line = format!(
        "curl -sS -o /dev/null -w \"%{{http_code}}\" -H \"Host: {private}\" http://{outer}"
    );
    platform.apply(&script("refused", &line, "")).await;
    prints(&platform, "refused", "404").await;
}
