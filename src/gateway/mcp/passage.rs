//! What servers say, on its way to the client.
//!
//! It goes straight through, with three exceptions. That a list has changed is told by the catalogue, when it has the new
//! list. A server that is not there is an answer and no HTTP status: the gateway itself is well, and so are the others. And
//! the progress token of what a server asks gets the number of its line, because two servers may choose the same.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::bridge::{Delivery, DeliveryKind, Mailbox, Refusal};
use crate::gateway::audit::{Line as AuditLine, Outcome};
use crate::gateway::tally::Active;
use crate::jsonrpc::{Body, Edit, Message, member, string_value};
use crate::mcp::ServerNotification;

/// An address whose deliveries, of the line of that number, go to `address`.
pub(super) fn to(address: &Arc<Mailbox>, line: u64) -> Arc<Mailbox> {
    Mailbox::before(address, move |delivery| passed(delivery, line))
}

/// The same; `end` hears what ends the request. It is dropped when nothing does.
pub(super) fn until_the_end(
    address: &Arc<Mailbox>,
    line: u64,
    end: impl FnOnce(&Delivery) + Send + 'static,
) -> Arc<Mailbox> {
    let end = Mutex::new(Some(end));
    Mailbox::before(address, move |delivery| {
        if delivery.kind.ends_a_request() {
            let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(end) = end {
                end(&delivery);
            }
        }
        passed(delivery, line)
    })
}

/// The address of a tool call, whose end `audit` notes and `active` waits for; one that ends because its session does was
/// cancelled.
pub(super) fn audited(
    address: &Arc<Mailbox>,
    line: u64,
    audit: AuditLine,
    active: Active,
    session: CancellationToken,
) -> Arc<Mailbox> {
    until_the_end(address, line, move |delivery| {
        let (mut audit, _active) = (audit, active);
        if !session.is_cancelled() {
            audit.outcome = outcome(delivery);
        }
    })
}

/// The client's progress with what a server asked: the number of that server's line, and the message under the server's
/// own token.
pub(super) fn progress(message: &Message) -> Option<(u64, Message)> {
    let span = message.envelope().progress_token?;
    let token = string_value(message.part(Some(span))?)?;
    let (line, own) = token.split_once(':')?;
    let with = own.as_bytes();
    let text = message.editing(&mut [Edit { span, with }]).into_bytes();
    Some((line.parse().ok()?, Message::parse(text).ok()?))
}

/// Whether it is the server's own result.
pub(super) fn succeeded(delivery: &Delivery) -> bool {
    delivery.kind == DeliveryKind::Answer
        && parsed(delivery).is_some_and(|it| it.result().is_some())
}

fn passed(mut delivery: Delivery, line: u64) -> Option<Delivery> {
    match delivery.kind {
        DeliveryKind::Request => {
            if let Some(body) = numbered(&delivery, line) {
                delivery.body = body;
            }
        }
        DeliveryKind::Notification if is_change(&delivery) => return None,
        DeliveryKind::Refusal(_) => delivery.kind = DeliveryKind::Refusal(Refusal::Invalid),
        _ => {}
    }
    Some(delivery)
}

fn numbered(delivery: &Delivery, line: u64) -> Option<Body> {
    let message = parsed(delivery)?;
    let span = message.envelope().meta_progress_token?;
    let own = std::str::from_utf8(message.part(Some(span))?).ok()?;
    let token = serde_json::Value::from(format!("{line}:{own}")).to_string();
    let with = token.as_bytes();
    Some(message.editing(&mut [Edit { span, with }]))
}

fn is_change(delivery: &Delivery) -> bool {
    parsed(delivery).is_some_and(|message| {
        let notification = ServerNotification::of(&message.method());
        matches!(notification, ServerNotification::ListChanged(_))
    })
}

fn outcome(delivery: &Delivery) -> Outcome {
    match delivery.kind {
        DeliveryKind::Cancelled => Outcome::Cancelled,
        DeliveryKind::Answer => match parsed(delivery).as_ref().and_then(Message::result) {
            Some(result) => {
                let error = member(&result, "isError").map(|span| span.of(&result));
                match error == Some(b"true") {
                    true => Outcome::ToolError,
                    false => Outcome::Ok,
                }
            }
            None => Outcome::Error,
        },
        _ => Outcome::Error,
    }
}

fn parsed(delivery: &Delivery) -> Option<Message> {
    Message::parse(delivery.body.clone().into_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn delivery(kind: DeliveryKind, text: &'static str) -> Delivery {
        Delivery {
            kind,
            body: Bytes::from_static(text.as_bytes()).into(),
        }
    }

    const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
    const OK: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"isError":false}}"#;
    const TOOL_ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"isError": true}}"#;
    const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#;

    #[test]
    fn changes_are_kept_back_and_refusals_are_answers() {
        let shutting_down = DeliveryKind::Refusal(Refusal::ShuttingDown);
        let invalid = DeliveryKind::Refusal(Refusal::Invalid);
        for (kind, text, want) in [
            (DeliveryKind::Notification, CHANGED, None),
            (
                DeliveryKind::Notification,
                PROGRESS,
                Some(DeliveryKind::Notification),
            ),
            (DeliveryKind::Answer, OK, Some(DeliveryKind::Answer)),
            (shutting_down, ERROR, Some(invalid)),
        ] {
            let got = passed(delivery(kind, text), 1).map(|passed| passed.kind);
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn a_progress_token_finds_its_way_back() {
        for own in ["7", r#""a:\"b\u00e9""#, "1.0"] {
            let ask = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{{"progressToken":{own}}}}}}}"#
            );
            let ask = Delivery {
                kind: DeliveryKind::Request,
                body: Bytes::from(ask).into(),
            };
            let seen = parsed(&passed(ask, 3).unwrap()).unwrap();
            let token = seen.part(seen.envelope().meta_progress_token).unwrap();
            let token = std::str::from_utf8(token).unwrap();
            let said = |token: &str| {
                let text = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
                );
                Message::parse(text.into()).unwrap()
            };
            let (line, message) = progress(&said(token)).unwrap();
            assert_eq!((line, message.text()), (3, said(own).text()), "{own}");
        }
    }

    #[test]
    fn the_last_delivery_says_how_a_call_ended() {
        let refused = DeliveryKind::Refusal(Refusal::Invalid);
        for (kind, text, want) in [
            (DeliveryKind::Answer, OK, Outcome::Ok),
            (DeliveryKind::Answer, TOOL_ERROR, Outcome::ToolError),
            (DeliveryKind::Answer, ERROR, Outcome::Error),
            (DeliveryKind::Cancelled, ERROR, Outcome::Cancelled),
            (refused, ERROR, Outcome::Error),
        ] {
            assert_eq!(outcome(&delivery(kind, text)), want, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_request_is_heard_once() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (note, client) = (heard.clone(), Mailbox::new(&Arc::default()));
        let address = until_the_end(&client, 1, move |delivery| {
            note.lock().unwrap().push(delivery.kind);
        });
        address.push(delivery(DeliveryKind::Notification, PROGRESS));
        address.push(delivery(DeliveryKind::Answer, OK));
        address.push(delivery(DeliveryKind::Answer, OK));
        assert_eq!(*heard.lock().unwrap(), [DeliveryKind::Answer]);
        assert_eq!(client.queued_bytes(), PROGRESS.len() + 2 * OK.len());
    }
}
