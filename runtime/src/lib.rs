//! Everything a role needs that is not the role: the cluster, reconciling, leases, health, logs.

pub mod admin;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod events;
pub mod finalizer;
pub mod lease;
pub mod metrics;
pub mod plan;
pub mod queue;
pub mod reconcile;
pub mod resolve;
pub mod selector;
pub mod telemetry;
pub mod tracker;
pub mod trust;
