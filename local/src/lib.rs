//! local

pub mod workloads;
