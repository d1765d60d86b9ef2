//! Messages through rmcp and back without loss.
//!
//! rmcp decodes what a server says into its own types, which drop unknown fields, big numbers and the order of keys. What
//! rmcp itself has to understand goes as it is: the handshake, and what the server asks. Everything else passes as text:
//!
//! - a request goes in as a custom request that carries the client's [`Message`] in its extensions ([`Original`]); on its
//!   way out the text is taken from there, with rmcp's id and our progress token in the places of the client's;
//! - an answer is put into a result of one string, under its own id, and taken out of it by whoever sent the request;
//! - a notification is put into a custom notification of one string.

use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, CustomNotification, CustomRequest, JsonRpcRequest,
    ServerNotification, ServerResult,
};
use tracing::debug;

use crate::jsonrpc::{Edit, Kind, Message};
use crate::mcp::Level;

/// The one member of a result that carries an answer.
const ANSWER: &str = "io.mcp-bridged/answer";
/// The method of a notification that carries another.
const NOTIFICATION: &str = "io.mcp-bridged/notification";

/// A request as its client wrote it.
#[derive(Debug, Clone)]
pub(super) struct Original {
    /// Its text.
    pub(super) message: Arc<Message>,
    /// What its progress is called at the server, when the client wants any.
    pub(super) token: u64,
    /// The log level that the server is to be told instead of the client's own.
    pub(super) level: Option<Level>,
}

impl Original {
    /// The request that takes it through rmcp.
    pub(super) fn into_request(self) -> ClientRequest {
        let mut request = CustomRequest::new(self.message.method().into_owned(), None);
        request.extensions.insert(self);
        ClientRequest::CustomRequest(request)
    }

    fn text(&self, id: &[u8]) -> Bytes {
        let envelope = self.message.envelope();
        let token = self.token.to_string();
        let level = self.level.map(|level| format!("\"{}\"", level.name()));
        let mut edits = Vec::with_capacity(3);
        let mut put = |span, with| {
            if let (Some(span), Some(with)) = (span, with) {
                edits.push(Edit { span, with });
            }
        };
        put(envelope.id, Some(id));
        put(envelope.meta_progress_token, Some(token.as_bytes()));
        put(envelope.level, level.as_ref().map(String::as_bytes));
        self.message.editing(&mut edits).into_bytes()
    }
}

/// The text of a message for the server.
pub(super) fn outward(message: &ClientJsonRpcMessage) -> Bytes {
    if let ClientJsonRpcMessage::Request(JsonRpcRequest { id, request, .. }) = message
        && let ClientRequest::CustomRequest(request) = request
        && let Some(original) = request.extensions.get::<Original>()
    {
        let id = serde_json::to_vec(id).expect("a number or a string always serialises");
        return original.text(&id);
    }
    let text = serde_json::to_vec(message).expect("rmcp's messages always serialise");
    text.into()
}

/// Whether `message` begins the handshake, whose answer rmcp has to understand.
pub(super) fn is_greeting(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, ClientJsonRpcMessage::Request(request)
        if matches!(request.request, ClientRequest::InitializeRequest(_)))
}

/// A text of the server as rmcp is to read it; `None` when it is no JSON-RPC message. The answer to a `greeting` stays as
/// it is.
pub(super) fn inward(text: Bytes, greeting: bool) -> Option<String> {
    let message = Message::parse_lossy(text)
        .inspect_err(|error| debug!(%error, "a remote server said what is no message"))
        .ok()?;
    let whole = || std::str::from_utf8(message.text()).expect("a Message is UTF-8");
    let quoted = || serde_json::to_string(whole()).expect("a string always serialises");
    Some(match message.kind() {
        Kind::Answer if !greeting => {
            let id = message.id().filter(|id| *id != b"null")?;
            let id = std::str::from_utf8(id).expect("a Message is UTF-8");
            let answer = quoted();
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"{ANSWER}":{answer}}}}}"#)
        }
        Kind::Notification => {
            let text = quoted();
            format!(r#"{{"jsonrpc":"2.0","method":"{NOTIFICATION}","params":{{"text":{text}}}}}"#)
        }
        Kind::Answer | Kind::Request => whole().to_owned(),
    })
}

/// The answer in a result that [`inward`] made.
pub(super) fn answer(result: ServerResult) -> Option<Message> {
    let ServerResult::CustomResult(result) = result else {
        return None;
    };
    text(result.0, ANSWER)
}

/// The notification in one that [`inward`] made.
pub(super) fn notification(notification: ServerNotification) -> Option<Message> {
    let ServerNotification::CustomNotification(CustomNotification { method, params, .. }) =
        notification
    else {
        return None;
    };
    text(params.filter(|_| method == NOTIFICATION)?, "text")
}

fn text(mut object: serde_json::Value, key: &str) -> Option<Message> {
    match object.get_mut(key)?.take() {
        serde_json::Value::String(text) => Message::parse(text.into()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{RequestId, ServerJsonRpcMessage};

    use super::*;

    fn through(text: &'static str) -> ServerJsonRpcMessage {
        let text = inward(Bytes::from_static(text.as_bytes()), false).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_answer_comes_out_as_it_went_in() {
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"z":1.10,"content":[],"a":12345678901234567890123,"new":[]}}"#,
            r#"{"id":7,"jsonrpc":"2.0","error":{"code":-32000,"message":"no","data":{"b":1e400},"hint":1}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"hologram"}],"protocolVersion":"1"}}"#,
        ] {
            let ServerJsonRpcMessage::Response(response) = through(text) else {
                panic!("{text} is no response to rmcp");
            };
            assert_eq!(response.id, RequestId::Number(7));
            assert_eq!(answer(response.result).unwrap().text(), text);
        }
    }

    #[test]
    fn a_notification_comes_out_as_it_went_in() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1.50,"x":1}}"#;
        let ServerJsonRpcMessage::Notification(arrived) = through(text) else {
            panic!("it is no notification to rmcp");
        };
        assert_eq!(notification(arrived.notification).unwrap().text(), text);
    }

    #[test]
    fn a_request_goes_out_as_its_client_wrote_it() {
        let text = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","arguments":{"n":1.10,"big":12345678901234567890123},"_meta":{"progressToken":"p","k":1}},"x":0}"#;
        let original = Original {
            message: Arc::new(Message::parse(Bytes::from_static(text.as_bytes())).unwrap()),
            token: 42,
            level: None,
        };
        let message = ClientJsonRpcMessage::request(original.into_request(), RequestId::Number(9));
        let want = text
            .replace(r#""id":"a""#, r#""id":9"#)
            .replace(r#""p""#, "42");
        assert_eq!(outward(&message), want);
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        for text in [
            "",
            "hello",
            "{}",
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        ] {
            assert_eq!(
                inward(Bytes::from_static(text.as_bytes()), false),
                None,
                "{text}"
            );
        }
    }
}
