//! Responses that are event streams written by a task.
//!
//! The task writes events into a short queue; the response's body reads it. What goes wrong before the first event is an
//! HTTP error with its status, so the head of the response waits for that event. When the client goes away the body is
//! dropped, and the writer hears of it.

use std::task::{Context, Poll};

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::openai::ApiError;
use crate::transport::sse::{EventStream, Frames, Source};

/// Events that wait for a client that reads slowly; then the writer waits.
const QUEUE: usize = 32;

/// The task's end. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Result<Written, ApiError>>,
    has_begun: bool,
}

/// The response's end. Dropping it tells the writer.
#[derive(Debug)]
pub(crate) struct Reader {
    queue: mpsc::Receiver<Result<Written, ApiError>>,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

#[derive(Debug)]
struct Written {
    name: Option<String>,
    data: String,
}

/// A stream of events, and who writes it.
pub(crate) fn channel() -> (Writer, Reader) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let writer = Writer {
        queue: sender,
        has_begun: false,
    };
    (writer, Reader { queue: receiver })
}

impl Writer {
    /// Writes a `data:` event without a name.
    pub(crate) async fn data(&mut self, data: &impl Serialize) -> Result<(), Gone> {
        self.write(None, json(data)).await
    }

    /// Writes an event with a name.
    pub(crate) async fn event(&mut self, name: &str, data: &impl Serialize) -> Result<(), Gone> {
        self.write(Some(name.to_owned()), json(data)).await
    }

    /// Writes `data: [DONE]`, the end of OpenAI's streams.
    pub(crate) async fn done(&mut self) -> Result<(), Gone> {
        self.write(None, "[DONE]".to_owned()).await
    }

    /// Answers with this error instead of a stream. Once the stream [has begun](Writer::has_begun) its client can be told
    /// only in the stream, so this ends it.
    pub(crate) async fn fail(self, error: ApiError) {
        if !self.has_begun {
            // a client that is gone needs no error
            let _ = self.queue.send(Err(error)).await;
        }
    }

    /// Whether an event was written, so that the response's status is out.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Waits until the client is gone.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let queue = self.queue.clone();
        async move { queue.closed().await }
    }

    async fn write(&mut self, name: Option<String>, data: String) -> Result<(), Gone> {
        self.has_begun = true;
        let written = Ok(Written { name, data });
        self.queue.send(written).await.map_err(|_| Gone)
    }
}

impl Reader {
    /// The response, as soon as there is an event.
    ///
    /// # Errors
    /// The error that came instead.
    pub(crate) async fn respond(mut self) -> Result<Response, ApiError> {
        let mut frames = Frames::default();
        match self.queue.recv().await {
            Some(written) => written?.frame(&mut frames),
            None => {
                let error = ApiError::unavailable(
                    "the gateway ended before the model's answer began",
                    std::time::Duration::from_secs(1),
                );
                return Err(error.with_status(StatusCode::INTERNAL_SERVER_ERROR));
            }
        }
        Ok(EventStream::new(frames, self).into_response())
    }
}

impl Source for Reader {
    fn poll_fill(&mut self, context: &mut Context<'_>, frames: &mut Frames) -> Poll<bool> {
        loop {
            match self.queue.poll_recv(context) {
                Poll::Ready(Some(Ok(written))) => {
                    written.frame(frames);
                    if frames.is_enough() {
                        return Poll::Ready(true);
                    }
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(false),
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(true),
            }
        }
    }
}

impl Written {
    fn frame(self, frames: &mut Frames) {
        match &self.name {
            Some(name) => frames.event(name, &self.data),
            None => frames.unnamed(&Bytes::from(self.data)),
        }
    }
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("what is written has texts as keys")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn events_are_framed_until_the_writer_is_dropped() {
        let (mut writer, reader) = channel();
        writer.data(&json!({ "a": "\u{2028}\n" })).await.unwrap();
        writer.event("x.y", &json!([])).await.unwrap();
        writer.done().await.unwrap();
        drop(writer);
        let response = reader.respond().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            "data: {\"a\":\"\u{2028}\\n\"}\n\nevent: x.y\ndata: []\n\ndata: [DONE]\n\n"
        );
    }

    #[tokio::test]
    async fn an_error_before_the_first_event_is_the_response() {
        let (writer, reader) = channel();
        let error = ApiError::upstream("x", "gone");
        writer.fail(error.clone()).await;
        assert_eq!(reader.respond().await.unwrap_err(), error);
        let (writer, reader) = channel();
        drop(writer);
        assert_eq!(reader.respond().await.unwrap_err().status, 500);
    }

    #[tokio::test]
    async fn the_writer_hears_that_the_client_is_gone() {
        let (mut writer, reader) = channel();
        let gone = writer.gone();
        writer.data(&1).await.unwrap();
        let response = reader.respond().await.unwrap();
        drop(response);
        gone.await;
        assert!(writer.data(&2).await.is_err());
    }
}
