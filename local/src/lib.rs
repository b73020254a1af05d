//! The embedded cluster: a Kubernetes API server, its controllers and its node, in one process.

pub mod api;
pub mod apply;
pub mod demand;
pub mod dns;
pub mod figures;
pub mod images;
pub mod json;
pub mod kinds;
pub mod logs;
pub mod node;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quota;
pub mod schema;
pub mod selector;
pub mod serve;
pub mod storage;
pub mod store;
pub mod workloads;
