//! From what happens in the loop to output items and their events.
//!
//! An item is added, filled and done; its id and index stay the same, and each `added` has its `done` before the response
//! ends. A text is open while its pieces come: another kind of piece, a call or the turn's end closes it. Calls of the
//! client's own tools open with their first piece; calls that the gateway executes with their execution, for only then is it
//! certain what is called. Where answers don't come in pieces, a turn's message is taken as one piece.

mod calls;
mod text;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::content::others;
use super::events::{Event, Events};
use super::ids::Ids;
use super::input::Pending;
use super::labels::Labels;
use super::object::{Frame, Status, incomplete};
use super::tools::{Tools, text};
use crate::gateway::catalogue::Tool;
use crate::gateway::content;
use crate::gateway::execute::{Called, Failure};
use crate::gateway::openai::ApiError;
use crate::gateway::rounds::{self, CallKind, Finished, Turn};
use calls::Coming;
use text::{Kind, Text};

/// The output of one response, while it grows.
#[derive(Debug)]
pub(super) struct Output {
    ids: Ids,
    frame: Frame,
    model: String,
    tools: Arc<Tools>,
    labels: Arc<Labels>,
    max_result: usize,
    events: Events,
    items: Vec<Value>,
    text: Option<Text>,
    /// The client's calls of the turn that is coming in.
    calls: Vec<Coming>,
    /// Calls under way: their ids and the indices of their items.
    running: Vec<(String, usize)>,
    /// Whether the turn that is coming in comes in pieces.
    in_pieces: bool,
}

/// What an output is made with.
#[derive(Debug)]
pub(super) struct Setting {
    /// The client's own tools.
    pub(super) tools: Arc<Tools>,
    /// Those of the catalogue.
    pub(super) labels: Arc<Labels>,
    /// Bytes of one tool's result.
    pub(super) max_result: usize,
    /// Whether the client follows events.
    pub(super) stream: bool,
}

impl Output {
    /// The output of a response to `request`. It begins with `response.created` and, for labels that the client hasn't been
    /// told yet, the lists of their tools.
    pub(super) fn new(
        ids: Ids,
        request: &Map<String, Value>,
        setting: Setting,
        told: &[String],
    ) -> Output {
        let frame = Frame::new(&ids.response(), request);
        let model = request.get("model").and_then(Value::as_str);
        let mut output = Output {
            ids,
            frame,
            model: model.unwrap_or_default().to_owned(),
            tools: setting.tools,
            labels: setting.labels,
            max_result: setting.max_result,
            events: Events::new(setting.stream),
            items: Vec::new(),
            text: None,
            calls: Vec::new(),
            running: Vec::new(),
            in_pieces: false,
        };
        for name in ["response.created", "response.in_progress"] {
            output.in_progress(name);
        }
        let labels = Arc::clone(&output.labels);
        for (label, tools) in labels.lists() {
            if !told.iter().any(|told| told == label) {
                output.list(label, tools);
            }
        }
        output
    }

    /// The client's own tools, in the chat API's shape.
    pub(super) fn own_tools(&self) -> Vec<Value> {
        self.tools.chat.clone()
    }

    /// The labels whose tools the client knows now.
    pub(super) fn labels(&self) -> impl Iterator<Item = String> {
        self.labels.names().map(str::to_owned)
    }

    /// The id of the response.
    pub(super) fn id(&self) -> String {
        self.ids.response()
    }

    /// The events since it was last asked.
    pub(super) fn events(&mut self) -> Vec<Event> {
        self.events.take()
    }

    /// An event without news, for clients that take a silence for a failure: comments don't count with all of them.
    pub(super) fn still_here(&mut self) {
        match self.running.last() {
            Some(&(_, index)) => {
                let item = &self.items[index];
                let events = &mut self.events;
                events.about("response.mcp_call.in_progress", index, item, json!({}));
            }
            None => self.in_progress("response.in_progress"),
        }
    }

    /// Follows the loop.
    pub(super) fn follow(&mut self, event: rounds::Event) {
        match event {
            rounds::Event::Piece(chunk) => self.piece(&chunk),
            rounds::Event::Turn(turn) => self.turn(&turn),
            rounds::Event::Calling {
                id,
                tool,
                arguments,
            } => self.calling(id, &tool, &arguments, None),
            rounds::Event::Called { id, called } => self.called(&id, &called),
        }
    }

    /// A call of a catalogue tool begins; `approved` is the id of the request that the client approved.
    pub(super) fn calling(
        &mut self,
        id: String,
        tool: &Tool,
        arguments: &str,
        approved: Option<&str>,
    ) {
        self.close_text("completed", Map::new());
        let (label, name) = self.labels.name(tool);
        let item = json!({
            "type": "mcp_call",
            "id": self.ids.item("mcp"),
            "server_label": label,
            "name": name,
            "arguments": "",
            "output": null,
            "error": null,
            "approval_request_id": approved,
            "status": "in_progress",
        });
        let index = self.add(item);
        let item = &mut self.items[index];
        let events = &mut self.events;
        events.about("response.mcp_call.in_progress", index, item, json!({}));
        events.about(
            "response.mcp_call_arguments.delta",
            index,
            item,
            json!({ "delta": arguments }),
        );
        events.about(
            "response.mcp_call_arguments.done",
            index,
            item,
            json!({ "arguments": arguments }),
        );
        item["arguments"] = arguments.into();
        self.running.push((id, index));
    }

    /// It is over.
    pub(super) fn called(&mut self, id: &str, called: &Called) {
        let Some(at) = self.running.iter().position(|(running, _)| running == id) else {
            return;
        };
        let (_, index) = self.running.remove(at);
        let item = &mut self.items[index];
        let words = content::of(called, self.max_result).text;
        let name = if called.is_error() {
            item["error"] = error(called, &words);
            item["status"] = "failed".into();
            "response.mcp_call.failed"
        } else {
            item["output"] = words.into();
            item["status"] = "completed".into();
            "response.mcp_call.completed"
        };
        self.events.about(name, index, item, json!({}));
        self.events.done(index, item);
    }

    /// The response is over. Gives its object and the calls that wait for approval.
    pub(super) fn finish(&mut self, finished: &Finished) -> (Value, Vec<Pending>) {
        self.close_text("completed", Map::new());
        let mut pending = Vec::new();
        for call in &finished.handed_back {
            let CallKind::Approval(tool) = &call.kind else {
                continue;
            };
            let (label, name) = self.labels.name(tool);
            let request = Pending {
                id: self.ids.item("mcpr"),
                call_id: call.id.clone(),
                label: label.to_owned(),
                name: name.to_owned(),
                arguments: call.arguments.clone(),
                decision: None,
            };
            let index = self.add(json!({
                "type": "mcp_approval_request",
                "id": request.id,
                "server_label": label,
                "name": name,
                "arguments": call.arguments,
            }));
            self.events.done(index, &self.items[index]);
            pending.push(request);
        }
        let status = Status::Finished(&finished.finish_reason);
        let usage = finished.usage.as_ref();
        let mut rest = finished.rest.clone();
        rest.shift_remove("created");
        let object = self
            .frame
            .object(&self.model, &status, &self.items, usage, &rest);
        let name = match incomplete(&finished.finish_reason) {
            Some(_) => "response.incomplete",
            None => "response.completed",
        };
        self.events.add(name, json!({ "response": object }));
        (object, pending)
    }

    /// The response failed. What was open stays unfinished.
    pub(super) fn fail(&mut self, error: &ApiError) {
        let status = Status::Failed(error);
        if let Some(text) = self.text.take() {
            text.abandon(&mut self.items);
        }
        for item in &mut self.items {
            if item["status"] == "in_progress" {
                item["status"] = "incomplete".into();
            }
        }
        let object = self
            .frame
            .object(&self.model, &status, &self.items, None, &Map::new());
        self.events
            .add("response.failed", json!({ "response": object }));
    }

    fn in_progress(&mut self, name: &'static str) {
        if self.events.are_wanted() {
            // Items stand in their own events; the client's view of the output begins empty.
            let object =
                self.frame
                    .object(&self.model, &Status::InProgress, &[], None, &Map::new());
            self.events.add(name, json!({ "response": object }));
        }
    }

    fn list(&mut self, label: &str, tools: Value) {
        let id = self.ids.item("mcpl");
        let index = self.add(json!({
            "type": "mcp_list_tools",
            "id": id,
            "server_label": label,
            "tools": [],
            "error": null,
        }));
        let item = &mut self.items[index];
        let events = &mut self.events;
        for name in [
            "response.mcp_list_tools.in_progress",
            "response.mcp_list_tools.completed",
        ] {
            events.about(name, index, item, json!({}));
        }
        item["tools"] = tools;
        events.done(index, item);
    }

    fn piece(&mut self, chunk: &Value) {
        self.in_pieces = true;
        let Some(delta) = chunk.pointer("/choices/0/delta") else {
            return;
        };
        self.write_message(delta);
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            self.piece_of_call(call);
        }
    }

    fn turn(&mut self, turn: &Turn) {
        if !std::mem::take(&mut self.in_pieces) {
            self.write_message(&turn.message);
        }
        let status = match incomplete(&turn.finish_reason) {
            Some(_) => "incomplete",
            None => "completed",
        };
        self.close_text(status, others(&turn.message, MESSAGE_MEMBERS));
        for call in &turn.calls {
            if matches!(call.kind, CallKind::Clients) {
                self.finish_call(call, status);
            }
        }
        self.abandon_calls();
    }

    fn write_message(&mut self, message: &Value) {
        let reasoning = ["reasoning_content", "reasoning"]
            .into_iter()
            .find_map(|name| message.get(name)?.as_str());
        self.write(Kind::Reasoning, reasoning.unwrap_or_default());
        match message.get("content") {
            Some(Value::String(content)) => self.write(Kind::Output, content),
            Some(Value::Array(parts)) => {
                for part in parts {
                    self.write(Kind::Output, text(part, "text"));
                }
            }
            _ => {}
        }
        self.write(Kind::Refusal, text(message, "refusal"));
    }

    fn write(&mut self, kind: Kind, piece: &str) {
        if piece.is_empty() {
            return;
        }
        if let Some(open) = self.text.take_if(|open| !open.takes(kind)) {
            open.close("completed", Map::new(), &mut self.items, &mut self.events);
        }
        let text = match &mut self.text {
            Some(text) => text,
            none => {
                let item = Text::item(kind, &mut self.ids);
                self.events.added(self.items.len(), &item);
                self.items.push(item);
                none.insert(Text::new(self.items.len() - 1))
            }
        };
        text.write(kind, piece, &self.items, &mut self.events);
    }

    fn close_text(&mut self, status: &str, others: Map<String, Value>) {
        if let Some(text) = self.text.take() {
            text.close(status, others, &mut self.items, &mut self.events);
        }
    }

    fn add(&mut self, item: Value) -> usize {
        let index = self.items.len();
        self.events.added(index, &item);
        self.items.push(item);
        index
    }
}

/// The members of an assistant message that have a place in items; all else goes with the message's item.
const MESSAGE_MEMBERS: &[&str] = &[
    "role",
    "content",
    "tool_calls",
    "function_call",
    "refusal",
    "reasoning",
    "reasoning_content",
    "annotations",
    "audio",
    "id",
    "type",
    "status",
];

/// Why a call failed, in the shape of `mcp_call.error`; `words` are those that the model gets.
fn error(called: &Called, words: &str) -> Value {
    let code = match &called.result {
        Ok(_) => {
            let content = json!([{ "type": "text", "text": words }]);
            return json!({ "type": "mcp_tool_execution_error", "content": content });
        }
        Err(Failure::Arguments(_)) => -32602,
        Err(Failure::TimedOut(_)) => -32001,
        Err(Failure::Error(_)) => -32603,
    };
    json!({ "type": "mcp_protocol_error", "code": code, "message": words })
}

#[cfg(test)]
mod tests;
