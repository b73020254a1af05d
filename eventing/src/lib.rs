//! Events: what they are, where they wait, and how they reach those that want them.

pub mod event;
pub mod log;
pub mod policy;
pub mod state;
