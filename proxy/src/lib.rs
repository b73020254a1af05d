//! One request in, one request out: accept, forward, limit, probe, drain; and the queue role.

pub mod body;
pub mod breaker;
pub mod drain;
pub mod exposition;
pub mod fetch;
pub mod h1;
pub mod hop;
pub mod probe;
mod pulse;
pub mod queue;
pub mod serve;
pub mod stream;
pub mod timeout;
pub mod tls;
pub mod upstream;
