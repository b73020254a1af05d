//! Random input for what reads untrusted bytes, for a bounded time: nothing panics, and what must hold, holds.

#[path = "fuzz/apply.rs"]
mod apply;
#[path = "fuzz/cesql.rs"]
mod cesql;
#[path = "fuzz/events.rs"]
mod events;
#[path = "fuzz/filters.rs"]
mod filters;
#[path = "fuzz/http1.rs"]
mod http1;
#[path = "fuzz/objects.rs"]
mod objects;
#[path = "fuzz/patches.rs"]
mod patches;
#[path = "fuzz/paths.rs"]
mod paths;
#[path = "fuzz/selectors.rs"]
mod selectors;
#[path = "fuzz/store.rs"]
mod store;
