//! The environment of the process: the only place that reads it.

/// Namespace of the platform's own objects: `SYSTEM_NAMESPACE`, or Knative's.
pub fn system_namespace() -> String {
    text("SYSTEM_NAMESPACE").unwrap_or_else(|| crate::SYSTEM_NAMESPACE.to_string())
}

/// The variable `name`; absent when it is unset, empty or no Unicode.
#[allow(clippy::disallowed_methods, reason = "this is the function that others call instead")]
pub fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
