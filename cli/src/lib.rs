//! The one binary as a library: every role and every command of Weft.

pub mod args;
pub mod cloudevent;
pub mod command;
pub mod connect;
pub mod place;
pub mod roles;
pub mod sample;
pub mod up;
