//! The three patches that Kubernetes takes besides apply.
//!
//! Pure: values in, values out.

pub mod json;
pub mod merge;
pub mod strategic;
