//! A new connection to a remote server: which transport it goes by, and the handshake, which is rmcp's.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, ProtocolVersion, ServerJsonRpcMessage,
};
use rmcp::service::{RunningService, TxJsonRpcMessage, serve_client_with_ct};
use rmcp::transport::Transport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
};
use rmcp::{ClientHandler, RoleClient};
use tokio_util::sync::CancellationToken;

use super::http::{Http, endpoint};
use super::line::Line;
use super::sse::Sse;
use super::wire::notification;
use super::{Fault, MAX_MESSAGE};
use crate::config::RemoteTransport;

/// Requests that rmcp has on their way at the same time; each session has a limit of its own.
const MAX_POSTS: usize = 4096;
/// The longest rest before a stream is resumed again.
const MAX_RESUMPTION_DELAY: Duration = Duration::from_secs(30);

/// Connects for `line` and shakes hands; the connection ends with `end`.
///
/// # Errors
/// What is wrong with the server.
pub(super) async fn connect(
    line: &Arc<Line>,
    end: CancellationToken,
) -> Result<RunningService<RoleClient, Client>, Fault> {
    let http = Http::new(&line.settings, &line.headers, line.signals.clone())?;
    let url = endpoint(&line.settings)?;
    let line = line.clone();
    let serving = match line.settings.transport {
        RemoteTransport::Http => {
            let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                .max_concurrent_requests(MAX_POSTS)
                .max_sse_event_size(MAX_MESSAGE);
            let mut resumption = ExponentialBackoff::default();
            resumption.max_delay = Some(MAX_RESUMPTION_DELAY);
            config.retry_config = Arc::new(resumption);
            let inner = StreamableHttpClientTransport::with_client(http, config);
            Box::pin(serve_client_with_ct(Client, Tap { inner, line }, end)).await
        }
        RemoteTransport::Sse => {
            let inner = Sse::open(http, &url).await?;
            Box::pin(serve_client_with_ct(Client, Tap { inner, line }, end)).await
        }
    };
    serving.map_err(|error| Fault::of_handshake(&error))
}

/// What rmcp needs to know of us: a client that can't be asked anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client;

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let ours = Implementation::new("mcp-bridged", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), ours)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

/// A transport whose notifications go to the seats, in the order in which they came: rmcp would handle each in a task of
/// its own, and a call's progress could come after its answer.
#[derive(Debug)]
struct Tap<T> {
    inner: T,
    line: Arc<Line>,
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tap<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.inner.send(message)
    }

    /// # Cancel safety
    /// As the inner transport's.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            match self.inner.receive().await? {
                ServerJsonRpcMessage::Notification(arrived) => {
                    if let Some(message) = notification(arrived.notification) {
                        self.line.seats().notice(&message);
                    }
                }
                message => return Some(message),
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}
