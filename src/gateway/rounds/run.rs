//! How the loop runs: what is asked of the model and of the tools, in turns.

use std::future::Future;
use std::pin::Pin;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::super::content::{self, Content};
use super::super::continuations::Added;
use super::super::openai::ApiError;
use super::assembly::{Answer, Assembly};
use super::concurrently::concurrently;
use super::conversation::{self, Conversation};
use super::plan::Tools;
use super::{Call, CallKind, Event, Finished, Request, Rounds, Turn, usage};

/// Calls of one turn that run at the same time.
const AT_ONCE: usize = 16;
/// Calls of one turn that are executed at all. No model that works asks for so many.
const CALLS: usize = 128;

/// Who follows the loop.
type Follower<'a> = Option<&'a mpsc::Sender<Event>>;

impl Rounds<'_> {
    /// Runs the loop to its end. Whoever wants to follow gets the events; when nobody reads them any more, the loop ends.
    ///
    /// # Errors
    /// The provider's, as [`super::Models::answer`] has them; 504 when the deadline is over.
    ///
    /// # Cancel safety
    /// Dropping the future ends the model's answer and cancels the calls under way.
    pub(crate) async fn run(
        &self,
        request: Request,
        events: Option<&mpsc::Sender<Event>>,
    ) -> Result<Finished, ApiError> {
        let nobody_follows = async {
            match events {
                Some(events) => events.closed().await,
                None => std::future::pending().await,
            }
        };
        let tally = &self.caller.tally;
        let finished = tokio::select! {
            biased;
            finished = Box::pin(self.rounds(request, events)) => finished.inspect(|_| tally.answered()),
            // not counted as an error: it is none
            () = nobody_follows => return Err(nobody_reads()),
            error = self.deadline.over() => Err(error),
        };
        if let Err(error) = &finished {
            tally.failed(error);
        }
        finished
    }

    async fn rounds(&self, request: Request, events: Follower<'_>) -> Result<Finished, ApiError> {
        let tools = request.tools();
        // not every model obeys
        let forbids_calls = request.parameters.get("tool_choice") == Some(&"none".into());
        let messages = conversation::settle(request.messages);
        let restored = self.continuations.restore(self.key, messages);
        let said = restored.said();
        let mut conversation = Conversation::new(
            request.parameters,
            restored.messages,
            restored.after,
            request.own_tools,
            &tools,
        );
        let mut usage = None;
        let mut round = 0;
        loop {
            let mut is_last = forbids_calls || round >= self.max_rounds;
            if is_last {
                conversation.call_no_more();
            }
            let mut answer = self.ask(&mut conversation, request.stream, events).await?;
            self.caller.tally.turn(answer.usage.as_ref());
            usage::add(&mut usage, answer.usage.take());
            // calls that a limit or a filter cut are not meant as they stand
            is_last |= is_cut(&answer.finish_reason);
            let turn = turn(&answer, &tools);
            tell(events, || Event::Turn(turn.clone())).await?;
            let results = if is_last {
                not_executed(&turn.calls)
            } else {
                self.execute(&turn.calls, &tools, events).await
            };
            let ends = is_last || results.len() < turn.calls.len() || turn.calls.is_empty();
            if !ends {
                add(&mut conversation, turn.message, results);
                conversation.force_no_more();
                round += 1;
                continue;
            }
            let earlier = conversation.added().len();
            let own = results.len();
            add(&mut conversation, turn.message, results);
            let handed_back: Vec<Call> = turn
                .calls
                .into_iter()
                .filter(Call::is_handed_back)
                .collect();
            if !handed_back.is_empty() && conversation.added().len() > 1 {
                let added = conversation.added();
                let (before, turn) = added.split_at(earlier);
                let (results, after) = turn[1..].split_at(own);
                let ids = handed_back.iter().map(|call| call.id.clone()).collect();
                let added = Added {
                    before: before.to_vec(),
                    message: turn[0].clone(),
                    results: results.to_vec(),
                    after: after.to_vec(),
                };
                self.continuations.remember(self.key, said, ids, added);
            }
            return Ok(finished(
                answer,
                handed_back,
                usage,
                conversation.into_messages(),
            ));
        }
    }

    /// The model's next turn. One that refuses pictures is asked again without.
    async fn ask(
        &self,
        conversation: &mut Conversation,
        stream: bool,
        events: Follower<'_>,
    ) -> Result<Answer, ApiError> {
        match self.ask_once(conversation.body(), stream, events).await {
            Err(Asked {
                error,
                began: false,
            }) if may_be_pictures(error.status) && conversation.hide_pictures() => {
                let again = self.ask_once(conversation.body(), stream, events).await;
                again.map_err(|asked| asked.error)
            }
            answer => answer.map_err(|asked| asked.error),
        }
    }

    async fn ask_once(
        &self,
        body: &Map<String, Value>,
        stream: bool,
        events: Follower<'_>,
    ) -> Result<Answer, Asked> {
        let not_begun = |error| Asked {
            error,
            began: false,
        };
        if !stream {
            let answer = self.models.answer(body).await;
            return answer.and_then(Answer::whole).map_err(not_begun);
        }
        let mut chunks = self.models.stream(body).await.map_err(not_begun)?;
        let mut assembly = Assembly::default();
        let mut began = false;
        loop {
            match chunks.next().await {
                Ok(None) => return Ok(assembly.finish()),
                Ok(Some(chunk)) => {
                    began = true;
                    let taken = assembly.take(&chunk);
                    let told = match taken {
                        Ok(()) => tell(events, || Event::Piece(chunk)).await,
                        Err(error) => Err(error),
                    };
                    told.map_err(|error| Asked { error, began })?;
                }
                Err(error) => return Err(Asked { error, began }),
            }
        }
    }

    /// Executes the calls that are not handed back; what the model is told of each, in their order.
    async fn execute(
        &self,
        calls: &[Call],
        tools: &Tools,
        events: Follower<'_>,
    ) -> Vec<(Call, Content)> {
        let ours = calls
            .iter()
            .filter(|call| !call.is_handed_back())
            .enumerate();
        let running = ours.map(|(n, call)| {
            Box::pin(async move {
                let content = match &call.kind {
                    CallKind::Ours(_) if n >= CALLS => {
                        in_words(format!("The tool was not called: a turn may have {CALLS} calls. Call it in the next."))
                    }
                    CallKind::Ours(_) => self.call(call, events).await,
                    _ => in_words(tools.unknown(&call.name)),
                };
                (call.clone(), content)
            }) as Pin<Box<dyn Future<Output = (Call, Content)> + Send + '_>>
        });
        concurrently(running, AT_ONCE).await
    }

    async fn call(&self, call: &Call, events: Follower<'_>) -> Content {
        let CallKind::Ours(tool) = &call.kind else {
            unreachable!("only our own calls get here")
        };
        // that nobody follows any more ends the whole loop elsewhere
        let _ = tell(events, || Event::Calling {
            id: call.id.clone(),
            tool: tool.clone(),
            arguments: call.arguments.clone(),
        })
        .await;
        let called = self.caller.call(tool, &call.arguments).await;
        let content = content::of(&called, self.max_result);
        let _ = tell(events, || Event::Called {
            id: call.id.clone(),
            called,
        })
        .await;
        content
    }
}

/// Why there is no answer, and whether there was a piece of one.
struct Asked {
    error: ApiError,
    began: bool,
}

async fn tell(events: Follower<'_>, event: impl FnOnce() -> Event) -> Result<(), ApiError> {
    match events {
        Some(events) => events.send(event()).await.map_err(|_| nobody_reads()),
        None => Ok(()),
    }
}

fn nobody_reads() -> ApiError {
    ApiError::unavailable("the client is gone", std::time::Duration::ZERO)
}

/// Providers say in many ways that a model takes no pictures: 400 (OpenAI, vLLM), 404 (OpenRouter), 500 (llama.cpp).
fn may_be_pictures(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 413 | 415 | 422 | 502)
}

fn turn(answer: &Answer, tools: &Tools) -> Turn {
    Turn {
        message: Value::Object(answer.message.clone()),
        calls: tools.calls(&answer.message),
        finish_reason: answer.finish_reason.clone(),
    }
}

fn is_cut(finish_reason: &str) -> bool {
    matches!(finish_reason, "length" | "content_filter")
}

/// What stands for the results of a last turn that calls all the same.
fn not_executed(calls: &[Call]) -> Vec<(Call, Content)> {
    let ours = calls.iter().filter(|call| !call.is_handed_back());
    let words = "The tool was not called: the turn was cut, was not to call any, or there were too many before it.";
    ours.map(|call| (call.clone(), in_words(words.to_owned())))
        .collect()
}

fn in_words(text: String) -> Content {
    Content {
        text,
        pictures: Vec::new(),
    }
}

/// Adds a turn and the results of our calls in it.
fn add(conversation: &mut Conversation, message: Value, results: Vec<(Call, Content)>) {
    conversation.push(message);
    let shown = results
        .iter()
        .map(|(call, content)| (&*call.name, &*content.pictures));
    let pictures = content::show(shown);
    for (call, content) in results {
        conversation
            .push(json!({ "role": "tool", "tool_call_id": call.id, "content": content.text }));
    }
    if let Some(pictures) = pictures {
        conversation.show(pictures);
    }
}

fn finished(
    answer: Answer,
    handed_back: Vec<Call>,
    usage: Option<Value>,
    messages: Vec<Value>,
) -> Finished {
    let mut message = answer.message;
    let finish_reason = match &*answer.finish_reason {
        reason if is_cut(reason) => reason,
        _ if !handed_back.is_empty() => "tool_calls",
        // calls that nobody executes
        "tool_calls" => "stop",
        reason => reason,
    };
    if handed_back.is_empty() {
        message.shift_remove("tool_calls");
    } else {
        let calls = handed_back.iter().map(|call| call.object.clone()).collect();
        message.insert("tool_calls".to_owned(), calls);
    }
    Finished {
        message: Value::Object(message),
        handed_back,
        finish_reason: finish_reason.to_owned(),
        usage,
        rest: answer.rest,
        choice: answer.choice,
        messages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(finish_reason: &str) -> Answer {
        let call = |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name }, "sign": id });
        let message = json!({
            "role": "assistant", "content": "x", "reasoning_content": "y",
            "tool_calls": [call("a", "theirs"), call("b", "nobody's")],
        });
        let Value::Object(message) = message else {
            unreachable!()
        };
        Answer {
            message,
            finish_reason: finish_reason.to_owned(),
            ..Answer::default()
        }
    }

    #[test]
    fn the_client_sees_its_own_calls_and_unknown_members() {
        let own = [json!({ "type": "function", "function": { "name": "theirs" } })];
        let turn = turn(&answer("tool_calls"), &Tools::new(&own, &[]));
        let handed_back = turn
            .calls
            .into_iter()
            .filter(Call::is_handed_back)
            .collect();
        let finished = finished(answer("tool_calls"), handed_back, None, Vec::new());
        assert_eq!(finished.finish_reason, "tool_calls");
        assert_eq!(
            finished.message,
            json!({
                "role": "assistant", "content": "x", "reasoning_content": "y",
                "tool_calls": [{ "id": "a", "type": "function", "function": { "name": "theirs" }, "sign": "a" }],
            })
        );
    }

    #[test]
    fn a_turn_that_was_cut_says_so() {
        let own = [json!({ "type": "function", "function": { "name": "theirs" } })];
        let turn = turn(&answer("length"), &Tools::new(&own, &[]));
        let handed_back = turn
            .calls
            .into_iter()
            .filter(Call::is_handed_back)
            .collect();
        let finished = finished(answer("length"), handed_back, None, Vec::new());
        assert_eq!(finished.finish_reason, "length");
    }

    #[test]
    fn a_last_turn_that_calls_all_the_same_ends() {
        let turn = turn(&answer("tool_calls"), &Tools::new(&[], &[]));
        assert_eq!(not_executed(&turn.calls).len(), 2);
        let finished = finished(answer("tool_calls"), Vec::new(), None, Vec::new());
        assert_eq!(finished.finish_reason, "stop");
        assert_eq!(
            finished.message,
            json!({ "role": "assistant", "content": "x", "reasoning_content": "y" })
        );
    }
}
