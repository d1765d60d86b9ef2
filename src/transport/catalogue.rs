//! `/mcp/tools`: the tool catalogue without a session, as a stream of events or as JSON.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};

use super::sse::{Frames, set_headers};
use super::{media, reject};
use crate::bridge::Bridge;

/// One `data:` event per tool and `event: done`, or `{"tools":[…]}` when the client prefers JSON. Every tool is the
/// server's own text.
pub(super) async fn serve(bridge: &Bridge, headers: &HeaderMap) -> Response {
    match bridge.catalogue().await {
        Err(error) => reject::error(&error),
        Ok(tools) => response(&tools, headers),
    }
}

/// The catalogue of these tools, in the form that the client prefers.
pub(crate) fn response(tools: &[Bytes], headers: &HeaderMap) -> Response {
    if media::prefers_json(headers) {
        return reject::json(StatusCode::OK, object(tools));
    }
    let mut response = Response::new(axum::body::Body::from(events(tools)));
    set_headers(response.headers_mut());
    response
}

fn object(tools: &[Bytes]) -> Bytes {
    let mut text = BytesMut::from(&br#"{"tools":["#[..]);
    for (n, tool) in tools.iter().enumerate() {
        if n > 0 {
            text.put_u8(b',');
        }
        text.extend_from_slice(tool);
    }
    text.extend_from_slice(b"]}");
    text.freeze()
}

fn events(tools: &[Bytes]) -> Bytes {
    let mut frames = Frames::default();
    for tool in tools {
        frames.unnamed(tool);
    }
    frames.event("done", &format!(r#"{{"count":{}}}"#, tools.len()));
    let mut text = BytesMut::new();
    while let Some(piece) = frames.pop() {
        text.extend_from_slice(&piece);
    }
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_events_or_one_object() {
        let tools = [
            Bytes::from_static(b"{\"name\":\"a\"}"),
            Bytes::from_static(b"{\"name\":\n\"b\"}"),
        ];
        assert_eq!(
            events(&tools),
            "data: {\"name\":\"a\"}\n\ndata: {\"name\": \"b\"}\n\nevent: done\ndata: {\"count\":2}\n\n"
        );
        assert_eq!(object(&tools[..1]), r#"{"tools":[{"name":"a"}]}"#);
        assert_eq!(object(&[]), r#"{"tools":[]}"#);
    }
}
