//! The environment of the process: the only place that reads it.

/// Namespace of the platform's own objects: `SYSTEM_NAMESPACE`, or Knative's.
pub fn system_namespace() -> String {
    text("SYSTEM_NAMESPACE").unwrap_or_else(|| crate::SYSTEM_NAMESPACE.to_string())
}

/// Namespace of Eventing's own objects: `EVENTING_SYSTEM_NAMESPACE`, or Knative's.
pub fn eventing_namespace() -> String {
    text("EVENTING_SYSTEM_NAMESPACE").unwrap_or_else(|| crate::EVENTING_NAMESPACE.to_string())
}

/// The variable `name`; absent when it is unset, empty or no Unicode.
#[allow(clippy::disallowed_methods, reason = "this is the function that others call instead")]
pub fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The port that a container is told to listen on, from `PORT`.
pub fn port() -> Option<u16> {
    text("PORT")?.parse().ok()
}

/// Where a user's programs keep their data: `XDG_DATA_HOME`, or `~/.local/share`.
pub fn data_home() -> Option<std::path::PathBuf> {
    match text("XDG_DATA_HOME") {
        Some(home) => Some(home.into()),
        None => Some(std::path::PathBuf::from(text("HOME")?).join(".local/share")),
    }
}
