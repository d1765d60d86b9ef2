//! rmcp as a client of either era, with the steps and the facts of the scripts in `tests/clients`.

use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequestParams, ClientConfig, ClientResult, CustomResult, ErrorData,
    GetPromptRequestParams, ProtocolVersion, ReadResourceRequestParams, ServerNotification,
    ServerRequest, SubscribeRequestParams,
};
use rmcp::service::{
    NotificationContext, RequestContext, RoleClient, RunningService, Service, ServiceError,
    Subscription,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientLifecycleMode, ClientServiceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::play::Part;
use crate::harness::{until, within};

/// What rmcp hands over to the program that uses it.
#[derive(Debug)]
struct Client {
    part: Part,
    seen: Arc<Seen>,
    gate: Option<Arc<Gate>>,
}

/// Holds an elicitation back.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// It has come.
    pub(super) asked: Notify,
    /// It may be answered.
    pub(super) open: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    asked: Mutex<Vec<String>>,
    events: Mutex<Vec<String>>,
    progress: Mutex<Vec<Value>>,
}

type Running = RunningService<RoleClient, Client>;

/// Does the part's steps as a legacy client, and returns its facts.
pub(super) async fn play_legacy(url: &str, part: &Part) -> Value {
    Box::pin(play(url, part, ClientLifecycleMode::Initialize, None)).await
}

/// The same as a modern client.
pub(super) async fn play_modern(url: &str, part: &Part) -> Value {
    Box::pin(play(url, part, discover(), None)).await
}

/// The same as a modern client that answers an elicitation when the gate is opened.
pub(super) async fn play_through(url: &str, part: &Part, gate: Arc<Gate>) -> Value {
    Box::pin(play(url, part, discover(), Some(gate))).await
}

/// Unlike the one that is automatic, this doesn't fall back.
fn discover() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

async fn play(
    url: &str,
    part: &Part,
    lifecycle: ClientLifecycleMode,
    gate: Option<Arc<Gate>>,
) -> Value {
    // another test of this process may have been first
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let seen = Arc::<Seen>::default();
    let client = Client {
        part: part.clone(),
        seen: seen.clone(),
        gate,
    };
    let transport = StreamableHttpClientTransport::from_uri(url);
    let serving = client.serve_with_lifecycle(transport, lifecycle);
    let client = within("rmcp's start", serving).await.unwrap();
    let mut streams = JoinSet::new();
    let mut results = Vec::new();
    for step in part.steps.as_array().unwrap() {
        let done = within(step, take(step, &client, &seen, &mut streams)).await;
        results.push(done.unwrap_or_else(|error| json!({"exception": error.to_string()})));
    }
    let version = client.peer().peer_info().unwrap().protocol_version.clone();
    streams.shutdown().await;
    within("rmcp's end", client.cancel()).await.unwrap();
    json!({
        "version": version,
        "results": results,
        "events": *seen.events.lock().unwrap(),
        "asked": *seen.asked.lock().unwrap(),
    })
}

async fn take(
    step: &Value,
    client: &Running,
    seen: &Arc<Seen>,
    streams: &mut JoinSet<()>,
) -> Result<Value, ServiceError> {
    let (verb, what) = step.as_object().unwrap().iter().next().unwrap();
    let named = json!({"name": what, "arguments": step.get("arguments")});
    Ok(match verb.as_str() {
        "tools" => plain(client.list_all_tools().await?),
        "resources" => plain(client.list_all_resources().await?),
        "prompts" => plain(client.list_all_prompts().await?),
        "read" => {
            let uri = ReadResourceRequestParams::new(what.as_str().unwrap());
            plain(client.read_resource(uri).await?)
        }
        "prompt" => {
            let prompt: GetPromptRequestParams = params(&named);
            plain(client.get_prompt(prompt).await?)
        }
        "call" => call(client, params(&named), seen).await?,
        // rmcp cancels a request whose future is dropped
        "cancel" => tokio::select! {
            biased;
            done = call(client, params(&named), seen) => {
                done?;
                json!({"cancelled": false})
            }
            () = until("progress", async || seen.progress.lock().unwrap().first().map(|_| ())) => {
                json!({"cancelled": true})
            }
        },
        "listen" => {
            let stream = client.peer().listen(params(what)).await?;
            let honoured = plain(stream.acknowledged());
            streams.spawn(listen(stream, seen.clone()));
            honoured
        }
        "subscribe" => {
            #[expect(deprecated, reason = "older revisions know no other way")]
            client
                .peer()
                .subscribe(SubscribeRequestParams::new(what.as_str().unwrap()))
                .await?;
            json!({})
        }
        "expect" => {
            until(what, async || {
                let events = seen.events.lock().unwrap();
                events.iter().any(|event| event == what).then_some(())
            })
            .await;
            json!({})
        }
        _ => panic!("unknown step {step}"),
    })
}

async fn call(
    client: &Running,
    params: CallToolRequestParams,
    seen: &Seen,
) -> Result<Value, ServiceError> {
    seen.progress.lock().unwrap().clear();
    let mut result = plain(client.call_tool(params).await?);
    let parts = result["content"].as_array().unwrap().iter();
    let texts: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
    result["text"] = texts.join("\n").into();
    result["progress"] = json!(*seen.progress.lock().unwrap());
    Ok(result)
}

async fn listen(mut stream: Subscription, seen: Arc<Seen>) {
    while let Ok(Some(notification)) = stream.next().await {
        seen.note(&notification);
    }
}

impl Seen {
    fn note(&self, notification: &ServerNotification) {
        let notification = plain(notification);
        let method = notification["method"].as_str().unwrap();
        let params = &notification["params"];
        let event = match method {
            "notifications/progress" => {
                self.progress.lock().unwrap().push(params.clone());
                return;
            }
            "notifications/resources/updated" => {
                format!("{method} {}", params["uri"].as_str().unwrap())
            }
            _ => method.to_owned(),
        };
        self.events.lock().unwrap().push(event);
    }
}

impl Service<RoleClient> for Client {
    async fn handle_request(
        &self,
        request: ServerRequest,
        _context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        let request = plain(&request);
        let method = request["method"].as_str().unwrap();
        self.seen.asked.lock().unwrap().push(method.to_owned());
        let answer = match method {
            "elicitation/create" => {
                if let Some(gate) = &self.gate {
                    gate.asked.notify_one();
                    gate.open.notified().await;
                }
                let answer = match &self.part.content {
                    Some(content) => json!({"action": "accept", "content": content}),
                    None => json!({"action": "decline"}),
                };
                ClientResult::ElicitResult(params(&answer))
            }
            "sampling/createMessage" => ClientResult::CreateMessageResult(params(&json!({
                "role": "assistant",
                "content": {"type": "text", "text": "sampled by client-r."},
                "model": "none",
            }))),
            "roots/list" => {
                let root = json!({"uri": "file:///client-r.", "name": "client-r."});
                ClientResult::ListRootsResult(params(&json!({"roots": [root]})))
            }
            _ => ClientResult::CustomResult(CustomResult::new(json!({}))),
        };
        Ok(answer)
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        self.seen.note(&notification);
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let info = ClientConfig::new(
            params(&self.part.capabilities()),
            params(&json!({"name": "wire-test", "version": "3"})),
        );
        info.with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

fn plain(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn params<T: DeserializeOwned>(value: &Value) -> T {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(value).unwrap()
}
