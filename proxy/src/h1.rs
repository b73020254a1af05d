//! HTTP/1.1 on a socket, both sides: what hyper does, without a task, a channel or a timer a request.
//!
//! Parsing is strict, since a hop that guesses lets requests be smuggled past it: what is not clearly
//! framed is refused with 400 and the connection closed. Hop-by-hop headers end here: a parsed head
//! has none of them, and a written one has those that this connection needs.

pub mod chunk;
pub mod client;
pub mod head;
pub mod server;
pub mod wire;
