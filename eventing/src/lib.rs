//! Events: what they are, where they wait, and how they reach those that want them.

pub mod admin;
pub mod broker;
pub mod channel;
pub mod courier;
pub mod dead;
pub mod deliver;
pub mod dispatcher;
pub mod event;
pub mod filter;
pub mod ingress;
pub mod job_sink;
pub mod ledger;
pub mod log;
pub mod objects;
pub mod policy;
pub mod recent;
pub mod source;
pub mod sources;
pub mod spec;
pub mod state;
pub mod subscriber;
pub mod threads;
pub mod topic;
pub mod trigger;
