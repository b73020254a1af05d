//! What the node gives the API server: how much containers and the machine use.

use std::{pin::Pin, time::Duration};

use jiff::Timestamp;

/// What is used on average over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Billionths of a processor.
    pub cpu_nano: u64,
    /// Memory at the end of the time, without what the kernel can take back at once.
    pub memory_bytes: u64,
}

/// When something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The end of the time.
    pub at: Timestamp,
    /// How long the time was.
    pub window: Duration,
}

/// What one container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFigures {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub span: Span,
    pub usage: Usage,
}

/// What the machine uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFigures {
    /// The Node's name.
    pub name: String,
    pub span: Span,
    pub usage: Usage,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct All {
    /// Containers that run and that are old enough to be measured.
    pub containers: Vec<ContainerFigures>,
    pub nodes: Vec<NodeFigures>,
}

/// Measures. The node implements it.
pub trait Figures: Send + Sync + 'static {
    /// What is used now; takes up to a second where nobody asked for a while.
    fn measure(&self) -> Pin<Box<dyn Future<Output = All> + Send>>;
}
