//! HTTP+SSE (MCP 2024-11-05, Transports § HTTP with SSE) as a transport of rmcp, which has none any more.
//!
//! One GET stream carries all that the server says; its first event, `endpoint`, names where messages are posted. That
//! address may be relative, and must be on the stream's origin: our credentials go nowhere else. The connection ends with
//! its stream.

use reqwest::Url;
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;

use super::events::EventStream;
use super::http::Http;
use super::{Fault, wire};

/// One connection by HTTP+SSE.
#[derive(Debug)]
pub(super) struct Sse {
    http: Http,
    endpoint: Url,
    events: EventStream,
    /// The id of the handshake, whose answer rmcp has to understand.
    greeting: Option<RequestId>,
}

impl Sse {
    /// Opens the stream at `url` and waits for its endpoint.
    pub(super) async fn open(http: Http, url: &Url) -> Result<Sse, Fault> {
        let mut events = match http.events(url).await {
            Err(Fault::Rejected { message, .. }) => return Err(Fault::NoStream { message }),
            events => events?,
        };
        let endpoint = loop {
            let Some(event) = events.next().await else {
                return Err(Fault::broken("it ended before it named an endpoint"));
            };
            let event = event?;
            if event.event.as_deref() == Some("endpoint") {
                break event.data.unwrap_or_default();
            }
        };
        let endpoint = url.join(endpoint.trim()).map_err(|_| Fault::NotMcp {
            what: "an endpoint that is no URL".to_owned(),
        })?;
        if endpoint.origin() != url.origin() {
            return Err(Fault::ForeignEndpoint {
                origin: endpoint.origin().ascii_serialization(),
            });
        }
        Ok(Sse {
            http,
            endpoint,
            events,
            greeting: None,
        })
    }

    fn read(&self, data: String) -> Option<ServerJsonRpcMessage> {
        // Nobody else has an id yet while the handshake is open, so its answer is known by its id.
        let greeting = self.greeting.as_ref().is_some_and(|id| {
            let wanted = serde_json::to_vec(id).unwrap_or_default();
            let message = crate::jsonrpc::Message::parse_lossy(data.clone().into());
            message.is_ok_and(|message| message.id() == Some(wanted.as_slice()))
        });
        let text = wire::inward(data.into(), greeting)?;
        serde_json::from_str(&text).ok()
    }
}

impl Transport<RoleClient> for Sse {
    type Error = Fault;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Fault>> + Send + 'static {
        if let ClientJsonRpcMessage::Request(request) = &message {
            let greeting = wire::is_greeting(&message);
            self.greeting = greeting.then(|| request.id.clone());
        }
        let (http, endpoint) = (self.http.clone(), self.endpoint.clone());
        let text = wire::outward(&message);
        async move { http.deliver(&endpoint, text).await }
    }

    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let event = match self.events.next().await? {
                Ok(event) => event,
                Err(fault) => {
                    self.http.signals.broke(fault);
                    return None;
                }
            };
            let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
            if let Some(message) = event
                .data
                .filter(|_| is_message)
                .and_then(|data| self.read(data))
            {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
