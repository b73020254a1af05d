//! The embedded cluster: a Kubernetes API server, its controllers and its node, in one process.

pub mod images;
pub mod kinds;
pub mod logs;
pub mod node;
pub mod schema;
pub mod workloads;
