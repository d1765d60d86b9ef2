//! The messages in a POST's body: one, or where the revision has them, a batch.

use bytes::Bytes;

use super::Reject;
use crate::jsonrpc::{Kind, Message, RequestId, array_elements};

/// The method that begins a session.
pub(super) const INITIALIZE: &str = "initialize";
/// Messages in one batch.
const BATCH: usize = 256;

/// What a POST carries.
#[derive(Debug)]
pub(super) enum Messages {
    /// One message.
    One(Message),
    /// A batch; an element that is no message has the reason in its place. Never empty, never with `initialize`.
    Batch(Vec<Result<Message, Reject>>),
}

/// Reads a body.
///
/// # Errors
/// [`Reject::Parse`] or [`Reject::Invalid`].
pub(super) fn parse(body: &Bytes) -> Result<Messages, Reject> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return Message::parse(body.clone())
            .map(Messages::One)
            .map_err(|error| Reject::scan(&error, body));
    }
    let invalid = |reason: String| Err(Reject::Invalid { reason, id: None });
    let elements = array_elements(body).map_err(|error| Reject::scan(&error, body))?;
    if elements.is_empty() {
        return invalid("a batch has at least one message".to_owned());
    }
    if elements.len() > BATCH {
        return invalid(format!("a batch has at most {BATCH} messages"));
    }
    let batch: Vec<_> = elements
        .into_iter()
        .map(|span| {
            let text = span.slice(body);
            Message::parse(text.clone()).map_err(|error| Reject::scan(&error, &text))
        })
        .collect();
    if batch.iter().flatten().any(is_initialize) {
        return invalid("initialize can't be part of a batch".to_owned());
    }
    Ok(Messages::Batch(batch))
}

impl Messages {
    /// Whether an answer is expected to any of it.
    pub(super) fn ask(&self) -> bool {
        match self {
            Messages::One(message) => message.kind() == Kind::Request,
            Messages::Batch(batch) => batch.iter().any(|message| {
                message
                    .as_ref()
                    .map_or(true, |message| message.kind() == Kind::Request)
            }),
        }
    }

    /// The id to refuse it under, where there is only one.
    pub(super) fn id(&self) -> Option<RequestId> {
        match self {
            Messages::One(message) => message.id().map(RequestId::new),
            Messages::Batch(_) => None,
        }
    }
}

/// Whether `message` asks for a new session.
pub(super) fn is_initialize(message: &Message) -> bool {
    message.kind() == Kind::Request && message.method() == INITIALIZE
}

/// What is said to a batch in a session whose revision has none.
pub(super) fn no_batches() -> Reject {
    Reject::Invalid {
        reason: "only revision 2025-03-26 has batches".to_owned(),
        id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_told_from_messages_and_bounded() {
        let parse = |text: &str| super::parse(&Bytes::copy_from_slice(text.as_bytes()));
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert!(matches!(parse(ping), Ok(Messages::One(message)) if message.id() == Some(b"1")));
        let Ok(Messages::Batch(batch)) = parse(&format!(" [{ping},1]")) else {
            panic!("no batch")
        };
        assert!(batch[0].is_ok() && batch[1].is_err());
        for (text, code) in [
            ("", -32700),
            ("{", -32700),
            ("[", -32700),
            ("[]", -32600),
            ("1", -32600),
            (&format!("[{}]", vec!["1"; BATCH + 1].join(",")), -32600),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"initialize"}]"#,
                -32600,
            ),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"initialize"#, -32700),
        ] {
            assert_eq!(parse(text).unwrap_err().code(), code, "{text}");
        }
    }
}
