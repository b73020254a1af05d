//! The language of the platform: every type and constant that crosses a process boundary.
//!
//! Pure: no client, no clock, no logging. Roles never name each other; what they say to each other
//! (Kubernetes objects, HTTP headers, load reports) is written here.

pub mod autoscaling;
pub mod cesql;
pub mod condition;
pub mod convert;
pub mod crd;
pub mod cron;
pub mod duck;
pub mod eventing;
pub mod field_error;
pub mod flows;
pub mod go;
pub mod headers;
pub mod keys;
pub mod load;
pub mod messaging;
pub mod names;
pub mod networking;
pub mod period;
pub mod quantity;
pub mod queue;
pub mod serving;
pub mod shape;
pub mod sinks;
pub mod sources;
pub mod url;
