//! HTTPS through the gateway: certificates from Secrets, redirects, and what is said where one is missing.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tests::{eventually::eventually, machine::may_isolate, platform::Platform};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// The longest that anything takes on a busy machine, a cold start included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate for one host, and the file names under which kubectl finds it.
struct Made {
    roots: RootCertStore,
    arguments: [String; 2],
}

/// Makes a certificate, as `openssl req -x509` does.
fn make(platform: &Platform, host: &str, turn: u32) -> Made {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let file = |kind: &str, text: String| {
        let path = platform.home().join(format!("{host}-{turn}.{kind}"));
        std::fs::write(&path, text).unwrap();
        format!("--{kind}={}", path.display())
    };
    let arguments = [file("cert", made.cert.pem()), file("key", made.signing_key.serialize_pem())];
    Made { roots, arguments }
}

impl Made {
    /// Puts it into the Secret `name`, whether that is there or not.
    async fn store(&self, platform: &Platform, name: &str) {
        let [certificate, key] = &self.arguments;
        let words =
            ["create", "secret", "tls", name, certificate, key, "--dry-run=client", "-o", "json"];
        let secret = platform.kubectl().run_words(&words, "").await.ok();
        platform.apply(&secret).await;
    }
}

/// Shakes hands as a client of `host` that speaks `protocol`.
async fn dial(
    to: SocketAddr,
    host: &str,
    roots: &RootCertStore,
    protocol: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await?
}

/// One GET in TLS: the status and the body.
async fn get(
    to: SocketAddr,
    host: &str,
    roots: &RootCertStore,
    protocol: &str,
) -> Result<(StatusCode, String)> {
    let stream = dial(to, host, roots, protocol).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(protocol.as_bytes()), "no agreement");
    let stream = TokioIo::new(stream);
    let request = |uri: String| {
        Request::get(uri).header(header::HOST, host).body(Full::<Bytes>::default()).unwrap()
    };
    let response = if protocol == "h2" {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        timeout(PATIENCE, sender.send_request(request(format!("https://{host}/")))).await
    } else {
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        timeout(PATIENCE, sender.send_request(request("/".to_owned()))).await
    };
    let response = response.context("no answer in time")??;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// An Ingress of ours for the first revision of a Service.
fn ingress(name: &str, host: &str, service: &str, option: &str, secret: &str) -> String {
    let revision = format!("{service}-00001");
    json!({
        "apiVersion": "networking.internal.knative.dev/v1alpha1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": {
            "networking.knative.dev/ingress.class": api::keys::networking::WEFT_CLASS}},
        "spec": {
            "httpOption": option,
            "rules": [{"hosts": [host], "visibility": "ExternalIP", "http": {"paths": [{"splits": [{
                "serviceName": revision, "serviceNamespace": "default", "servicePort": 80, "percent": 100,
                "appendHeaders": {"Knative-Serving-Revision": revision, "Knative-Serving-Namespace": "default"},
            }]}]}}],
            "tls": [{"hosts": [host], "secretName": secret, "secretNamespace": "default"}],
        },
    })
    .to_string()
}

/// Waits until an Ingress's `LoadBalancerReady` is such, and returns its message.
async fn balancer(platform: &Platform, ingress: &str, status: &str, reason: &str) -> String {
    eventually(PATIENCE, &format!("{ingress} is {status} {reason}"), || async {
        let object = platform.object(&format!("kingress {ingress}")).await?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|it| it["type"] == "LoadBalancerReady");
        let text =
            |key: &str| found.map_or("", |it| it[key].as_str().unwrap_or_default()).to_owned();
        ensure!((&*text("status"), &*text("reason")) == (status, reason), "{conditions:?}");
        Ok(text("message"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_served_in_tls_with_the_certificates_of_their_ingresses() {
    let platform = Platform::start().await;
    for sample in ["hello", "websocket"] {
        platform.apply_sample(&format!("{sample}.yaml")).await;
        platform.ready(sample).await;
    }
    let tls = platform.running().https_addr.expect("it listens for HTTPS");
    let (open, closed) = ("open.example.com", "closed.example.com");
    platform.apply(&ingress("open", open, "hello", "Enabled", "front")).await;
    platform.apply(&ingress("closed", closed, "websocket", "Redirected", "back")).await;

    // Without a Secret: its name is told, and plain HTTP is served on.
    let message = balancer(&platform, "open", "Unknown", "SecretNotFound").await;
    assert!(message.contains("default/front"), "{message}");
    assert_eq!(platform.get(open, "/").await.unwrap().ok().unwrap(), "Hello World!\n");
    let front = make(&platform, open, 1);
    get(tls, open, &front.roots, "h2").await.expect_err("there is no certificate");

    front.store(&platform, "front").await;
    let back = make(&platform, closed, 1);
    back.store(&platform, "back").await;
    for ingress in ["open", "closed"] {
        let line = format!("wait kingress/{ingress} --for=condition=Ready --timeout=60s");
        platform.kubectl().run(&line).await.ok();
    }
    for protocol in ["h2", "http/1.1"] {
        let answer = get(tls, open, &front.roots, protocol).await.unwrap();
        assert_eq!(answer, (StatusCode::OK, "Hello World!\n".to_owned()), "{protocol}");
    }
    get(tls, open, &back.roots, "h2").await.expect_err("the certificate of another host");
    let hello = platform.host("hello").await;
    let hello = hello.split(':').next().unwrap();
    get(tls, hello, &front.roots, "h2").await.expect_err("a host without a certificate");
    assert_eq!(platform.get(open, "/").await.unwrap().ok().unwrap(), "Hello World!\n");

    // A WebSocket, at a host that is for HTTPS alone.
    let redirected = platform.get(closed, "/a?b").await.unwrap();
    assert_eq!(redirected.status, StatusCode::MOVED_PERMANENTLY);
    let to = format!("https://{closed}:{}/a?b", tls.port());
    assert_eq!(redirected.headers[header::LOCATION], to);
    let stream = dial(tls, closed, &back.roots, "http/1.1").await.unwrap();
    let request = format!("wss://{closed}/").into_client_request().unwrap();
    let (mut socket, _) = timeout(PATIENCE, client_async(request, stream)).await.unwrap().unwrap();
    for text in ["one", "another"] {
        socket.send(Message::text(text)).await.unwrap();
        let back = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(back.into_text().unwrap().as_str(), text);
    }

    // A certificate is replaced, and then spoilt, while the platform runs.
    let new = make(&platform, open, 2);
    new.store(&platform, "front").await;
    eventually(PATIENCE, "the new certificate is shown", || async {
        get(tls, open, &new.roots, "http/1.1").await.map(drop)
    })
    .await;
    get(tls, open, &front.roots, "h2").await.expect_err("the old certificate is gone");
    let secret: Value = platform.object("secret back").await.unwrap();
    let patch = json!({"data": {"tls.key": secret["data"]["tls.key"]}}).to_string();
    let words = ["patch", "secret", "front", "--type=merge", "-p", &patch];
    platform.kubectl().run_words(&words, "").await.ok();
    let message = balancer(&platform, "open", "False", "InvalidSecret").await;
    assert!(message.contains("default/front"), "{message}");
    assert_eq!(platform.get(open, "/").await.unwrap().ok().unwrap(), "Hello World!\n");

    if may_isolate() {
        // The gateway's own address has HTTPS at the port of URLs.
        let service = platform.object("service weft-gateway -n knative-serving").await.unwrap();
        assert_eq!(service["spec"]["ports"][1]["port"], 443);
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap();
        let outside = SocketAddr::new(ip.parse().unwrap(), 443);
        dial(outside, closed, &back.roots, "h2").await.unwrap();
    }
}

/// Changes keys of a ConfigMap of the platform.
async fn configure(platform: &Platform, map: &str, data: Value) {
    let patch = json!({ "data": data }).to_string();
    let words =
        ["patch", "configmap", map, "-n", "knative-serving", "--type=merge", "-p", patch.as_str()];
    platform.kubectl().run_words(&words, "").await.ok();
}

/// Those who trust the platform's certificate authority.
async fn trusting(platform: &Platform) -> RootCertStore {
    let text = r#"go-template={{index .data "ca.crt" | base64decode}}"#;
    let words = ["get", "secret", "knative-selfsigned-ca", "-n", "knative-serving", "-o", text];
    let pem = platform.kubectl().run_words(&words, "").await.ok();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

/// Waits until a Service has a URL of this scheme; returns it and the condition of its Route that tells of the
/// certificate.
async fn url(platform: &Platform, service: &str, scheme: &str) -> (String, String) {
    eventually(PATIENCE, &format!("{service} is {scheme}"), || async {
        let url = platform.object(&format!("ksvc {service}")).await?["status"]["url"].clone();
        let url = url.as_str().context("it has no URL")?.to_owned();
        ensure!(url.starts_with(&format!("{scheme}://")), "{url}");
        let route = platform.object(&format!("route {service}")).await?;
        let conditions = route["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|it| it["type"] == "CertificateProvisioned");
        let reason = found.and_then(|it| it["reason"].as_str()).unwrap_or_default();
        Ok((url, reason.to_owned()))
    })
    .await
}

/// The Certificate of a Service's only host.
async fn certificate(platform: &Platform, service: &str) -> Result<Value> {
    let kind = "certificates.networking.internal.knative.dev";
    let line = format!("{kind} -l serving.knative.dev/route={service}");
    let found = platform.object(&line).await?["items"].as_array().cloned().unwrap_or_default();
    ensure!(found.len() == 1, "there are {} certificates", found.len());
    Ok(found[0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_https_as_long_as_the_configuration_says_so() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let tls = platform.running().https_addr.expect("it listens for HTTPS");
    let host = platform.host("hello").await;
    let host = host.split(':').next().unwrap();
    assert_eq!(url(&platform, "hello", "http").await.1, "TLSNotEnabled");

    configure(&platform, "config-network", json!({ "external-domain-tls": "Enabled" })).await;
    let (told, reason) = url(&platform, "hello", "https").await;
    let port = if tls.port() == 443 { String::new() } else { format!(":{}", tls.port()) };
    assert_eq!((told, &*reason), (format!("https://{host}{port}"), ""));
    let roots = trusting(&platform).await;
    for protocol in ["h2", "http/1.1"] {
        let served = || async { get(tls, host, &roots, protocol).await };
        let (status, text) = eventually(PATIENCE, "HTTPS is served", served).await;
        assert_eq!((status, &*text), (StatusCode::OK, "Hello World!\n"));
    }
    assert_eq!(platform.get(host, "/").await.unwrap().ok().unwrap(), "Hello World!\n");
    let made = certificate(&platform, "hello").await.unwrap();
    let secret = made["spec"]["secretName"].as_str().unwrap().to_owned();
    let kept = platform.object(&format!("secret {secret}")).await.unwrap();
    let uid = &kept["metadata"]["labels"]["networking.internal.knative.dev/certificate-uid"];
    assert_eq!((uid, &kept["type"]), (&made["metadata"]["uid"], &json!("kubernetes.io/tls")));

    // Renewed while requests come: none fails.
    let ends: jiff::Timestamp = made["status"]["notAfter"].as_str().unwrap().parse().unwrap();
    let soon = ends - Duration::from_secs(89 * 24 * 60 * 60);
    let annotation = format!("weft.dev/certificate-not-after={soon}");
    let words = ["annotate", "secret", &secret, "--overwrite", &annotation];
    platform.kubectl().run_words(&words, "").await.ok();
    eventually(PATIENCE, "the certificate is another", || async {
        let (status, _) = get(tls, host, &roots, "http/1.1").await.expect("no request is lost");
        assert_eq!(status, StatusCode::OK);
        let now = platform.object(&format!("secret {secret}")).await?;
        ensure!(now["data"]["tls.crt"] != kept["data"]["tls.crt"], "it is the same");
        ensure!(now["data"]["ca.crt"] == kept["data"]["ca.crt"], "the authority is another");
        Ok(())
    })
    .await;
    get(tls, host, &roots, "h2").await.expect("the new one is as good");

    // Plain HTTP is sent there when it shall be.
    configure(&platform, "config-network", json!({ "http-protocol": "Redirected" })).await;
    eventually(PATIENCE, "plain HTTP is redirected", || async {
        let answer = platform.get(host, "/a").await?;
        ensure!(answer.status == StatusCode::MOVED_PERMANENTLY, "{}", answer.status);
        ensure!(answer.headers[header::LOCATION] == format!("https://{host}:{}/a", tls.port()));
        Ok(())
    })
    .await;

    // Others' certificates are left to others.
    let elsewhere =
        json!({ "certificate-class": "elsewhere.example.com", "http-protocol": "Enabled" });
    configure(&platform, "config-network", elsewhere).await;
    let skipping = json!({ "registries-skipping-tag-resolving": "weft.dev" });
    configure(&platform, "config-deployment", skipping).await;
    let sample = std::fs::read_to_string(tests::parts::root().join("deploy/samples/hello.yaml"));
    platform.apply(&sample.unwrap().replace("name: hello", "name: other")).await;
    platform.ready("other").await;
    assert_eq!(url(&platform, "other", "http").await.1, "HTTPDowngrade");
    let others = certificate(&platform, "other").await.unwrap();
    assert_eq!(others["status"], Value::Null);
    for (revision, is_pinned) in [("hello-00001", true), ("other-00001", false)] {
        let object = platform.object(&format!("revision {revision}")).await.unwrap();
        let digest = &object["status"]["containerStatuses"][0]["imageDigest"];
        assert_eq!(digest.is_string(), is_pinned, "{revision}: {digest}");
    }

    configure(&platform, "config-network", json!({ "external-domain-tls": "Disabled" })).await;
    for service in ["hello", "other"] {
        assert_eq!(url(&platform, service, "http").await.1, "TLSNotEnabled");
    }
    assert_eq!(platform.get(host, "/").await.unwrap().ok().unwrap(), "Hello World!\n");
    eventually(PATIENCE, "HTTPS is gone", || async {
        ensure!(get(tls, host, &roots, "h2").await.is_err(), "it is served");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_inside_have_https_as_long_as_the_configuration_says_so() {
    let platform = super::kubectl::with_shell().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let address = async |scheme: &str| {
        let what = format!("the address of hello is {scheme}");
        eventually(PATIENCE, &what, || async {
            let found = platform.object("ksvc hello").await?;
            let url = found["status"]["address"]["url"].as_str().unwrap_or_default().to_owned();
            ensure!(url == format!("{scheme}://hello.default.svc.cluster.local"), "{url}");
            Ok(())
        })
        .await;
    };
    address("http").await;
    let enabled = json!({ "cluster-local-domain-tls": "Enabled" });
    configure(&platform, "config-network", enabled).await;
    address("https").await;
    platform.ready("hello").await;
    let made = certificate(&platform, "hello").await.unwrap();
    let hosts = ["hello.default", "hello.default.svc", "hello.default.svc.cluster.local"];
    assert_eq!(made["spec"]["dnsNames"], json!(hosts));
    let type_ = &made["metadata"]["labels"]["networking.knative.dev/certificate-type"];
    assert_eq!(type_, "cluster-local-domain");
    // The world is another matter.
    assert_eq!(url(&platform, "hello", "http").await.1, "");
    if may_isolate() {
        let secret = made["spec"]["secretName"].as_str().unwrap();
        let kept = platform.object(&format!("secret {secret}")).await.unwrap();
        let authority = kept["data"]["ca.crt"].as_str().unwrap();
        for (at, host) in hosts.iter().enumerate() {
            let script = format!(
                "echo {authority} | base64 -d > /tmp/ca.crt; \
                 curl -sS --max-time 30 --cacert /tmp/ca.crt https://{host}; \
                 curl -sS --max-time 30 http://{host}"
            );
            let name = format!("asks-{at}");
            platform.apply(&super::pods::script(&name, &script, "")).await;
            let twice = "Hello World!\nHello World!";
            super::pods::prints(&platform, &name, twice).await;
        }
    }
    let disabled = json!({ "cluster-local-domain-tls": "Disabled" });
    configure(&platform, "config-network", disabled).await;
    address("http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_called_in_tls_as_long_as_the_configuration_says_so() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let host = platform.host("hello").await;
    let host = host.split(':').next().unwrap().to_owned();
    let says_hello = async || {
        assert_eq!(platform.get(&host, "/").await.unwrap().ok().unwrap(), "Hello World!\n");
    };
    says_hello().await;
    let log = json!({
        "logging.enable-request-log": "true",
        "logging.request-log-template": "TLS: {{.Request.TLS}}",
    });
    configure(&platform, "config-observability", log).await;
    // The log of the pod that serves: requests are made until it has the text.
    let logs = async |text: &str| {
        eventually(PATIENCE, &format!("a queue writes {text:?}"), || async {
            says_hello().await;
            let pods = platform.pods("hello").await?;
            for pod in pods {
                let line = format!("logs {pod} -c queue-proxy");
                if platform.kubectl().run(&line).await.result().is_ok_and(|it| it.contains(text)) {
                    return Ok(pod);
                }
            }
            anyhow::bail!("no queue wrote it")
        })
        .await
    };
    logs("TLS: <nil>").await;

    let enabled = json!({ "system-internal-tls": "Enabled" });
    configure(&platform, "config-network", enabled).await;
    if !may_isolate() {
        // On the machine's network a queue is called in the same process, and no wire needs TLS.
        says_hello().await;
        return;
    }
    let pod = logs("TLS: {772 true").await;
    let found = platform.object("secret serving-certs").await.unwrap();
    let authority = trusting(&platform).await;
    let object = platform.object(&format!("pod {pod}")).await.unwrap();
    let ip = object["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let queue = SocketAddr::new(ip, 8112);
    for name in ["kn-user-default", "data-plane.knative.dev"] {
        dial(queue, name, &authority, "h2").await.unwrap();
    }
    dial(queue, "kn-user-other", &authority, "h2").await.expect_err("it is not of that namespace");
    let bundle = platform.object("cm knative-ca-bundle -n knative-serving").await.unwrap();
    assert_eq!(bundle["metadata"]["labels"]["networking.knative.dev/trust-bundle"], "true");

    // Another certificate while the pod runs.
    platform.kubectl().run("delete secret serving-certs").await.ok();
    let reloaded = "Certificate and/or key have changed on disk and were reloaded.\n";
    eventually(PATIENCE, "the queue has another certificate", || async {
        says_hello().await;
        let log = platform.kubectl().run(&format!("logs {pod} -c queue-proxy")).await.result();
        let log = log.map_err(anyhow::Error::msg)?;
        ensure!(log.matches(reloaded).count() == 2, "{log}");
        Ok(())
    })
    .await;
    let renewed = platform.object("secret serving-certs").await.unwrap();
    assert_ne!(renewed["data"]["tls.crt"], found["data"]["tls.crt"]);
    assert_eq!(renewed["data"]["ca.crt"], found["data"]["ca.crt"]);
    says_hello().await;
    platform.at_zero("hello").await;
    says_hello().await;

    configure(&platform, "config-network", json!({ "system-internal-tls": "Disabled" })).await;
    logs("TLS: <nil>").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_operator_vouches_and_what_it_vouched_for_outlives_it() {
    let platform = Platform::start().await;
    platform.apply_sample("hello.yaml").await;
    platform.ready("hello").await;
    let tls = platform.running().https_addr.expect("it listens for HTTPS");
    let host = platform.host("hello").await;
    let host = host.split(':').next().unwrap().to_owned();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.der().clone()).unwrap();
    let file = |kind: &str, text: String| {
        let path = platform.home().join(format!("authority.{kind}"));
        std::fs::write(&path, text).unwrap();
        format!("--{kind}={}", path.display())
    };
    let (cert, key) = (file("cert", made.pem()), file("key", key.serialize_pem()));
    let words = ["create", "secret", "tls", "mine", "-n", "knative-serving", &*cert, &*key];
    platform.kubectl().run_words(&words, "").await.ok();
    let mine = json!({ "issuerRef": "{kind: Secret, name: mine}" });
    configure(&platform, "config-certmanager", mine).await;
    configure(&platform, "config-network", json!({ "external-domain-tls": "Enabled" })).await;
    url(&platform, "hello", "https").await;
    eventually(PATIENCE, "the operator's authority vouches", || async {
        get(tls, &host, &roots, "h2").await.map(drop)
    })
    .await;

    // That it is gone is told, and changes nothing.
    platform.kubectl().run("delete secret mine -n knative-serving").await.ok();
    eventually(PATIENCE, "what is wrong is told", || async {
        let found = certificate(&platform, "hello").await?;
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready =
            conditions.iter().find(|it| it["type"] == "Ready").context("it says nothing")?;
        let said = [&ready["status"], &ready["reason"]].map(|it| it.as_str().unwrap_or_default());
        ensure!(said == ["True", "AuthorityUnusable"], "{ready}");
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(message.contains("knative-serving/mine"), "{message}");
        let events = platform.kubectl().run("get events").await.ok();
        ensure!(events.contains("AuthorityUnusable"), "{events}");
        Ok(())
    })
    .await;
    assert!(url(&platform, "hello", "https").await.0.starts_with("https://"));
    get(tls, &host, &roots, "h2").await.unwrap();

    // Without one of the operator's the platform has its own.
    configure(&platform, "config-certmanager", json!({ "issuerRef": null })).await;
    eventually(PATIENCE, "the platform's own authority vouches", || async {
        platform.object("secret knative-selfsigned-ca -n knative-serving").await?;
        let own = trusting(&platform).await;
        get(tls, &host, &own, "h2").await.map(drop)
    })
    .await;
}
