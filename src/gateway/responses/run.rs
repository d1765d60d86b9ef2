//! How a response is made: approved calls first, then the loop, while the client follows.
//!
//! What goes wrong before the model has begun is an error with its status. So the first events are held back until
//! something happens; not for long, though, because proxies and clients give up on a silence.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::ids::Ids;
use super::output::{Output, Setting};
use super::request::Asked;
use super::store::{Store, Thread};
use crate::gateway::chat::Chat;
use crate::gateway::content;
use crate::gateway::continuations::Continuations;
use crate::gateway::openai::ApiError;
use crate::gateway::rounds::{Deadline, Event, Finished, Request, Rounds, concurrently};
use crate::gateway::stream::{Gone, Writer};

/// Events of the loop that wait to be translated; then the loop waits.
const EVENTS: usize = 16;
/// How long the first events are held back.
const HOLD: Duration = Duration::from_secs(10);
/// Silence after which an event without news is sent. Codex ends a stream after 300 s in which it saw none but comments.
const SILENCE: Duration = Duration::from_secs(60);
/// Approved calls that run at the same time.
const AT_ONCE: usize = 16;

/// Everything that a response is made with.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) asked: Asked,
    pub(super) output: Output,
    pub(super) chat: Chat,
    pub(super) store: Arc<Store>,
}

/// Where a client follows.
struct Client {
    writer: Option<Writer>,
    has_begun: bool,
}

impl Job {
    /// A response to `request`, which came to `asked`.
    pub(super) fn new(
        request: &Map<String, Value>,
        mut asked: Asked,
        chat: Chat,
        store: Arc<Store>,
    ) -> Job {
        let setting = Setting {
            tools: Arc::new(std::mem::take(&mut asked.tools)),
            labels: Arc::new(std::mem::take(&mut asked.labels)),
            max_result: chat.settings.max_result,
            stream: asked.stream,
        };
        let output = Output::new(Ids::random(), request, setting, &asked.told);
        Job {
            asked,
            output,
            chat,
            store,
        }
    }

    /// Makes it, and gives the whole. With a `writer` the client gets events, and what goes wrong.
    ///
    /// # Errors
    /// What goes wrong, where there is no writer.
    ///
    /// # Cancel safety
    /// Dropping the future ends model and tools.
    pub(super) async fn run(mut self, writer: Option<Writer>) -> Result<Value, ApiError> {
        let mut client = Client {
            writer,
            has_begun: false,
        };
        let stop = self.chat.stop.clone();
        let outcome = tokio::select! {
            outcome = Box::pin(self.make(&mut client)) => outcome,
            () = stop.cancelled() => {
                let text = "the gateway is stopping; ask again";
                Err(ApiError::unavailable(text, Duration::from_secs(5)))
            }
        };
        let object = match outcome {
            Ok(finished) => self.finish(finished),
            Err(error) => match client.writer.take() {
                None => return Err(error),
                Some(writer) if !client.has_begun => {
                    writer.fail(error).await;
                    return Ok(Value::Null);
                }
                Some(writer) => {
                    client.writer = Some(writer);
                    self.output.fail(&error);
                    Value::Null
                }
            },
        };
        // A client that is gone misses nothing.
        let _ = client.send(&mut self.output).await;
        Ok(object)
    }

    async fn make(&mut self, client: &mut Client) -> Result<Finished, ApiError> {
        let deadline = Deadline::new(self.chat.settings.deadline);
        if !self.asked.approved.is_empty() {
            tokio::select! {
                () = self.execute_approved(client) => {}
                error = deadline.over() => return Err(error),
            }
        }
        let mut messages = std::mem::take(&mut self.asked.conversation).into_messages();
        if let Some(instructions) = &self.asked.instructions {
            messages.insert(0, instructions.clone());
        }
        let request = Request {
            parameters: std::mem::take(&mut self.asked.parameters),
            messages,
            own_tools: self.output.own_tools(),
            offered: std::mem::take(&mut self.asked.offered),
            stream: self.asked.stream,
        };
        let nothing = Continuations::default();
        let rounds = Rounds {
            models: &self.chat.models,
            caller: &self.chat.caller,
            max_rounds: self.chat.settings.max_rounds,
            max_result: self.chat.settings.max_result,
            deadline,
            continuations: if self.asked.is_whole {
                &nothing
            } else {
                &self.chat.continuations
            },
            key: &self.chat.access.key,
        };
        let (sender, receiver) = mpsc::channel(EVENTS);
        let running = async move { rounds.run(request, Some(&sender)).await };
        // When the client is gone the follower ends, and with its receiver the loop.
        let following = follow(&mut self.output, client, receiver);
        let (finished, _) = tokio::join!(Box::pin(running), following);
        finished
    }

    async fn execute_approved(&mut self, client: &mut Client) {
        let approved = std::mem::take(&mut self.asked.approved);
        for (pending, tool) in &approved {
            self.output.calling(
                pending.call_id.clone(),
                tool,
                &pending.arguments,
                Some(&pending.id),
            );
        }
        // That the client is gone shows soon enough.
        let _ = client.send(&mut self.output).await;
        let caller = &self.chat.caller;
        let calls = approved.iter().map(|(pending, tool)| {
            Box::pin(async move { caller.call(tool, &pending.arguments).await })
                as std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>>
        });
        let called = concurrently(calls, AT_ONCE).await;
        for ((pending, tool), called) in approved.iter().zip(called) {
            self.output.called(&pending.call_id, &called);
            let content = content::of(&called, self.chat.settings.max_result);
            let shown = content::show(std::iter::once((&*tool.name, &*content.pictures)));
            let parts = match shown.map(|mut message| message["content"].take()) {
                Some(Value::Array(parts)) => parts,
                _ => Vec::new(),
            };
            self.asked
                .conversation
                .answer(&pending.call_id, &content.text, parts);
        }
        let _ = client.send(&mut self.output).await;
    }

    fn finish(&mut self, finished: Finished) -> Value {
        let (object, pending) = self.output.finish(&finished);
        if self.asked.store {
            let mut messages = finished.messages;
            if self.asked.instructions.is_some() {
                messages.remove(0);
            }
            let mut told = std::mem::take(&mut self.asked.told);
            told.extend(self.output.labels());
            told.sort_unstable();
            told.dedup();
            let thread = Thread {
                messages,
                pending,
                told,
            };
            self.store
                .keep(&self.chat.access.key, &self.output.id(), &object, &thread);
        }
        object
    }
}

async fn follow(
    output: &mut Output,
    client: &mut Client,
    mut events: mpsc::Receiver<Event>,
) -> Result<(), Gone> {
    loop {
        let patience = if client.has_begun { SILENCE } else { HOLD };
        match tokio::time::timeout(patience, events.recv()).await {
            Ok(Some(event)) => output.follow(event),
            Ok(None) => return Ok(()),
            Err(_) if client.has_begun => output.still_here(),
            Err(_) => {}
        }
        client.send(output).await?;
    }
}

impl Client {
    async fn send(&mut self, output: &mut Output) -> Result<(), Gone> {
        self.has_begun = true;
        if let Some(writer) = &mut self.writer {
            for event in output.events() {
                writer.event(event.name(), event.data()).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::stream;

    #[tokio::test(start_paused = true)]
    async fn a_silent_response_begins_and_goes_on() {
        let setting = Setting {
            tools: Arc::default(),
            labels: Arc::default(),
            max_result: 1000,
            stream: true,
        };
        let mut output = Output::new(Ids::random(), &Map::new(), setting, &[]);
        let (writer, reader) = stream::channel();
        let mut client = Client {
            writer: Some(writer),
            has_begun: false,
        };
        let (events, coming) = mpsc::channel(EVENTS);
        let start = tokio::time::Instant::now();
        let following = async {
            follow(&mut output, &mut client, coming).await.unwrap();
            drop(client);
        };
        let happening = async {
            let response = reader.respond().await.unwrap();
            assert_eq!(start.elapsed(), HOLD);
            tokio::time::sleep(SILENCE * 2).await;
            let piece = json!({ "choices": [{ "delta": { "content": "hi" } }] });
            events.send(Event::Piece(piece)).await.unwrap();
            drop(events);
            http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap()
                .to_bytes()
        };
        let ((), body) = tokio::join!(following, happening);
        let body = String::from_utf8(body.to_vec()).unwrap();
        let names: Vec<&str> = body
            .lines()
            .filter_map(|line| line.strip_prefix("event: response."))
            .collect();
        assert_eq!(
            names,
            [
                "created",
                "in_progress",
                "in_progress",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta"
            ]
        );
    }
}
