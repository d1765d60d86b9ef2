//! A provider's answer as it arrives: bytes to events to regular chunks, until `[DONE]` or until it breaks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::endpoint::Endpoint;
use super::failure;
use super::pieces::Pieces;
use super::regular::Identity;
use crate::gateway::json;
use crate::gateway::openai::ApiError;
use crate::transport::events::Events;

/// How long a stream may be silent. Providers that let a model think for longer send comments meanwhile.
pub(super) const IDLE: Duration = Duration::from_secs(5 * 60);

/// How long the end of the body may take after `[DONE]`: with it, the connection serves the next request.
const TAIL: Duration = Duration::from_millis(50);

/// Bytes of one event. A chunk is some hundred bytes long; only one with a whole image in it is large.
const LARGEST: usize = 16 << 20;

const DONE: &[u8] = b"[DONE]";

/// One stream. Dropping it closes its connection, so that the provider stops.
pub(super) struct Wire {
    endpoint: Arc<Endpoint>,
    /// The provider in words.
    who: String,
    response: Response,
    events: Events,
    pieces: Pieces,
    state: State,
    /// When the last bytes came.
    heard: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// `[DONE]` came, or all that an answer needs: what is ready still goes out.
    Done,
    /// The end was told.
    Over,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("who", &self.who)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        who: String,
        response: Response,
        identity: Identity,
    ) -> Wire {
        Wire {
            endpoint,
            who,
            response,
            events: Events::default(),
            pieces: Pieces::new(identity),
            state: State::Open,
            heard: Instant::now(),
        }
    }

    /// The next regular chunk. Cancel-safe: what was read is kept, and only reading waits.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        loop {
            if let Some(chunk) = self.pieces.pop() {
                return Ok(Some(chunk));
            }
            if self.state != State::Open {
                self.release().await;
                return Ok(None);
            }
            if let Some(event) = self.events.pop() {
                self.take(&event.data.unwrap_or_default())?;
                continue;
            }
            match timeout_at(self.heard + IDLE, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.heard = Instant::now();
                    self.events.push(&bytes);
                    if self.events.pending() > LARGEST {
                        return Err(self.broken("sent an event that is larger than 16 MiB"));
                    }
                }
                Ok(Ok(None)) => self.end(None)?,
                Ok(Err(error)) => self.end(Some(&failure::cause(&error)))?,
                Err(_) => return Err(self.broken(&format!("was silent for {IDLE:?}"))),
            }
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), ApiError> {
        let data = data.trim_ascii();
        if data.is_empty() {
            return Ok(());
        }
        if data == DONE {
            self.finish();
            return Ok(());
        }
        let chunk = json::object(data, json::VALUES)
            .map_err(|why| self.broken(&format!("sent a chunk that can't be read: {why}")))?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            self.state = State::Over;
            return Err(*failure::error_in_success(&self.endpoint.error(error)).error);
        }
        let pushed = self.pieces.push(chunk, &mut super::call_id);
        pushed.map_err(|_| {
            self.broken("sent more choices, calls or unnamed arguments than a model makes")
        })
    }

    /// The connection gives no more, for `reason` or by a regular end.
    fn end(&mut self, reason: Option<&str>) -> Result<(), ApiError> {
        self.events.finish();
        while self.state == State::Open
            && let Some(event) = self.events.pop()
        {
            let data = event.data.unwrap_or_default();
            let is_cut = !data.is_empty() && serde_json::from_slice::<IgnoredAny>(&data).is_err();
            if is_cut && data.trim_ascii() != DONE {
                break;
            }
            self.take(&data)?;
        }
        if self.state == State::Open && self.pieces.is_finished() {
            self.finish();
        }
        match (self.state, reason) {
            (State::Done, _) => Ok(()),
            (_, Some(reason)) => Err(self.broken(&format!("broke off its answer: {reason}"))),
            (_, None) => {
                Err(self.broken("ended its answer without `[DONE]` and without a `finish_reason`"))
            }
        }
    }

    fn finish(&mut self) {
        self.state = State::Done;
        self.pieces.finish(&mut super::call_id);
    }

    /// Reads what is left of the body, usually nothing.
    async fn release(&mut self) {
        if std::mem::replace(&mut self.state, State::Over) == State::Done {
            // Whatever comes, the answer is whole.
            let _end = timeout(TAIL, self.response.chunk()).await;
        }
    }

    fn broken(&mut self, what: &str) -> ApiError {
        self.state = State::Over;
        ApiError::upstream("upstream_stream_broken", format!("{} {what}", self.who))
    }
}
