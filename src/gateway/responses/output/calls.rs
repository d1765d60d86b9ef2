//! Calls of the client's own tools, whole and in pieces.

use serde_json::{Map, Value, json};

use super::Output;
use crate::gateway::responses::content::others;
use crate::gateway::responses::tools::{Own, custom_input, text};
use crate::gateway::rounds::Call;

/// A call whose pieces are coming in.
#[derive(Debug)]
pub(super) struct Coming {
    id: String,
    /// The index in chat's pieces.
    piece: u64,
    /// The index of its item.
    item: usize,
    /// Whether any of its arguments have come.
    begun: bool,
}

impl Output {
    /// A piece of a call; those of the catalogue's tools are passed over.
    pub(super) fn piece_of_call(&mut self, piece: &Value) {
        let number = piece.get("index").and_then(Value::as_u64).unwrap_or(0);
        let function = piece.get("function").unwrap_or(&Value::Null);
        let known = self.calls.iter().position(|call| call.piece == number);
        let known = known.or_else(|| {
            // A custom tool's input stands within JSON, so it comes whole at the turn's end; so do calls of the catalogue.
            let own = self.tools.own(text(function, "name"))?;
            let own = (!own.custom).then(|| own.clone())?;
            let id = text(piece, "id").to_owned();
            let item = self.add_call(&id, &own);
            self.calls.push(Coming {
                id,
                piece: number,
                item,
                begun: false,
            });
            Some(self.calls.len() - 1)
        });
        let arguments = text(function, "arguments");
        if let Some(known) = known
            && !arguments.is_empty()
        {
            let call = &mut self.calls[known];
            call.begun = true;
            self.events.about(
                "response.function_call_arguments.delta",
                call.item,
                &self.items[call.item],
                json!({ "delta": arguments }),
            );
        }
    }

    /// The call is whole.
    pub(super) fn finish_call(&mut self, call: &Call, status: &str) {
        let unknown = Own {
            name: call.name.clone(),
            namespace: String::new(),
            custom: false,
        };
        let own = self.tools.own(&call.name).cloned().unwrap_or(unknown);
        let coming = self.calls.iter().position(|coming| coming.id == call.id);
        let (index, begun) = match coming.map(|at| self.calls.remove(at)) {
            Some(coming) => (coming.item, coming.begun),
            None => (self.add_call(&call.id, &own), false),
        };
        let (member, value, delta, done) = if own.custom {
            (
                "input",
                custom_input(&call.arguments),
                "response.custom_tool_call_input.delta",
                "response.custom_tool_call_input.done",
            )
        } else {
            (
                "arguments",
                call.arguments.clone(),
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
            )
        };
        let item = &mut self.items[index];
        if !begun && !value.is_empty() {
            self.events
                .about(delta, index, item, json!({ "delta": value }));
        }
        let mut whole = json!({ member: value });
        if !own.custom {
            whole["name"] = own.name.as_str().into();
        }
        self.events.about(done, index, item, whole);
        item[member] = value.into();
        item["status"] = status.into();
        if let Value::Object(item) = item {
            item.extend(others(&call.object, &["id", "type", "function", "index"]));
        }
        self.events.done(index, item);
    }

    /// Ends items of what came in pieces and never became a call.
    pub(super) fn abandon_calls(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            let item = &mut self.items[call.item];
            item["status"] = "incomplete".into();
            self.events.done(call.item, item);
        }
    }

    /// The item of a call of the client's own tool.
    fn add_call(&mut self, id: &str, own: &Own) -> usize {
        self.close_text("completed", Map::new());
        let (kind, prefix, member) = if own.custom {
            ("custom_tool_call", "ctc", "input")
        } else {
            ("function_call", "fc", "arguments")
        };
        let mut item = json!({
            "type": kind,
            "id": self.ids.item(prefix),
            "call_id": id,
            "name": own.name,
            member: "",
            "status": "in_progress",
        });
        if !own.namespace.is_empty() {
            item["namespace"] = own.namespace.as_str().into();
        }
        self.add(item)
    }
}
