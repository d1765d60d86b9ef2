//! The models behind the gateway: OpenAI-compatible endpoints and the built-in mock.
//!
//! A name of `model_list` leads to its entries, in their order; a name that isn't there to the `*` entries whose provider
//! lists it. The next entry is tried while one fails in a way that another may not (`failure` has the table) and nothing
//! of its answer has gone out. Requests and answers pass as they are but for the model's name; answers are made regular
//! (`regular`, `pieces`), so that whoever reads them meets one kind of model.

mod endpoint;
mod failure;
mod listing;
mod mock;
mod pieces;
mod regular;
mod stream;

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tracing::warn;

use self::endpoint::{Clients, Endpoint, Streamed};
use self::failure::Failure;
use self::listing::Listing;
use self::mock::Mock;
use self::pieces::Pieces;
use self::regular::Identity;
use self::stream::Wire;
use super::openai::ApiError;
use crate::config;

/// Names in the error for an unknown model.
const NAMED: usize = 10;

/// The name of an entry that stands for whatever its provider lists.
const EVERY: &str = "*";

/// All models of `model_list`.
#[derive(Debug)]
pub(crate) struct Models {
    entries: Vec<Entry>,
    /// When they were configured, for lists.
    created: u64,
}

#[derive(Debug)]
struct Entry {
    name: String,
    provider: Provider,
}

#[derive(Debug)]
enum Provider {
    Mock(Mock),
    One(Arc<Endpoint>),
    /// Every model that it lists.
    Every(Arc<Endpoint>, Arc<Listing>),
}

/// A model's answer in pieces: `chat.completion.chunk` objects, made regular (see [`Chunks::next`]). Dropping it closes the
/// connection to the provider, which stops then.
#[derive(Debug)]
pub(crate) struct Chunks(Source);

#[derive(Debug)]
enum Source {
    Wire(Box<Wire>),
    /// All there is, from a provider that doesn't stream.
    Ready(VecDeque<Value>),
}

impl Models {
    /// Nothing is asked of anybody yet.
    pub(crate) fn new(settings: &config::Gateway) -> Models {
        let mut clients = Clients::default();
        let entries = settings.models.iter().map(|model| Entry {
            name: model.name.clone(),
            provider: match &model.provider {
                config::Provider::Mock => Provider::Mock(Mock::new(&settings.separator)),
                config::Provider::OpenAi {
                    api_base,
                    api_key,
                    model: own_name,
                } => {
                    let (key, own_name) = (api_key.clone(), own_name.clone());
                    let endpoint = Arc::new(Endpoint::new(api_base, key, own_name, &mut clients));
                    match model.name.as_str() {
                        EVERY => {
                            Provider::Every(endpoint.clone(), Arc::new(Listing::new(endpoint)))
                        }
                        _ => Provider::One(endpoint),
                    }
                }
            },
        });
        Models {
            entries: entries.collect(),
            created: unix_seconds(),
        }
    }

    /// What `GET /v1/models` lists: an object with at least `id` each, in the order of `model_list`, those of `*` entries
    /// (asked at most once a minute, or soon again after a failure) at their entry's place; a provider that can't be reached
    /// is left out. A name is listed once.
    pub(crate) async fn list(&self) -> Vec<Map<String, Value>> {
        // All at once; below, each is known.
        let mut asked = JoinSet::new();
        for entry in &self.entries {
            if let Provider::Every(_, listing) = &entry.provider {
                let listing = listing.clone();
                asked.spawn(async move { listing.models().await.is_some() });
            }
        }
        asked.join_all().await;
        let mut names = HashSet::new();
        let mut list = Vec::new();
        for entry in &self.entries {
            let models = match &entry.provider {
                Provider::Every(_, listing) => listing.models().await,
                Provider::Mock(_) | Provider::One(_) => {
                    let model = json!({ "id": entry.name, "object": "model", "created": self.created, "owned_by": "mcp-bridged" });
                    regular::object(model).map(|model| Arc::new(vec![model]))
                }
            };
            for model in models.iter().flat_map(|models| models.iter()) {
                if names.insert(model.get("id").cloned()) {
                    list.push(model.clone());
                }
            }
        }
        list
    }

    /// The whole answer (`chat.completion`) to `request`, the body of `POST /v1/chat/completions` whose `model` is a name of
    /// `model_list`. Entries of one name are tried in order while one can't be reached or answers 5xx.
    ///
    /// The answer is regular: `choices[0].message` is there, each of its `tool_calls` has `id`, `type` and
    /// `function.{name, arguments}` with `arguments` a text, and `finish_reason` is `tool_calls` when there are calls, unless
    /// the provider says that a limit or a filter cut them (`length`, `content_filter`). Unknown members are kept; so are
    /// calls of type `custom`.
    ///
    /// # Errors
    /// 404 for an unknown model; the provider's 400, 404, 413, 422 and 429 as they are; 502 for everything else.
    pub(crate) async fn answer(&self, request: &Map<String, Value>) -> Result<Value, ApiError> {
        let name = model(request)?;
        let candidates = self.candidates(name).await?;
        let mut rest = candidates.iter();
        loop {
            let entry = rest
                .next()
                .expect("a failure is handed back for the last one");
            let failed = match entry.answer(name, request).await {
                Ok(answer) => return Ok(answer.into()),
                Err(failure) => failure,
            };
            go_on(name, failed, rest.as_slice().is_empty())?;
        }
    }

    /// The same as a stream; `request` needs no `stream` member.
    ///
    /// # Errors
    /// As for [`Models::answer`], before the first chunk.
    pub(crate) async fn stream(&self, request: &Map<String, Value>) -> Result<Chunks, ApiError> {
        let name = model(request)?;
        let candidates = self.candidates(name).await?;
        let mut rest = candidates.iter();
        loop {
            let entry = rest
                .next()
                .expect("a failure is handed back for the last one");
            let failed = match entry.stream(name, request).await {
                Ok(chunks) => return Ok(chunks),
                Err(failure) => failure,
            };
            go_on(name, failed, rest.as_slice().is_empty())?;
        }
    }

    /// The entries that may answer for `name`; at least one.
    async fn candidates(&self, name: &str) -> Result<Vec<&Entry>, ApiError> {
        let exact: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.name == name && name != EVERY)
            .collect();
        if !exact.is_empty() {
            return Ok(exact);
        }
        let mut listed = Vec::new();
        for entry in &self.entries {
            if let Provider::Every(_, listing) = &entry.provider {
                // Without a list, the provider itself knows best.
                let has = listing.models().await.is_none_or(|models| {
                    models
                        .iter()
                        .any(|model| model.get("id").is_some_and(|id| id == name))
                });
                if has && name != EVERY {
                    listed.push(entry);
                }
            }
        }
        if listed.is_empty() {
            return Err(self.unknown(name).await);
        }
        Ok(listed)
    }

    async fn unknown(&self, name: &str) -> ApiError {
        let mut message = format!("the model `{name}` does not exist");
        let list = self.list().await;
        let names = list.iter().filter_map(|model| model.get("id")?.as_str());
        for (index, name) in names.take(NAMED).enumerate() {
            let before = if index == 0 { "; there are" } else { "," };
            write!(message, "{before} `{name}`").expect("memory takes all that is written");
        }
        if list.len() > NAMED {
            message.push_str(" and more, see /v1/models");
        } else if list.is_empty() {
            message.push_str("; `model_list` names none");
        }
        ApiError {
            param: Some("model".into()),
            ..ApiError::not_found("model_not_found", message)
        }
    }
}

impl Entry {
    async fn answer(
        &self,
        name: &str,
        request: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let endpoint = match &self.provider {
            Provider::Mock(mock) => return Ok(mock.answer(request, name, unix_seconds())),
            Provider::One(endpoint) | Provider::Every(endpoint, _) => endpoint,
        };
        let who = self.who(name, endpoint);
        let answer = endpoint.answer(&who, request).await?;
        regular::whole(answer, identity(name), &mut call_id).ok_or_else(|| {
            failure::nonsense(&who, "answers with an object that is no chat completion")
        })
    }

    async fn stream(&self, name: &str, request: &Map<String, Value>) -> Result<Chunks, Failure> {
        let endpoint = match &self.provider {
            Provider::Mock(mock) => {
                let answer = mock.answer(request, name, unix_seconds());
                return Ok(Chunks(Source::Ready(mock::chunks(&answer).into())));
            }
            Provider::One(endpoint) | Provider::Every(endpoint, _) => endpoint,
        };
        let who = self.who(name, endpoint);
        let source = match endpoint.stream(&who, request).await? {
            Streamed::Begun(response) => {
                let wire = Wire::new(endpoint.clone(), who, response, identity(name));
                Source::Wire(Box::new(wire))
            }
            Streamed::Whole(answer) => {
                let answer =
                    regular::whole(answer, identity(name), &mut call_id).ok_or_else(|| {
                        failure::nonsense(&who, "answers with an object that is no chat completion")
                    })?;
                let mut pieces = Pieces::new(identity(name));
                pieces.push(answer, &mut call_id).map_err(|_| {
                    failure::nonsense(&who, "answers with more calls than a model makes")
                })?;
                pieces.finish(&mut call_id);
                Source::Ready(std::iter::from_fn(|| pieces.pop()).collect())
            }
        };
        Ok(Chunks(source))
    }

    fn who(&self, name: &str, endpoint: &Endpoint) -> String {
        format!("the provider of model `{name}` at {}", endpoint.host())
    }
}

impl Chunks {
    /// The next chunk, `None` after the last. Regular: `choices` is there (empty in a usage chunk, which is the last and the
    /// only one with `usage`); the first delta of a choice has its `role`; each piece of a tool call has an `index`, its first
    /// piece `id`, `type` and `function.name`, later ones only what is new; `arguments` are text; each choice has one
    /// `finish_reason`, which is `tool_calls` when there were calls, unless the provider says that a limit or a filter cut
    /// them.
    ///
    /// # Errors
    /// The provider's error in the middle of the stream, or a stream that ends without `[DONE]` and without a `finish_reason`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        match &mut self.0 {
            Source::Wire(wire) => wire.next().await,
            Source::Ready(chunks) => Ok(chunks.pop_front()),
        }
    }
}

fn model(request: &Map<String, Value>) -> Result<&str, ApiError> {
    let model = request.get("model").and_then(Value::as_str);
    model.ok_or_else(|| {
        ApiError::invalid(
            "model",
            "`model` must be a text; /v1/models lists what there is",
        )
    })
}

/// Whether to try the next entry.
fn go_on(name: &str, failed: Failure, is_last: bool) -> Result<(), ApiError> {
    if is_last || !failed.try_next {
        return Err(*failed.error);
    }
    warn!(model = name, error = %failed.error, "a model's provider failed, trying the next entry");
    Ok(())
}

/// What an answer is called whose provider doesn't say.
fn identity(name: &str) -> Identity {
    Identity {
        model: name.to_owned(),
        id: format!("chatcmpl-{}", random()),
        created: unix_seconds(),
    }
}

/// An id for a call that its model gave none.
fn call_id() -> String {
    format!("call_{}", random())
}

/// 24 characters that nobody has had.
fn random() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory takes all that is written");
        text
    })
}

fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
