//! Sends every WebSocket message back.

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::{IntoResponse, Response},
    routing::any,
};
use http::StatusCode;

pub fn router() -> Router {
    Router::new().fallback(any(upgrade))
}

async fn upgrade(
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade.on_upgrade(echo),
        Err(_) => (
            StatusCode::UPGRADE_REQUIRED,
            "This is a WebSocket echo: connect with a WebSocket client.\n",
        )
            .into_response(),
    }
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Answered by the library when it is asked for the next message; after a close there is none.
            Message::Close(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}
