//! Events: what they are, where they wait, and how they reach those that want them.

pub mod broker;
pub mod channel;
pub mod event;
pub mod filter;
pub mod log;
pub mod objects;
pub mod policy;
pub mod state;
pub mod trigger;
