//! The chunks of an odd model's stream made regular: which call each piece belongs to, and what is still owed at the end.
//!
//! A pure state machine: chunks in, chunks out. A call gets the next free index of its choice when it begins; its first piece
//! has everything that names it, later ones only what is new. Usage, which providers send once, twice or with every chunk,
//! comes once, last, in a chunk of its own.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::regular::{self, Identity, NewId};

const KIND: &str = "chat.completion.chunk";

/// Bytes of arguments that are held back because their call has no name yet.
const LARGEST_NAMELESS: usize = 1 << 20;

/// Choices and calls that one stream may begin; each costs memory for as long as it goes on.
const MOST: usize = 1024;

/// One stream.
#[derive(Debug)]
pub(super) struct Pieces {
    identity: Identity,
    /// The choices that were seen, by their index.
    choices: BTreeMap<u64, Choice>,
    /// The usage chunk, sent when the stream is over.
    usage: Option<Map<String, Value>>,
    ready: VecDeque<Value>,
}

#[derive(Debug, Default)]
struct Choice {
    calls: Vec<Call>,
    /// A `finish_reason` was handed on.
    is_finished: bool,
    /// It has told its role.
    has_role: bool,
}

#[derive(Debug, Default)]
struct Call {
    id: Option<String>,
    name: Option<String>,
    /// The provider's index.
    index: Option<u64>,
    /// Whether its arguments are a whole JSON object by now.
    balance: Balance,
    /// The first pieces, joined, while the name is missing.
    nameless: Option<Map<String, Value>>,
}

/// More calls or choices than any model makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Pieces {
    /// A stream that is called so unless it says more.
    pub(super) fn new(identity: Identity) -> Pieces {
        Pieces {
            identity,
            choices: BTreeMap::new(),
            usage: None,
            ready: VecDeque::new(),
        }
    }

    /// Takes a chunk of the provider.
    pub(super) fn push(
        &mut self,
        mut chunk: Map<String, Value>,
        new_id: NewId<'_>,
    ) -> Result<(), TooMany> {
        let choices = match chunk.get_mut("choices").map(Value::take) {
            Some(Value::Array(choices)) => choices,
            _ => Vec::new(),
        };
        chunk.insert("choices".to_owned(), json!([]));
        self.identity.learn(&chunk);
        self.identity.name(&mut chunk, KIND);
        let usage = chunk.shift_remove("usage").filter(Value::is_object);
        let choices: Vec<_> = choices
            .into_iter()
            .filter_map(regular::object)
            .enumerate()
            .map(|(place, choice)| self.choice(place, choice, new_id))
            .collect::<Result<_, _>>()?;
        if let Some(usage) = usage {
            let mut last = match choices.as_slice() {
                [] => std::mem::take(&mut chunk),
                _ => self.frame(Vec::new()),
            };
            last.insert("usage".to_owned(), usage);
            self.usage = Some(last);
            if choices.is_empty() {
                return Ok(());
            }
        }
        chunk.insert("choices".to_owned(), choices.into());
        self.ready.push_back(chunk.into());
        Ok(())
    }

    /// The next chunk for the client.
    pub(super) fn pop(&mut self) -> Option<Value> {
        self.ready.pop_front()
    }

    /// Whether every choice has its `finish_reason`, so that a stream may end here.
    pub(super) fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.values().all(|choice| choice.is_finished)
    }

    /// The stream is over: a choice that never said why it ended gets its reason, and the usage comes.
    pub(super) fn finish(&mut self, new_id: NewId<'_>) {
        if self.choices.is_empty() {
            self.choices.insert(0, Choice::default());
        }
        let mut choices = Vec::new();
        for (index, choice) in &mut self.choices {
            let mut delta = Map::new();
            choice.name_the_nameless(&mut delta, new_id);
            if choice.is_finished && delta.is_empty() {
                continue;
            }
            let reason =
                (!choice.is_finished).then(|| regular::finish_reason("", !choice.calls.is_empty()));
            choice.is_finished = true;
            choice.tell_role(&mut delta);
            choices.push(json!({ "index": index, "delta": delta, "finish_reason": reason }));
        }
        if !choices.is_empty() {
            let chunk = self.frame(choices);
            self.ready.push_back(chunk.into());
        }
        self.ready.extend(self.usage.take().map(Value::Object));
    }

    /// A chunk of this stream that is made here.
    fn frame(&self, choices: Vec<Value>) -> Map<String, Value> {
        let mut chunk = Map::new();
        self.identity.name(&mut chunk, KIND);
        chunk.insert("choices".to_owned(), choices.into());
        chunk
    }

    fn choice(
        &mut self,
        place: usize,
        mut choice: Map<String, Value>,
        new_id: NewId<'_>,
    ) -> Result<Value, TooMany> {
        let index = choice.get("index").and_then(Value::as_u64);
        let index = index.unwrap_or(place as u64);
        let is_full = self.choices.len() >= MOST && !self.choices.contains_key(&index);
        if is_full {
            return Err(TooMany);
        }
        let state = self.choices.entry(index).or_default();
        let delta = match choice.get("delta") {
            Some(Value::Object(_)) => choice.get_mut("delta").map(Value::take),
            _ => choice.shift_remove("message"),
        };
        let mut delta = delta.and_then(regular::object).unwrap_or_default();
        state.tell_role(&mut delta);
        let said = choice.get("finish_reason").and_then(Value::as_str);
        let said = said.filter(|said| !said.is_empty()).map(str::to_owned);
        let pieces = regular::take_calls(&mut delta);
        let mut calls = Vec::new();
        for piece in pieces {
            calls.extend(state.piece(piece, new_id)?);
        }
        if !calls.is_empty() {
            delta.insert("tool_calls".to_owned(), json!(calls));
        }
        if said.is_some() {
            state.name_the_nameless(&mut delta, new_id);
        }
        let reason = match said {
            Some(said) if !std::mem::replace(&mut state.is_finished, true) => {
                regular::finish_reason(&said, !state.calls.is_empty()).into()
            }
            _ => Value::Null,
        };
        choice.insert("index".to_owned(), index.into());
        choice.insert("delta".to_owned(), delta.into());
        choice.insert("finish_reason".to_owned(), reason);
        Ok(choice.into())
    }
}

impl Choice {
    /// The first delta of a choice tells its role.
    fn tell_role(&mut self, delta: &mut Map<String, Value>) {
        let told = delta.get("role").is_some_and(Value::is_string);
        if !told {
            delta.shift_remove("role");
        }
        if !std::mem::replace(&mut self.has_role, true) && !told {
            delta.insert("role".to_owned(), "assistant".into());
        }
    }

    /// What is handed on of one piece of a call: nothing while its name is missing.
    fn piece(
        &mut self,
        mut piece: Map<String, Value>,
        new_id: NewId<'_>,
    ) -> Result<Option<Map<String, Value>>, TooMany> {
        let place = match self.place(&piece) {
            Some(place) => place,
            None if self.calls.len() >= MOST => return Err(TooMany),
            None => {
                self.calls.push(Call {
                    index: piece.get("index").and_then(Value::as_u64),
                    nameless: Some(Map::new()),
                    ..Call::default()
                });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[place];
        call.balance.follow(arguments(&piece).unwrap_or_default());
        piece.insert("index".to_owned(), place.into());
        if call.id.is_none() {
            call.id = regular::id(&piece).map(str::to_owned);
        }
        if let Some(begun) = &mut call.nameless {
            join(begun, piece);
            if arguments(begun).is_some_and(|text| text.len() > LARGEST_NAMELESS) {
                return Err(TooMany);
            }
            let Some(name) = regular::name(begun) else {
                return Ok(None);
            };
            call.name = Some(name.to_owned());
            return Ok(self.begin(place, new_id));
        }
        for member in ["id", "type"] {
            piece.shift_remove(member);
        }
        for place in ["function", "custom"] {
            if let Some(Value::Object(function)) = piece.get_mut(place) {
                function.shift_remove("name");
                if function.is_empty() {
                    piece.shift_remove(place);
                }
            }
        }
        // With nothing but the index left, it only told the name or the id again.
        Ok((piece.len() > 1).then_some(piece))
    }

    /// Which call a piece goes on with; `None`: it begins one.
    fn place(&self, piece: &Map<String, Value>) -> Option<usize> {
        let (id, name) = (regular::id(piece), regular::name(piece));
        let index = piece.get("index").and_then(Value::as_u64);
        // The last one, because some number all their calls 0.
        let by_index = |call: &Call| index.is_none() || call.index == index;
        let by_id = |call: &Call| id.is_some() && call.id.as_deref() == id;
        let both = |call: &Call| by_id(call) && by_index(call);
        let place = self.calls.iter().rposition(both);
        let place = place.or_else(|| self.calls.iter().rposition(by_index))?;
        let call = &self.calls[place];
        let other_id = id.is_some() && call.id.is_some() && !by_id(call);
        let other_name = name.is_some() && call.name.is_some() && call.name.as_deref() != name;
        // A name that is told again goes on, unless all that belongs to it was there and another such thing begins.
        let again = name.is_some()
            && call.name.is_some()
            && call.balance.is_whole()
            && arguments(piece).is_some_and(|text| text.trim_start().starts_with('{'));
        let begins = match index {
            // Some give each piece of a call another id, but name it only once.
            Some(_) => other_name || again || (other_id && name.is_some()),
            None => other_name || again || other_id,
        };
        (!begins).then_some(place)
    }

    /// The first piece of a call, once.
    fn begin(&mut self, place: usize, new_id: NewId<'_>) -> Option<Map<String, Value>> {
        let mut piece = self.calls[place].nameless.take()?;
        let id = regular::id(&piece);
        // Some call a call what the tool is called.
        if id.is_some()
            && self.calls[..place]
                .iter()
                .any(|call| call.id.as_deref() == id)
        {
            piece.shift_remove("id");
        }
        regular::complete(&mut piece, new_id);
        Some(piece)
    }

    /// Calls that never got a name are handed on without one: whoever executes them says so to the model.
    fn name_the_nameless(&mut self, delta: &mut Map<String, Value>, new_id: NewId<'_>) {
        let begun = (0..self.calls.len()).filter_map(|place| self.begin(place, new_id));
        let begun: Vec<_> = begun.map(Value::Object).collect();
        if begun.is_empty() {
            return;
        }
        match delta.get_mut("tool_calls") {
            Some(Value::Array(calls)) => calls.extend(begun),
            _ => drop(delta.insert("tool_calls".to_owned(), begun.into())),
        }
    }
}

fn arguments(piece: &Map<String, Value>) -> Option<&str> {
    piece.get("function")?.get("arguments")?.as_str()
}

/// Adds a piece to what there is: arguments grow, all else is replaced.
fn join(begun: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (member, value) in piece {
        match (begun.get_mut(&member), value) {
            (Some(Value::Object(before)), Value::Object(added)) if member == "function" => {
                for (member, value) in added {
                    match (before.get_mut(&member), value) {
                        (Some(Value::String(text)), Value::String(more))
                            if member == "arguments" =>
                        {
                            text.push_str(&more);
                        }
                        (_, value) => drop(before.insert(member, value)),
                    }
                }
            }
            (_, value) => drop(begun.insert(member, value)),
        }
    }
}

/// Follows JSON text without keeping it, to know when an object is whole.
#[derive(Debug, Default)]
struct Balance {
    depth: usize,
    has_begun: bool,
    in_text: bool,
    is_escaped: bool,
}

impl Balance {
    fn follow(&mut self, text: &str) {
        for byte in text.bytes() {
            match (self.in_text, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => self.in_text = !self.in_text,
                (false, b'{' | b'[') => {
                    self.has_begun = true;
                    self.depth += 1;
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.has_begun && self.depth == 0
    }
}

#[cfg(test)]
mod tests;
