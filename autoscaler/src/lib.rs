//! Load becomes pods: how many a revision should have, and whether requests go straight to them.

pub mod conditions;
pub mod decide;
pub mod decider;
pub mod drive;
pub mod explain;
pub mod horizontal;
pub mod objects;
pub mod path;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod serve;
pub mod window;
pub mod zero;
