//! The objects that people write become objects that the cluster runs.

pub mod configuration;
pub mod metadata;
pub mod revision;
pub mod service;
