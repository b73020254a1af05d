//! Everything a role needs that is not the role: the cluster, reconciling, leases, health, logs.

pub mod clock;
pub mod cluster;
pub mod events;
pub mod plan;
pub mod queue;
pub mod reconcile;
