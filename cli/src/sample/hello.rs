//! Greets whoever `TARGET` names.

use axum::{Router, routing::any};

pub fn router() -> Router {
    let target = config::env::text("TARGET").unwrap_or_else(|| "World".to_owned());
    Router::new().fallback(any(move || {
        let greeting = format!("Hello {target}!\n");
        async move { greeting }
    }))
}
