//! The embedded cluster: a Kubernetes API server, its controllers and its node, in one process.

pub mod kinds;
pub mod schema;
pub mod workloads;
