//! What the node gives the API server: the output of containers.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde_json::Value;

/// A part of a container's output; ends when there is nothing more to come.
pub type Output = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Which part of a container's output is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The container; the API server has filled in the only one or the default one.
    pub container: String,
    /// Goes on as the container writes.
    pub follow: bool,
    /// Of the run before this one.
    pub previous: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was written since then.
    pub since: Option<Timestamp>,
    /// Each line begins with its time (RFC 3339 with nanoseconds).
    pub timestamps: bool,
    /// Ends after so many bytes.
    pub limit_bytes: Option<u64>,
    /// `All`, `Stdout` or `Stderr`.
    pub stream: String,
}

/// Why there is no output: the text goes to the client with code 400 (or 500 when `internal`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `container "a" in pod "p" is waiting to start: ContainerCreating`.
    pub message: String,
    /// Not the client's mistake.
    pub internal: bool,
}

/// Gives the output of containers. The node implements it.
pub trait Logs: Send + Sync + 'static {
    /// The output of one container of a pod that the API server has found.
    fn read(
        &self,
        pod: &Value,
        options: Options,
    ) -> Pin<Box<dyn Future<Output = Result<Output, Refusal>> + Send>>;
}
