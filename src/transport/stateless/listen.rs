//! `subscriptions/listen` before a legacy server: a stream of the changes that a client asked for.
//!
//! MCP 2026-07-28, Subscriptions. The request's session subscribes to each resource (the bridge counts, so that the
//! server hears of the first and the last one only) and is told of changed lists like any other. The first message says
//! what of the wish is honoured; each one carries the request's id. The stream lasts until one side ends it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

use super::claims::{Claims, invalid, no_method};
use super::{Open, Stateless, hello};
use crate::bridge::{Delivery, DeliveryKind, Mailbox, Purpose, Reader, answer_at};
use crate::jsonrpc::{
    Body, ErrorObject, Message, RequestId, array_elements, code, member, string_value,
};
use crate::mcp::era::client::stamped;
use crate::mcp::{ServerNotification, era::key};
use crate::transport::Reject;
use crate::transport::backend::Conversation;
use crate::transport::reject;
use crate::transport::sse::{EventStream, Frames, Source};

/// Resources that one stream tells of; more are not honoured.
const MAX_RESOURCES: usize = 1000;
/// The members of the filter that stand for lists, in the order of [`ServerNotification::LISTS`].
const LISTS: [&str; 3] = [
    "toolsListChanged",
    "promptsListChanged",
    "resourcesListChanged",
];

/// What a client wants to hear of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    lists: [bool; 3],
    /// As JSON strings.
    resources: Vec<String>,
}

impl Filter {
    /// `None` when it is no filter.
    fn of(message: &Message) -> Option<Filter> {
        let params = message.part(message.envelope().params)?;
        let wish = member(params, "notifications")?.of(params);
        if wish.first() != Some(&b'{') {
            return None;
        }
        let mut filter = Filter::default();
        for (list, name) in filter.lists.iter_mut().zip(LISTS) {
            *list = member(wish, name).is_some_and(|span| span.of(wish) == b"true");
        }
        if let Some(resources) = member(wish, "resourceSubscriptions") {
            let resources = resources.of(wish);
            for element in array_elements(resources).ok()? {
                let uri = string_value(element.of(resources))?;
                filter
                    .resources
                    .push(serde_json::Value::from(uri).to_string());
            }
        }
        Some(filter)
    }

    /// Takes out what the server's handshake doesn't promise.
    fn limit(&mut self, handshake: &[u8]) {
        let promises = |capability: &str, name: &str| {
            let all = member(handshake, "capabilities")?.of(handshake);
            let one = member(all, capability)?.of(all);
            Some(member(one, name)?.of(one) == b"true")
        };
        for (list, (capability, _)) in self.lists.iter_mut().zip(ServerNotification::LISTS) {
            *list &= promises(capability, "listChanged").unwrap_or(false);
        }
        if promises("resources", "subscribe") != Some(true) {
            self.resources.clear();
        }
        self.resources.truncate(MAX_RESOURCES);
    }

    fn to_json(&self) -> String {
        let lists = LISTS.iter().zip(self.lists).filter(|(_, wanted)| *wanted);
        let mut members: Vec<String> = lists.map(|(name, _)| format!("\"{name}\":true")).collect();
        if !self.resources.is_empty() {
            members.push(format!(
                "\"resourceSubscriptions\":[{}]",
                self.resources.join(",")
            ));
        }
        format!("{{{}}}", members.join(","))
    }

    /// Whether a notification called `method` is wanted.
    fn wants(&self, method: &str) -> bool {
        match ServerNotification::of(method) {
            ServerNotification::Updated => !self.resources.is_empty(),
            ServerNotification::ListChanged(list) => self.lists[list],
            _ => false,
        }
    }
}

pub(super) async fn serve(
    host: &Arc<Stateless>,
    headers: &HeaderMap,
    message: &Message,
    claims: Claims,
) -> Result<Response, Reject> {
    let Some(mut filter) = Filter::of(message) else {
        return Err(invalid(
            message.id(),
            "params.notifications is an object that says what to listen to",
        ));
    };
    let place = host.place(message)?;
    let outlet = Mailbox::new(host.backend.budget());
    let visit = host.visit(headers, Some(&claims), Purpose::Look);
    let conversation = host.backend.visit(&outlet, headers, visit)?;
    let ask = async |text: Message| {
        let address = Mailbox::new(host.backend.budget());
        conversation.send(text, &address);
        answer_at(&address).await
    };
    let handshake = match ask(hello(&claims.capabilities, claims.client.as_deref())).await {
        Ok(handshake) => handshake,
        Err(error) => return Ok(reject::error_under(&error, message.id())),
    };
    filter.limit(&handshake);
    if filter == Filter::default() && !promises_anything(&handshake) {
        return Err(no_method(message));
    }
    let mut honoured = Vec::new();
    for (n, uri) in filter.resources.into_iter().enumerate() {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"resources/subscribe","params":{{"uri":{uri}}}}}"#
        );
        let request = Message::parse(text.into()).expect("a JSON string in a request of our own");
        match ask(request).await {
            Ok(_) => honoured.push(uri),
            Err(error) => {
                tracing::debug!(
                    bridge = host.backend.name(),
                    uri,
                    code = error.code,
                    "not subscribed"
                );
            }
        }
    }
    filter.resources = honoured;
    let id = RequestId::new(message.id().unwrap_or(b"null"));
    let mut frames = Frames::default();
    frames.message(None, &acknowledged(&id, &filter));
    let stream = Arc::new(Stream {
        outlet,
        conversation,
    });
    host.streams.add(&stream);
    // It may have ended before it was known of.
    if host.backend.is_draining() || stream.conversation.is_over() {
        stream.outlet.close();
    }
    let source = Listening {
        reader: stream.outlet.reader(),
        host: host.clone(),
        stream,
        id,
        filter,
        _place: place,
    };
    Ok(EventStream::new(frames, source).into_long_response())
}

/// Whether the server can change at all; a client that listens to nothing on one that can is let in.
fn promises_anything(handshake: &[u8]) -> bool {
    let mut every = Filter {
        lists: [true; 3],
        resources: vec!["\"x:\"".to_owned()],
    };
    every.limit(handshake);
    every != Filter::default()
}

fn acknowledged(id: &RequestId, filter: &Filter) -> Body {
    let id = String::from_utf8_lossy(id.as_bytes());
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{}":{id}}},"notifications":{}}}}}"#,
        key::SUBSCRIPTION,
        filter.to_json()
    );
    Bytes::from(text).into()
}

/// The end that the server's side makes of it.
fn over(id: &RequestId) -> Body {
    let id = String::from_utf8_lossy(id.as_bytes());
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{}":{id}}}}}}}"#,
        key::SUBSCRIPTION
    );
    Bytes::from(text).into()
}

/// Where the changes come from. Dropping it gives the subscriptions up.
#[derive(Debug)]
struct Stream {
    outlet: Arc<Mailbox>,
    conversation: Box<dyn Conversation>,
}

/// All streams that are open.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<u64, Weak<Stream>>>);

impl Streams {
    /// Ends all.
    pub(super) fn end_all(&self) {
        self.end(|_| true);
    }

    /// Ends those whose conversation is over.
    pub(super) fn sweep(&self) {
        self.end(|conversation| conversation.is_over());
    }

    /// Each tells its client that it has ended, after what is queued.
    fn end(&self, is_meant: impl Fn(&dyn Conversation) -> bool) {
        let open: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        for stream in open {
            if is_meant(&*stream.conversation) {
                stream.outlet.close();
            }
        }
    }

    fn add(&self, stream: &Arc<Stream>) {
        let number = stream.conversation.number();
        self.lock().insert(number, Arc::downgrade(stream));
    }

    fn remove(&self, stream: &Stream) {
        self.lock().remove(&stream.conversation.number());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's end of a stream. Dropping it ends that.
struct Listening {
    reader: Reader,
    host: Arc<Stateless>,
    stream: Arc<Stream>,
    id: RequestId,
    filter: Filter,
    _place: Open,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.host.streams.remove(&self.stream);
    }
}

impl Listening {
    fn take(&self, delivery: Delivery, frames: &mut Frames) {
        let Ok(message) = Message::parse(delivery.body.into_bytes()) else {
            return;
        };
        match delivery.kind {
            DeliveryKind::Notification if self.filter.wants(&message.method()) => {
                frames.message(None, &stamped(&message, self.id.as_bytes()));
            }
            DeliveryKind::Request => {
                let text = "no request of the client is in progress that this could be about";
                let error = ErrorObject::new(code::METHOD_NOT_FOUND, text);
                if let Ok(answer) = Message::parse(error.response(message.id())) {
                    let Stream {
                        outlet,
                        conversation,
                    } = &*self.stream;
                    conversation.send(answer, outlet);
                }
            }
            _ => {}
        }
    }
}

impl Source for Listening {
    fn poll_fill(&mut self, context: &mut Context<'_>, frames: &mut Frames) -> Poll<bool> {
        while !frames.is_enough() {
            match self.reader.poll_next(context) {
                Poll::Ready(Some(delivery)) => self.take(delivery, frames),
                Poll::Ready(None) => {
                    frames.message(None, &over(&self.id));
                    return Poll::Ready(false);
                }
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(wish: &str) -> Option<Filter> {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{wish}}}}}"#
        );
        Filter::of(&Message::parse(text.into()).unwrap())
    }

    #[test]
    fn a_wish_is_limited_to_what_the_server_promises() {
        let mut wish = filter(r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":false,"resourceSubscriptions":["a:b"]}"#).unwrap();
        wish.limit(br#"{"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true}}}"#);
        assert_eq!(
            wish.to_json(),
            r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}"#
        );
        assert!(wish.wants("notifications/tools/list_changed"));
        assert!(!wish.wants("notifications/prompts/list_changed"));
        assert!(wish.wants("notifications/resources/updated"));
        assert!(!wish.wants("notifications/message"));
        wish.limit(br#"{"capabilities":{}}"#);
        assert_eq!(wish, Filter::default());
    }

    #[test]
    fn what_is_no_filter_is_none() {
        for wish in [
            "[]",
            "1",
            r#"{"resourceSubscriptions":"a"}"#,
            r#"{"resourceSubscriptions":[1]}"#,
        ] {
            assert_eq!(filter(wish), None, "{wish}");
        }
        assert_eq!(filter("{}"), Some(Filter::default()));
    }
}
