//! One request in, one request out: accept, forward, limit, probe, drain; and the queue role.

pub mod body;
pub mod drain;
pub mod h1;
pub mod hop;
pub mod queue;
pub mod serve;
pub mod upstream;
