//! Load becomes pods: how many a revision should have, and whether requests go straight to them.

pub mod decide;
pub mod path;
pub mod policy;
pub mod window;
pub mod zero;
