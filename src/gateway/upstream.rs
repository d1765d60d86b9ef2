//! The models behind the gateway: OpenAI-compatible endpoints and the built-in mock.

use serde_json::{Map, Value};

use super::openai::ApiError;
use crate::config;

/// All models of `model_list`.
#[derive(Debug)]
pub(crate) struct Models {}

/// A model's answer in pieces: `chat.completion.chunk` objects, made regular (see [`Chunks::next`]).
#[derive(Debug)]
pub(crate) struct Chunks {}

impl Models {
    /// Nothing is asked of anybody yet.
    pub(crate) fn new(_settings: &config::Gateway) -> Models {
        Models {}
    }

    /// What `GET /v1/models` lists: an object with at least `id` each, in the order of `model_list`, those of `*` entries
    /// (asked at most once a minute) at their entry's place; a provider that can't be reached is left out.
    pub(crate) async fn list(&self) -> Vec<Map<String, Value>> {
        Vec::new()
    }

    /// The whole answer (`chat.completion`) to `request`, the body of `POST /v1/chat/completions` whose `model` is a name of
    /// `model_list`. Entries of one name are tried in order while one can't be reached or answers 5xx.
    ///
    /// The answer is regular: `choices[0].message` is there, each of its `tool_calls` has `id`, `type` and
    /// `function.{name, arguments}` with `arguments` a text, and `finish_reason` is `tool_calls` when there are calls.
    /// Unknown members are kept.
    ///
    /// # Errors
    /// 404 for an unknown model; the provider's 400, 404, 413, 422 and 429 as they are; 502 for everything else.
    pub(crate) async fn answer(&self, _request: &Map<String, Value>) -> Result<Value, ApiError> {
        Err(ApiError::not_found("model_not_found", "no such model"))
    }

    /// The same as a stream; `request` needs no `stream` member.
    ///
    /// # Errors
    /// As for [`Models::answer`], before the first chunk.
    pub(crate) async fn stream(&self, _request: &Map<String, Value>) -> Result<Chunks, ApiError> {
        Err(ApiError::not_found("model_not_found", "no such model"))
    }
}

impl Chunks {
    /// The next chunk, `None` after the last. Regular: `choices` is there (empty in a usage chunk); each piece of a tool call
    /// has an `index`, its first piece `id`, `type` and `function.name`; `arguments` are text; the `finish_reason` is
    /// `tool_calls` when there were calls.
    ///
    /// # Errors
    /// The provider's error in the middle of the stream, or a stream that ends without `[DONE]` and without a `finish_reason`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        Ok(None)
    }
}
