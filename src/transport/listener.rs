//! Accepting connections and serving HTTP/1.1 on them.
//!
//! One loop per port, one task per connection, all on a [`TaskTracker`]. Limits: [`Connections`], 32 KiB and 100 fields of
//! head (431), and the times of [`Timeouts`]. When `stop` is cancelled the port is closed, idle connections end, requests
//! in flight go on; streams end when their sessions do. `kill` ends every connection at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture as Cancelled};
use tokio_util::task::TaskTracker;

use super::connections::{Connections, Permit};
use super::socket::{Late, Progress, Socket, Watch};
use super::streaming::{LongLived, Streaming};
use crate::metrics::{BridgeMetrics, Refused};

pub use super::socket::Timeouts;

/// Bytes of a head.
const HEAD: usize = 32 * 1024;
/// Fields of a head.
const FIELDS: usize = 100;
/// Bytes that one connection buffers in each direction: a message of 64 KiB with its head.
const BUFFER: usize = 72 * 1024;
/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;
/// Rest after a failed accept, when descriptors or memory are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// Said to a client that is one too many.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 94\r\n\r\n\
    {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-31004,\"message\":\"too many connections are open\"}}\n";

/// What answers a listener's requests.
pub trait Answer: Send + Sync + 'static {
    /// The response to `request`, whatever it is.
    fn answer(&self, request: Request<Body>) -> Answering;
}

/// A response on its way.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl Answer for Router {
    fn answer(&self, request: Request<Body>) -> Answering {
        let response = TowerToHyperService::new(self.clone()).call(request);
        Box::pin(async { response.await.unwrap_or_else(|never| match never {}) })
    }
}

/// How a listener serves.
#[derive(Debug, Clone)]
pub struct Options {
    /// For logs: the bridge's name.
    pub name: Arc<str>,
    /// The count that all listeners share.
    pub connections: Connections,
    /// Where refused connections and late heads are counted, beside the process's own numbers.
    pub metrics: Option<Arc<BridgeMetrics>>,
    /// Where connections run.
    pub tasks: TaskTracker,
    /// Ends accepting and idle connections.
    pub stop: CancellationToken,
    /// Ends every connection.
    pub kill: CancellationToken,
    /// Time limits of connections.
    pub timeouts: Timeouts,
}

/// Binds `address`. Nothing is accepted before [`serve`].
///
/// # Errors
/// The system's, such as [`io::ErrorKind::AddrInUse`].
///
/// # Panics
/// Outside a runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // Or a restart would have to wait for old connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes over a listening socket that somebody else has bound.
///
/// # Errors
/// The system's.
///
/// # Panics
/// Outside a runtime.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Accepts until `options.stop` is cancelled; then the port is free. Connections go on as tasks.
pub async fn serve(listener: TcpListener, answer: Arc<dyn Answer>, options: Options) {
    let mut builder = http1::Builder::new();
    // The socket has the time limits; hyper's would need a timer for every request.
    builder
        .max_header_size(HEAD)
        .max_headers(FIELDS)
        .max_buf_size(BUFFER)
        .header_read_timeout(None);
    let mut stopped = pin!(options.stop.cancelled());
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                match options.connections.admit(peer.ip()) {
                    Some(permit) => start(stream, permit, &builder, answer.clone(), &options),
                    None => refuse(&stream, &options),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(bridge = &*options.name, %error, "failed to accept connections, trying on");
                }
                failing = true;
                tokio::select! {
                    () = &mut stopped => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

fn start(
    stream: TcpStream,
    permit: Permit,
    builder: &http1::Builder,
    answer: Arc<dyn Answer>,
    options: &Options,
) {
    // Small messages must not wait for acknowledgements; without it everything works, only slower.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(bridge = &*options.name, %error, "failed to set TCP_NODELAY");
    }
    options.tasks.spawn(converse(
        stream,
        permit,
        builder.clone(),
        answer,
        options.clone(),
    ));
}

/// Serves one connection until its end.
async fn converse(
    stream: TcpStream,
    permit: Permit,
    builder: http1::Builder,
    answer: Arc<dyn Answer>,
    options: Options,
) {
    let _permit = permit;
    let progress = Arc::new(Progress::default());
    let mut connection = builder.serve_connection(
        TokioIo::new(Socket::new(stream, progress.clone(), options.timeouts)),
        service(answer, progress.clone()),
    );
    let mut watch = Watch::new(progress.clone(), options.timeouts);
    let mut stopped = pin!(options.stop.cancelled());
    let mut killed = pin!(options.kill.cancelled());
    let mut stopping = false;
    let mut waits = false;
    let end = std::future::poll_fn(|context| {
        // Polled once, both wake this task; a look at the token costs a quarter of another poll.
        let first = !std::mem::replace(&mut waits, true);
        let mut is_over = |token: &CancellationToken, wait: Pin<&mut Cancelled<'_>>| match first {
            true => wait.poll(context).is_ready(),
            false => token.is_cancelled(),
        };
        if is_over(&options.kill, killed.as_mut()) {
            return Poll::Ready(End::Killed);
        }
        if !stopping && is_over(&options.stop, stopped.as_mut()) {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(End::Closed(outcome));
        }
        if let Some(response) = progress.handed_over() {
            return Poll::Ready(End::HandedOver(response));
        }
        watch.poll(context).map(End::Late)
    })
    .await;
    note(&end, options.metrics.as_deref());
    drop(watch);
    if let End::HandedOver(response) = end {
        let socket = connection.into_parts().io.into_inner();
        let mut streaming = Streaming::new(socket, response);
        let outcome = std::future::poll_fn(|context| match killed.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => streaming.poll(context),
        });
        if let Err(error) = outcome.await {
            tracing::trace!(%error, "stream broke off");
        }
    }
}

/// What answers, with the socket told what goes on. A long-lived stream is handed to the connection's task, which takes the
/// socket from hyper; not to an HTTP/1.0 client, which knows no chunks, nor while an earlier response is still on its way.
fn service(
    answer: Arc<dyn Answer>,
    progress: Arc<Progress>,
) -> impl hyper::service::HttpService<Incoming, ResBody = Served, Error = Infallible, Future: Send>
{
    service_fn(move |request: Request<Incoming>| {
        progress.begin();
        let chunks = request.version() == Version::HTTP_11;
        let has_body = !request.body().is_end_stream();
        let response = answer.answer(request.map(Body::new));
        let progress = progress.clone();
        async move {
            let mut response = response.await;
            if chunks
                && progress.is_flushed()
                && response.extensions_mut().remove::<LongLived>().is_some()
            {
                progress.hand_over(response);
                return std::future::pending().await;
            }
            let status = response.status();
            progress.respond(has_body && (status.is_client_error() || status.is_server_error()));
            Ok::<_, Infallible>(response.map(|body| Served { body, progress }))
        }
    })
}

/// How a connection ended, as HTTP goes.
enum End {
    Closed(hyper::Result<()>),
    Late(Late),
    HandedOver(Response<Body>),
    Killed,
}

fn note(end: &End, metrics: Option<&BridgeMetrics>) {
    match end {
        End::Late(Late::Head) => {
            if let Some(metrics) = metrics {
                metrics.refused(Refused::Slow);
            }
        }
        End::Closed(Err(error)) => tracing::trace!(%error, "connection broke off"),
        End::Closed(Ok(())) | End::Late(Late::Request) | End::HandedOver(_) | End::Killed => {}
    }
}

fn refuse(stream: &TcpStream, options: &Options) {
    if let Some(metrics) = &options.metrics {
        metrics.refused(Refused::Connections);
    }
    // A new socket has room for it; if not, closing says the same.
    if let Err(error) = stream.try_write(BUSY) {
        tracing::trace!(%error, "a refused client did not wait");
    }
}

/// Errors that say nothing about the listener (accept(2), Error handling).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};

    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// A response's body that tells the socket when it is out.
struct Served {
    body: Body,
    progress: Arc<Progress>,
}

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.progress.end();
    }
}

#[cfg(test)]
mod tests;
