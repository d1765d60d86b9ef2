//! A scripted OpenAI-compatible model server: what stands behind the gateway in tests.
//!
//! ```ignore
//! let model = Model::start([Turn::calls(&[("demo-echo", json!({"text": "x"}))]), Turn::text("It said x.")]).await;
//! // … a gateway whose upstream is `model.url()` is asked …
//! assert_eq!(model.requests()[1].body["messages"][2]["role"], "tool");
//! ```
//!
//! Each `POST /v1/chat/completions` takes the next [`Turn`] of the script, or what a function makes of the request. A request beyond
//! the script gets a 500 that says so; at its end the test fails when turns are left over or were missing. `GET /v1/models` answers
//! with a list. Nothing is timed: a [`Gate`] holds a turn back, or each of its chunks, until the test lets it go.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::http::{Request, exchange};
use super::{Fake, Launch, until, within};

mod selftest;
mod turn;

use turn::{Answer, End};
pub(crate) use turn::{Odd, Turn};

/// A model server in the test's own process. Dropping it stops it, and fails a test whose script wasn't followed.
#[derive(Debug)]
pub(crate) struct Model {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Accepts connections; aborted when dropped.
    _server: JoinSet<()>,
}

/// A chat request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Holds back what waits at it. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

#[derive(Debug)]
struct Shared {
    script: Script,
    models: Mutex<Vec<Value>>,
    requests: watch::Sender<Vec<Recorded>>,
    listings: Mutex<Vec<HeaderMap>>,
    disconnects: watch::Sender<usize>,
}

enum Script {
    Turns(Mutex<VecDeque<Turn>>),
    Function(Box<dyn Fn(&Value) -> Turn + Send + Sync>),
}

/// Counts a client that went away before its answer had ended.
struct Unfinished(Option<Arc<Shared>>);

/// The body of an answer whose pieces come as the script wants them.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Model {
    /// Serves these turns, one per request.
    pub(crate) async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        let turns = turns.into_iter().collect();
        Self::serve(Script::Turns(Mutex::new(turns))).await
    }

    /// Serves what `answer` makes of each request's body.
    pub(crate) async fn answering(answer: impl Fn(&Value) -> Turn + Send + Sync + 'static) -> Self {
        Self::serve(Script::Function(Box::new(answer))).await
    }

    /// Replaces the list of models, at first only `scripted`.
    pub(crate) fn lists(&self, models: &[&str]) {
        let entry = |id: &&str| json!({"id": id, "object": "model", "created": turn::CREATED, "owned_by": "test"});
        *lock(&self.shared.models) = models.iter().map(entry).collect();
    }

    /// A gateway before this model, which it calls `m`, and the bridges of `config` (as `fake::config` makes it), when the
    /// first one's tools are listed. `entry` are further members of the model's entry, `settings` lines below `gateway:`.
    pub(crate) async fn gateway(&self, mut config: String, entry: &str, settings: &str) -> Fake {
        let url = json!(self.url());
        config.push_str(&format!(
            "gateway:\n  port: 0\n  model_list:\n    - {{ model_name: m, api_base: {url}{entry} }}\n"
        ));
        for line in settings.lines() {
            config.push_str(&format!("  {line}\n"));
        }
        let launch = Launch {
            config,
            ..Launch::default()
        };
        let fake = Fake::launch(launch).await;
        until("the catalogue", async || {
            let health = exchange(fake.gateway(), Request::get("/health")).await;
            (health.json()["servers"][0]["tools"].as_u64()? > 0).then_some(())
        })
        .await;
        fake
    }

    /// What an upstream's `api_base` is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The chat requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until `count` chat requests have come, and returns all of them.
    pub(crate) async fn requested(&self, count: usize) -> Vec<Recorded> {
        let mut requests = self.shared.requests.subscribe();
        let enough = requests.wait_for(|requests| requests.len() >= count);
        let what = format!("{count} requests to the model");
        within(what, enough).await.unwrap().clone()
    }

    /// The headers of each request for the list of models.
    pub(crate) fn listings(&self) -> Vec<HeaderMap> {
        lock(&self.shared.listings).clone()
    }

    /// Waits until `count` clients have gone away before their answer had ended.
    pub(crate) async fn disconnects(&self, count: usize) {
        let mut disconnects = self.shared.disconnects.subscribe();
        let enough = disconnects.wait_for(|disconnects| *disconnects >= count);
        let what = format!("{count} clients to leave the model");
        within(what, enough).await.unwrap();
    }

    async fn serve(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script,
            models: Mutex::default(),
            requests: watch::Sender::default(),
            listings: Mutex::default(),
            disconnects: watch::Sender::default(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(list))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let model = Self {
            addr,
            shared,
            _server: server,
        };
        model.lists(&["scripted"]);
        model
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let Script::Turns(turns) = &self.shared.script else {
            return;
        };
        let (left, asked) = (lock(turns).len(), self.shared.requests.borrow().len());
        if !std::thread::panicking() {
            assert_eq!(
                left, 0,
                "turns of the model nobody asked for, after {asked} requests"
            );
        }
    }
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one of those pass that wait or come.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    /// Lets everything pass from now on.
    pub(crate) fn open_for_good(&self) {
        self.0.close();
    }

    /// Waits for its turn; one at a time, in order.
    async fn pass(&self) {
        // closed is open for good: then nobody needs a permit
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

impl Shared {
    /// Records a request; returns its number and its turn, if the script has one.
    fn take(&self, headers: HeaderMap, body: &Value) -> (usize, Option<Turn>) {
        let mut number = 0;
        self.requests.send_modify(|requests| {
            number = requests.len();
            let body = body.clone();
            requests.push(Recorded { headers, body });
        });
        let turn = match &self.script {
            Script::Turns(turns) => lock(turns).pop_front(),
            Script::Function(answer) => Some(answer(body)),
        };
        (number, turn)
    }
}

impl Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turns(turns) => turns.fmt(f),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.disconnects.send_modify(|count| *count += 1);
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    lock(&shared.listings).push(headers);
    let models = lock(&shared.models).clone();
    json_response(200, &json!({"object": "list", "data": models}))
}

async fn complete(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refusal(400, &format!("no JSON: {error}")),
    };
    // dropped with this future when the client goes away before the head
    let mut unfinished = Unfinished(Some(Arc::clone(&shared)));
    let (number, turn) = shared.take(headers, &request);
    let Some(turn) = turn else {
        unfinished.0 = None;
        let message = format!("request {} is beyond the model's script", number + 1);
        return refusal(500, &message);
    };
    if let Some(gate) = turn.gate() {
        gate.pass().await;
    }
    let answer = turn.answer(number, &request);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let body = if answer.end == End::Clean && answer.pieces.len() == 1 && answer.pace.is_none() {
        unfinished.0 = None;
        Body::from(answer.pieces.concat())
    } else if answer.pieces.is_empty() && answer.end == End::Hang {
        // not even a head comes
        match std::future::pending::<Infallible>().await {}
    } else {
        // the writer keeps at most one piece ahead of the client
        let (pieces, body) = mpsc::channel(1);
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends when the body is dropped, at the latest with the test's runtime"
        )]
        tokio::spawn(write(answer, pieces, unfinished));
        Body::new(Pieces(body))
    };
    response.body(body).unwrap()
}

/// Writes an answer piece by piece, until its end or the client's.
async fn write(
    answer: Answer,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    mut unfinished: Unfinished,
) {
    let all = async {
        for piece in answer.pieces {
            if let Some(gate) = &answer.pace {
                gate.pass().await;
            }
            pieces.send(Ok(Bytes::from(piece))).await.ok()?;
        }
        match answer.end {
            End::Clean => {}
            End::Cut => pieces.send(Err(io::Error::other("cut"))).await.ok()?,
            End::Hang => std::future::pending().await,
        }
        Some(())
    };
    tokio::select! {
        biased;
        finished = all => {
            if finished.is_some() {
                unfinished.0 = None;
            }
        }
        () = pieces.closed() => {}
    }
}

/// An error in OpenAI's shape.
fn refusal(status: u16, message: &str) -> Response {
    json_response(
        status,
        &json!({"error": {"message": message, "type": "test_error"}}),
    )
}

fn json_response(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
