//! Holds requests until a pod can take them, and tells the autoscaler of them.

pub mod assign;
pub mod backends;
pub mod discover;
pub mod load;
pub mod report;
pub mod revision;
pub mod role;
pub mod serve;
pub mod telling;
pub mod way;
