//! Server-side apply: who owns which fields, and what becomes of them.
//!
//! Source: sigs.k8s.io/structured-merge-diff, k8s.io/apimachinery `pkg/util/managedfields`.

pub mod compare;
pub mod item;
pub mod last_applied;
pub mod managed;
pub mod merge;
pub mod set;
