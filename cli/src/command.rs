//! The commands that look at, or change, a platform that runs.

pub mod crds;
pub mod down;
pub mod explain;
pub mod image;
pub mod logs;
pub mod status;
