//! One OpenAI-compatible endpoint: its requests over HTTP, their bounds, and what comes back.
//!
//! Connections are kept and shared by all endpoints of one kind. Nothing of a client's headers gets here, redirects aren't
//! followed (the key is not for others), and a whole answer has no time limit of its own: whoever waits drops it.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Serializer as _;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::failure::{self, Failure};
use super::stream::IDLE;
use crate::config::Secret;
use crate::gateway::json;
use crate::gateway::openai::ApiError;
use crate::transport::outward;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a provider may take to list its models.
const LIST_TIME: Duration = Duration::from_secs(10);
/// Bytes of a list of models.
const LARGEST_LIST: usize = 1 << 20;
/// Bytes of a whole answer, images included.
const LARGEST_ANSWER: usize = 64 << 20;
/// Bytes of a refusal that are read.
const LARGEST_REFUSAL: usize = 64 << 10;

/// Where an entry of `model_list` sends its requests.
#[derive(Debug)]
pub(super) struct Endpoint {
    http: Result<Client, String>,
    api_base: String,
    key: Option<Secret>,
    /// The provider's own name for the model.
    model: Option<String>,
    /// Host and port, for messages.
    host: String,
}

/// Clients by whether they need certificates and whether they may use a proxy.
#[derive(Debug, Default)]
pub(super) struct Clients(Vec<((bool, bool), Result<Client, String>)>);

impl Clients {
    fn of(&mut self, url: Option<&Url>) -> Result<Client, String> {
        let Some(url) = url else {
            return Err("its `api_base` is no URL".to_owned());
        };
        let kind = (url.scheme() == "https", outward::is_loopback(url));
        if let Some((_, client)) = self.0.iter().find(|(known, _)| *known == kind) {
            return client.clone();
        }
        let client = client(kind.0, kind.1);
        self.0.push((kind, client.clone()));
        client
    }
}

fn client(with_certificates: bool, is_loopback: bool) -> Result<Client, String> {
    outward::install_tls();
    let mut builder = Client::builder()
        .user_agent(concat!("mcp-bridged/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none());
    if !with_certificates {
        // Spares looking for certificates, which a small container may not have.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| failure::cause(&error))
}

impl Endpoint {
    pub(super) fn new(
        api_base: &str,
        key: Option<Secret>,
        model: Option<String>,
        clients: &mut Clients,
    ) -> Endpoint {
        let url = Url::parse(api_base).ok();
        let host = url.as_ref().and_then(|url| {
            let host = url.host_str()?;
            Some(match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            })
        });
        Endpoint {
            http: clients.of(url.as_ref()),
            api_base: api_base.to_owned(),
            key,
            model,
            host: host.unwrap_or_default(),
        }
    }

    /// Asks for a whole answer.
    pub(super) async fn answer(
        &self,
        who: &str,
        request: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let answer = self.answer_once(who, request).await;
        match answer
            .as_ref()
            .err()
            .and_then(|failure| limited_otherwise(&failure.error, request))
        {
            Some(request) => self.answer_once(who, &request).await,
            None => answer,
        }
    }

    /// Asks for a stream. A provider that gives a whole answer instead is taken at its word.
    pub(super) async fn stream(
        &self,
        who: &str,
        request: &Map<String, Value>,
    ) -> Result<Streamed, Failure> {
        let answer = self.stream_once(who, request).await;
        match answer
            .as_ref()
            .err()
            .and_then(|failure| limited_otherwise(&failure.error, request))
        {
            Some(request) => self.stream_once(who, &request).await,
            None => answer,
        }
    }

    async fn answer_once(
        &self,
        who: &str,
        request: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let body = body(request, self.model.as_deref(), Kind::Whole);
        let response = self.post(who, body).await?;
        self.whole(who, response).await
    }

    async fn stream_once(
        &self,
        who: &str,
        request: &Map<String, Value>,
    ) -> Result<Streamed, Failure> {
        let model = self.model.as_deref();
        let begun = self.post(who, body(request, model, Kind::StreamWithUsage));
        let begun = timeout(IDLE, begun)
            .await
            .unwrap_or_else(|_| Err(late(who)));
        let response = match begun {
            Err(failure) if refuses_stream_options(&failure.error) => {
                let again = self.post(who, body(request, model, Kind::Stream));
                timeout(IDLE, again)
                    .await
                    .unwrap_or_else(|_| Err(late(who)))?
            }
            begun => begun?,
        };
        match failure::media_type(response.headers()) {
            "application/json" => self.whole(who, response).await.map(Streamed::Whole),
            kind if kind.contains("html") => Err(page(who)),
            _ => Ok(Streamed::Begun(response)),
        }
    }

    /// The models that the provider lists, each as it describes it.
    pub(super) async fn list(&self, who: &str) -> Result<Vec<Map<String, Value>>, Failure> {
        let http = self.http(who)?;
        let request = http
            .get(format!("{}/models", self.api_base))
            .timeout(LIST_TIME);
        let response = self.send(who, request).await?;
        let bytes = read(who, response, LARGEST_LIST).await?;
        let list = match serde_json::from_slice(&bytes) {
            Ok(Value::Array(list)) => Some(list),
            Ok(Value::Object(mut object)) => match object.get_mut("data").map(Value::take) {
                Some(Value::Array(list)) => Some(list),
                _ => None,
            },
            _ => None,
        };
        let list = list.ok_or_else(|| failure::nonsense(who, "has no list at `/models`"))?;
        let models = list.into_iter().filter_map(super::regular::object);
        Ok(models
            .filter(|model| model.get("id").is_some_and(Value::is_string))
            .collect())
    }

    /// Host and port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Some providers repeat what they were sent, the key included.
    pub(super) fn without_key(&self, text: String) -> String {
        match &self.key {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "***"),
            _ => text,
        }
    }

    fn http(&self, who: &str) -> Result<&Client, Failure> {
        self.http.as_ref().map_err(|reason| {
            Failure::passing(ApiError::upstream(
                "upstream_unreachable",
                format!("failed to set up the HTTP client for {who}: {reason}"),
            ))
        })
    }

    async fn post(&self, who: &str, body: Vec<u8>) -> Result<Response, Failure> {
        let request = self
            .http(who)?
            .post(format!("{}/chat/completions", self.api_base))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(body);
        self.send(who, request).await
    }

    /// Sends a request; a response is a success.
    async fn send(&self, who: &str, mut request: RequestBuilder) -> Result<Response, Failure> {
        if let Some(key) = &self.key {
            let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", key.expose())) else {
                return Err(Failure::last(ApiError::upstream(
                    "upstream_key_refused",
                    format!(
                        "failed to ask {who}: the entry's `api_key` in `model_list` has a character that no header can have"
                    ),
                )));
            };
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let sent = request.send().await;
        let mut response = sent.map_err(|error| failure::unreachable(who, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = std::mem::take(response.headers_mut());
        // The status is the answer; its words are welcome.
        let body = timeout(LIST_TIME, start_of(response)).await;
        let body = self.without_key(body.unwrap_or_default());
        Err(failure::refused(who, status, &headers, &body))
    }

    async fn whole(&self, who: &str, response: Response) -> Result<Map<String, Value>, Failure> {
        if failure::media_type(response.headers()).contains("html") {
            return Err(page(who));
        }
        let bytes = read(who, response, LARGEST_ANSWER).await?;
        let answer = json::object(&bytes, json::ANSWER).map_err(|why| {
            failure::nonsense(who, &format!("gives an answer that can't be read: {why}"))
        })?;
        match answer.get("error") {
            Some(error) if !error.is_null() && !answer.contains_key("choices") => {
                Err(failure::error_in_success(&self.error(error)))
            }
            _ => Ok(answer),
        }
    }

    /// An error as it may be shown.
    pub(super) fn error(&self, error: &Value) -> Value {
        let text = self.without_key(failure::error_object(error).to_string());
        serde_json::from_str(&text)
            .unwrap_or_else(|_| json!({ "message": "the provider's error can't be shown" }))
    }
}

/// What a request for a stream is answered with.
#[derive(Debug)]
pub(super) enum Streamed {
    /// Events, as they come.
    Begun(Response),
    /// Everything at once.
    Whole(Map<String, Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    StreamWithUsage,
    /// For providers that don't know `stream_options`.
    Stream,
}

/// The request as the provider gets it: the client's, but for the model's name and what makes it a stream.
fn body(request: &Map<String, Value>, model: Option<&str>, kind: Kind) -> Vec<u8> {
    let mut options = match request.get("stream_options") {
        Some(Value::Object(options)) => options.clone(),
        _ => Map::new(),
    };
    options.insert("include_usage".to_owned(), true.into());
    let own = [
        ("model", model.map(Value::from)),
        ("stream", (kind != Kind::Whole).then_some(true.into())),
        (
            "stream_options",
            (kind == Kind::StreamWithUsage).then_some(options.into()),
        ),
    ];
    let is_own = |member: &str| match member {
        "model" => model.is_some(),
        _ => matches!(member, "stream" | "stream_options"),
    };
    let passed = request.iter().filter(|(member, _)| !is_own(member));
    let passed = passed.map(|(member, value)| (member.as_str(), value));
    let own = own
        .iter()
        .filter_map(|(member, value)| Some((*member, value.as_ref()?)));
    let mut text = Vec::new();
    serde_json::Serializer::new(&mut text)
        .collect_map(passed.chain(own))
        .expect("JSON values become JSON text in memory");
    text
}

fn refuses_stream_options(error: &ApiError) -> bool {
    error.status == StatusCode::BAD_REQUEST && error.object().to_string().contains("stream_options")
}

/// The request with its `max_tokens` called `max_completion_tokens`, where a provider refuses the one in favour of the other:
/// OpenAI's reasoning models know only that, most other providers only `max_tokens`.
fn limited_otherwise(error: &ApiError, request: &Map<String, Value>) -> Option<Map<String, Value>> {
    const OTHERWISE: &str = "max_completion_tokens";
    let refused = error.status == StatusCode::BAD_REQUEST
        && error.object().to_string().contains(OTHERWISE)
        && !request.contains_key(OTHERWISE);
    let limit = request.get("max_tokens").filter(|_| refused)?.clone();
    let mut request = request.clone();
    request.shift_remove("max_tokens");
    request.insert(OTHERWISE.to_owned(), limit);
    Some(request)
}

fn late(who: &str) -> Failure {
    Failure::passing(ApiError::upstream(
        "upstream_timeout",
        format!("{who} did not begin to answer within {IDLE:?}"),
    ))
}

fn page(who: &str) -> Failure {
    failure::nonsense(
        who,
        "answers with a web page; correct the entry's `api_base` in `model_list`",
    )
}

/// The whole body, at most `limit` bytes.
async fn read(who: &str, mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) if body.len() + bytes.len() <= limit => body.extend_from_slice(&bytes),
            Ok(Some(_)) => {
                let what = format!("answers with more than {} MiB", limit >> 20);
                return Err(failure::nonsense(who, &what));
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(failure::unreachable(who, &error)),
        }
    }
}

/// The start of a refusal, whatever becomes of the rest.
async fn start_of(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        let room = LARGEST_REFUSAL - body.len();
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if body.len() == LARGEST_REFUSAL {
            break;
        }
    }
    String::from_utf8_lossy(&Bytes::from(body)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: Value, model: Option<&str>, kind: Kind, want: &str) {
        let request = super::super::regular::object(request).unwrap();
        assert_eq!(
            String::from_utf8(body(&request, model, kind)).unwrap(),
            want
        );
    }

    #[test]
    fn requests_pass_but_for_the_model_and_the_stream() {
        let request = || json!({ "model": "m", "top_k": 1, "messages": [], "stream": false });
        check(
            request(),
            None,
            Kind::Whole,
            r#"{"model":"m","top_k":1,"messages":[]}"#,
        );
        check(
            request(),
            Some("x"),
            Kind::Whole,
            r#"{"top_k":1,"messages":[],"model":"x"}"#,
        );
        check(
            request(),
            None,
            Kind::StreamWithUsage,
            r#"{"model":"m","top_k":1,"messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
        );
        check(
            json!({ "model": "m", "stream_options": { "include_usage": false, "x": 1 } }),
            None,
            Kind::StreamWithUsage,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1}}"#,
        );
        check(
            json!({ "model": "m", "stream": true, "stream_options": {} }),
            None,
            Kind::Stream,
            r#"{"model":"m","stream":true}"#,
        );
        check(
            json!({ "model": "m", "stream": true, "stream_options": {} }),
            None,
            Kind::Whole,
            r#"{"model":"m"}"#,
        );
    }
}
