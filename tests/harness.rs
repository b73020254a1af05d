//! What the tests share: a platform of their own, the real clients, and assertions that wait.

#[path = "harness/cluster.rs"]
pub mod cluster;
#[path = "harness/eventually.rs"]
pub mod eventually;
#[path = "harness/http.rs"]
pub mod http;
#[path = "harness/kubectl.rs"]
pub mod kubectl;
#[path = "harness/machine.rs"]
pub mod machine;
#[path = "harness/nats.rs"]
pub mod nats;
#[path = "harness/parts.rs"]
pub mod parts;
#[path = "harness/platform.rs"]
pub mod platform;
#[path = "harness/random.rs"]
pub mod random;
#[path = "harness/replay.rs"]
pub mod replay;
#[path = "harness/same.rs"]
pub mod same;
#[path = "harness/sink.rs"]
pub mod sink;
#[path = "harness/stream.rs"]
pub mod stream;
