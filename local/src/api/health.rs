//! `/healthz`, `/livez`, `/readyz`.

use http::Response;

use super::answer::{self, Body};
use super::query::Query;

/// Whether a path asks for health.
pub fn is_health(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz"].iter().any(|prefix| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A server that answers is healthy: there is nothing behind it that could fail apart from it.
pub fn answer(path: &str, query: &Query) -> Response<Body> {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (probe, check) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match check {
        "" if query.get("verbose").is_some() => {
            answer::text(200, &format!("[+]ping ok\n[+]store ok\n{probe} check passed\n"))
        }
        "" | "ping" | "store" | "etcd" | "log" => answer::text(200, "ok"),
        _ => answer::no_page(),
    }
}
