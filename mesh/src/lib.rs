//! The mesh: Ingress objects become a routing table, and a gateway serves it.

pub mod ack;
pub mod certificates;
pub mod gateway;
pub mod peers;
pub mod pick;
pub mod services;
pub mod table;
