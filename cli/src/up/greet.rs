//! What `weft up` says when it is ready.

use std::{fmt::Write, io::IsTerminal, net::SocketAddr, path::Path, time::Duration};

/// What came up.
pub struct Greeting<'a> {
    /// Where the Kubernetes API listens.
    pub api_addr: SocketAddr,
    /// Where the gateway listens.
    pub http_addr: SocketAddr,
    /// Where it listens for HTTPS.
    pub https_addr: Option<SocketAddr>,
    /// The kubeconfig for kubectl.
    pub kubeconfig: &'a Path,
    /// How pods run, in a few words.
    pub pods: &'a str,
    /// From the start of the process to now.
    pub took: Duration,
}

/// Prints the greeting: lines for people, or one JSON object.
pub fn print(greeting: &Greeting, json: bool) {
    if json {
        let Greeting { api_addr, http_addr, https_addr, kubeconfig, pods, took } = greeting;
        let line = serde_json::json!({
            "message": "ready",
            "api": format!("https://{api_addr}"),
            "gateway": format!("http://{http_addr}"),
            "gatewayHttps": https_addr.map(|it| format!("https://{it}")),
            "kubeconfig": kubeconfig,
            "pods": pods,
            "tookMs": took.as_millis() as u64,
        });
        println!("{line}");
    } else {
        print!("{}", text(greeting, std::io::stdout().is_terminal()));
    }
}

fn text(greeting: &Greeting, colour: bool) -> String {
    let (bold, dim, plain) = if colour { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let Greeting { api_addr, http_addr, https_addr, kubeconfig, pods, took } = greeting;
    let secure = https_addr
        .map_or("no HTTPS here: --https-addr names an address".to_owned(), |it| {
            format!("https://{it}")
        });
    let kubeconfig = kubeconfig.display();
    let curl =
        crate::command::status::curl(&url("hello.default.localhost", *http_addr), *http_addr);
    let mut text = String::new();
    let _ = write!(
        text,
        "{bold}Weft is ready{plain} {dim}after {} ms{plain}\n\
         \x20 Kubernetes API  https://{api_addr}\n\
         \x20 gateway         http://{http_addr}\n\
         \x20                 {secure}\n\
         \x20 pods            {pods}\n\
         \n\
         Try, in another terminal:\n\
         \x20 {bold}export KUBECONFIG={kubeconfig}{plain}\n\
         \x20 {bold}kubectl apply -f deploy/samples/hello.yaml{plain}\n\
         \x20 {bold}{curl}{plain}\n",
        took.as_millis()
    );
    text
}

/// The URL of a host behind the gateway: the port is named unless it is HTTP's own.
pub fn url(host: &str, gateway: SocketAddr) -> String {
    match gateway.port() {
        80 => format!("http://{host}"),
        port => format!("http://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_came_up_and_what_to_try() {
        let greeting = Greeting {
            api_addr: "127.0.0.1:6443".parse().unwrap(),
            http_addr: "127.0.0.1:8080".parse().unwrap(),
            https_addr: Some("127.0.0.1:8443".parse().unwrap()),
            kubeconfig: Path::new("/data/kubeconfig"),
            pods: "share this machine's network",
            took: Duration::from_millis(87),
        };
        let text = text(&greeting, false);
        for part in [
            "after 87 ms",
            "https://127.0.0.1:6443",
            "https://127.0.0.1:8443",
            "export KUBECONFIG=/data/kubeconfig",
            "curl -H 'Host: hello.default.localhost' http://127.0.0.1:8080",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn urls_carry_the_port_unless_it_is_80() {
        for (gateway, wanted) in
            [("127.0.0.1:80", "http://a.localhost"), ("127.0.0.1:8080", "http://a.localhost:8080")]
        {
            assert_eq!(url("a.localhost", gateway.parse().unwrap()), wanted);
        }
    }
}
