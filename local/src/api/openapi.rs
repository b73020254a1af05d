//! The OpenAPI documents that kubectl validates and explains with.

use http::Response;
use http::request::Parts;

use super::Server;
use super::answer::{self, Body};
use super::query::Query;
use super::status::Refusal;

/// Answers a path below `/openapi`.
pub fn answer(_server: &Server, _parts: &Parts, _query: &Query) -> Result<Response<Body>, Refusal> {
    Ok(answer::no_page())
}
