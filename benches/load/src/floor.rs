//! `load http-floor`: the least an HTTP server on axum can do with a call, on one thread. No bridge on axum can be faster.
//!
//! It finds id and text by searching for their keys in the generator's own spelling and sends them back; it is no JSON parser and
//! serves nobody else. `GET` is refused with 405, so a client takes it for a server without a stream.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use memchr::memmem;
use tokio::net::TcpListener;

use crate::error::{Error, Result};

/// Serves `POST /mcp` on loopback until it is killed.
///
/// # Errors
/// When the port is taken.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(Error::io(format!("port {port}")))?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // A refused TCP_NODELAY shows as 40 ms in the latencies; there is nobody here to tell.
        let _ = stream.set_nodelay(true);
    });
    let router = axum::Router::new()
        .route("/mcp", post(echo))
        .layer(axum::extract::DefaultBodyLimit::disable());
    axum::serve(listener, router)
        .await
        .map_err(Error::io("http floor"))
}

async fn echo(body: Bytes) -> Response {
    let Some(id) = between(&body, br#""id":"#, b",") else {
        return StatusCode::ACCEPTED.into_response();
    };
    let mut answer = Vec::with_capacity(body.len() + 64);
    answer.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    answer.extend_from_slice(id);
    match between(&body, br#""text":""#, b"\"") {
        Some(text) => {
            answer.extend_from_slice(br#","result":{"content":[{"type":"text","text":""#);
            answer.extend_from_slice(text);
            answer.extend_from_slice(br#""}]}}"#);
        }
        None => answer.extend_from_slice(
            br#","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"floor","version":"1"}}}"#,
        ),
    }
    ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

fn between<'a>(body: &'a [u8], before: &[u8], after: &[u8]) -> Option<&'a [u8]> {
    let start = memmem::find(body, before)? + before.len();
    let end = start + memmem::find(&body[start..], after)?;
    Some(&body[start..end])
}
