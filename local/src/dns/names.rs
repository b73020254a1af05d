//! What the cluster's names stand for.
//!
//! Pure: Services and pods are asked for through [`Names`].
//! Source: kubernetes/dns `docs/specification.md`.

use std::net::Ipv4Addr;

/// Aliases that are followed for one name; a longer chain is a circle.
const CHAIN: usize = 8;

/// What is known of the cluster.
pub trait Names {
    /// The Service of that name; none if there is none.
    fn service(&self, namespace: &str, name: &str) -> Option<Kind>;
    /// Ready pods of a Service: host name, if it has one for this, and address.
    fn pods(&self, namespace: &str, service: &str) -> Vec<(Option<String>, Ipv4Addr)>;
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One address.
    At(Ipv4Addr),
    /// Another name.
    Alias(String),
    /// The addresses of its pods.
    Pods,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is not a name of the cluster.
    Foreign,
    /// No such name in the cluster.
    Missing,
    /// It exists; perhaps without an address.
    Addresses(Vec<Ipv4Addr>),
    /// Another name, which is not the cluster's.
    Alias(String),
}

/// Looks up `name`, in lower case and without a final dot, in the cluster whose names end in `domain`.
pub fn find(name: &str, domain: &str, names: &impl Names) -> Found {
    let mut name = name.to_owned();
    for followed in 0..CHAIN {
        let Some(local) = name.strip_suffix(domain).and_then(|it| it.strip_suffix('.')) else {
            return if followed == 0 { Found::Foreign } else { Found::Alias(name) };
        };
        let labels: Vec<&str> = local.split('.').collect();
        let (host, service, namespace) = match labels.as_slice() {
            [address, _, "pod"] => {
                let address = address.replace('-', ".").parse();
                return address.map_or(Found::Missing, |it| Found::Addresses(vec![it]));
            }
            [service, namespace, "svc"] => (None, *service, *namespace),
            // Named ports are asked for by other record types; the name exists if the Service does.
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                return match names.service(namespace, service) {
                    Some(_) => Found::Addresses(Vec::new()),
                    None => Found::Missing,
                };
            }
            [host, service, namespace, "svc"] => (Some(*host), *service, *namespace),
            _ => return Found::Missing,
        };
        let pods = || names.pods(namespace, service);
        match (names.service(namespace, service), host) {
            (None, _) => return Found::Missing,
            (Some(Kind::At(address)), None) => return Found::Addresses(vec![address]),
            (Some(Kind::Alias(target)), None) => {
                name = target.trim_end_matches('.').to_owned();
            }
            (Some(Kind::Pods), None) => {
                return Found::Addresses(pods().into_iter().map(|(_, address)| address).collect());
            }
            (Some(_), Some(host)) => {
                let named = pods().into_iter().filter(|(name, _)| name.as_deref() == Some(host));
                let addresses: Vec<_> = named.map(|(_, address)| address).collect();
                return if addresses.is_empty() {
                    Found::Missing
                } else {
                    Found::Addresses(addresses)
                };
            }
        }
    }
    Found::Missing
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cluster;

    impl Names for Cluster {
        fn service(&self, namespace: &str, name: &str) -> Option<Kind> {
            match (namespace, name) {
                ("n", "plain") => Some(Kind::At([10, 96, 0, 7].into())),
                ("n", "headless") => Some(Kind::Pods),
                ("n", "alias") => Some(Kind::Alias("plain.n.svc.cluster.local".to_owned())),
                ("n", "outside") => Some(Kind::Alias("example.com.".to_owned())),
                ("n", "circle") => Some(Kind::Alias("circle.n.svc.cluster.local".to_owned())),
                _ => None,
            }
        }

        fn pods(&self, _: &str, _: &str) -> Vec<(Option<String>, Ipv4Addr)> {
            vec![(Some("a".to_owned()), [10, 0, 0, 1].into()), (None, [10, 0, 0, 2].into())]
        }
    }

    #[test]
    fn names_stand_for_what_the_specification_says() {
        check("example.com", "Foreign");
        check("cluster.local", "Foreign");
        check("xcluster.local", "Foreign");
        check("plain.n.svc.cluster.local", "10.96.0.7");
        check("alias.n.svc.cluster.local", "10.96.0.7");
        check("outside.n.svc.cluster.local", "example.com");
        check("circle.n.svc.cluster.local", "Missing");
        check("headless.n.svc.cluster.local", "10.0.0.1 10.0.0.2");
        check("a.headless.n.svc.cluster.local", "10.0.0.1");
        check("b.headless.n.svc.cluster.local", "Missing");
        check("none.n.svc.cluster.local", "Missing");
        check("plain.n.cluster.local", "Missing");
        check("n.svc.cluster.local", "Missing");
        check("10-0-0-9.n.pod.cluster.local", "10.0.0.9");
        check("_http._tcp.plain.n.svc.cluster.local", "");
        check("example.com.n.svc.cluster.local", "Missing");
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let found = match find(name, "cluster.local", &Cluster) {
            Found::Addresses(all) => {
                all.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" ")
            }
            Found::Alias(name) => name,
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{name}");
    }
}
