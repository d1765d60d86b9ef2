//! `POST /v1/chat/completions`: the loop, seen through the chat API.
//!
//! The client sees one answer. Whole, it is the last turn's, with the usage of all. In a stream it is the pieces of every turn
//! under one id, without the calls that are executed here; its status waits for the model's first piece, so that what goes wrong before
//! it is an HTTP error. A client that leaves ends the model's answer and the calls.

mod body;
mod chunks;

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::catalogue::Snapshot;
use super::continuations::Continuations;
use super::execute::Caller;
use super::openai::ApiError;
use super::rounds::{Deadline, Event, Finished, Request, Rounds};
use super::selection::{Approval, Selection};
use super::stream::{self, Gone, Writer};
use super::upstream::Models;
use crate::config;
use body::Body;
use chunks::Chunks;

/// Events of the loop that wait for their chunks to be written.
const EVENTS: usize = 32;

/// What one chat request is served with.
#[derive(Debug)]
pub(crate) struct Chat {
    /// Who answers.
    pub(crate) models: Arc<Models>,
    /// What there is to call.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What the request may do.
    pub(crate) access: Arc<Access>,
    /// Who executes.
    pub(crate) caller: Caller,
    /// What earlier conversations are to be reminded of.
    pub(crate) continuations: Arc<Continuations>,
    /// `max_rounds`, `deadline`, `max_result`.
    pub(crate) settings: Arc<config::Gateway>,
    /// Where the tasks of streams live.
    pub(crate) tasks: TaskTracker,
    /// Ends what is under way.
    pub(crate) stop: CancellationToken,
}

/// Answers a chat request with this body.
///
/// # Errors
/// 400 for a body that can't be served, 403 for a model that is not granted, and the loop's, as [`Rounds::run`] has them.
///
/// # Cancel safety
/// Dropping the future ends the model's answer and cancels the calls under way.
pub(crate) async fn serve(chat: Chat, body: Map<String, Value>) -> Result<Response, ApiError> {
    let deadline = Deadline::new(chat.settings.deadline);
    let read = chat.read(body);
    let (request, wants_usage) = read.inspect_err(|error| chat.caller.tally.failed(error))?;
    if request.stream {
        let (writer, reader) = stream::channel();
        let gone = writer.gone();
        chat.tasks.clone().spawn(async move {
            tokio::select! {
                () = Box::pin(follow(&chat, deadline, request, wants_usage, writer)) => {}
                () = gone => {}
            }
        });
        return reader.respond().await;
    }
    let finished = Box::pin(chat.run(deadline, request, None)).await?;
    Ok(Json(completion(finished)).into_response())
}

impl Chat {
    /// What is asked of the model, and whether a stream is to end with the usage.
    fn read(&self, body: Map<String, Value>) -> Result<(Request, bool), ApiError> {
        let body = Body::read(body)?;
        if !self.access.allows_model(&body.model) {
            let message = format!("this key may not use the model `{}`", body.model);
            return Err(ApiError::forbidden("model_not_allowed", message));
        }
        let selection = Selection::of(&body.tools, &self.snapshot, &self.access, Approval::Never)?;
        let request = Request {
            offered: selection.offered,
            parameters: body.parameters,
            messages: body.messages,
            own_tools: selection.own_tools,
            stream: body.stream,
        };
        Ok((request, body.wants_usage))
    }

    async fn run(
        &self,
        deadline: Deadline,
        request: Request,
        events: Option<&mpsc::Sender<Event>>,
    ) -> Result<Finished, ApiError> {
        let rounds = Rounds {
            models: &self.models,
            caller: &self.caller,
            max_rounds: self.settings.max_rounds,
            max_result: self.settings.max_result,
            deadline,
            continuations: &self.continuations,
            key: &self.access.key,
        };
        tokio::select! {
            finished = rounds.run(request, events) => finished,
            () = self.stop.cancelled() => Err(ApiError::unavailable(
                "the gateway is stopping; ask again",
                std::time::Duration::from_secs(5),
            )),
        }
    }
}

/// Runs the loop and writes its chunks.
async fn follow(
    chat: &Chat,
    deadline: Deadline,
    request: Request,
    wants_usage: bool,
    mut writer: Writer,
) {
    let mut chunks = Chunks::new(request.tools());
    let (events, mut coming) = mpsc::channel(EVENTS);
    let running = async move { chat.run(deadline, request, Some(&events)).await };
    let writing = async {
        while let Some(event) = coming.recv().await {
            write(&mut writer, chunks.event(event)).await?;
        }
        Ok::<(), Gone>(())
    };
    let (finished, written) = tokio::join!(running, writing);
    if written.is_err() {
        return;
    }
    // from here on a client that is gone has no more use for anything
    let _ = match finished {
        Ok(finished) => end(&mut writer, chunks.end(finished, wants_usage)).await,
        Err(error) if writer.has_begun() => writer.data(&json!({ "error": error.object() })).await,
        Err(error) => {
            writer.fail(error).await;
            Ok(())
        }
    };
}

async fn end(writer: &mut Writer, chunks: Vec<Value>) -> Result<(), Gone> {
    write(writer, chunks).await?;
    writer.done().await
}

async fn write(writer: &mut Writer, chunks: impl IntoIterator<Item = Value>) -> Result<(), Gone> {
    for chunk in chunks {
        writer.data(&chunk).await?;
    }
    Ok(())
}

/// The answer as one object.
fn completion(finished: Finished) -> Value {
    let mut answer = Map::new();
    let mut rest = finished.rest;
    for member in ["id", "object", "created", "model"] {
        let value = match member {
            "object" => Some("chat.completion".into()),
            member => rest.shift_remove(member),
        };
        if let Some(value) = value {
            answer.insert(member.to_owned(), value);
        }
    }
    answer.extend(rest);
    let mut choice = Map::new();
    choice.insert("index".to_owned(), 0.into());
    choice.insert("message".to_owned(), finished.message);
    choice.extend(finished.choice);
    choice.insert("finish_reason".to_owned(), finished.finish_reason.into());
    answer.insert("choices".to_owned(), json!([choice]));
    if let Some(usage) = finished.usage {
        answer.insert("usage".to_owned(), usage);
    }
    answer.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_keeps_what_nobody_knows() {
        let members = |value: Value| match value {
            Value::Object(members) => members,
            _ => unreachable!(),
        };
        let finished = Finished {
            message: json!({ "role": "assistant", "content": "x", "reasoning_content": "y" }),
            handed_back: Vec::new(),
            finish_reason: "stop".to_owned(),
            usage: Some(json!({ "total_tokens": 3 })),
            rest: members(
                json!({ "system_fingerprint": "f", "id": "c", "created": 1, "model": "m" }),
            ),
            choice: members(json!({ "logprobs": null })),
            messages: Vec::new(),
        };
        assert_eq!(
            completion(finished).to_string(),
            r#"{"id":"c","object":"chat.completion","created":1,"model":"m","system_fingerprint":"f","choices":[{"index":0,"message":{"role":"assistant","content":"x","reasoning_content":"y"},"logprobs":null,"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#
        );
    }
}
