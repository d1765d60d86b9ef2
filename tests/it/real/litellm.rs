//! LiteLLM's proxy in front of the gateway, and behind it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::process::{Child, Command};

use super::gateway::{Gateway, KEY, MODEL_KEY, PYTHON, Sdk, content, demo, messages, whole_stream};
use super::{Installed, PATIENCE, installed};
use crate::harness::GLANCE;
use crate::harness::http::{Request, attempt};
use crate::harness::model::{Model, Turn};

pub(super) const LITELLM: &str = "litellm/bin/litellm";

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub(super) struct LiteLlm {
    addr: SocketAddr,
    _process: Child,
}

impl LiteLlm {
    /// Serves at `addr` what `text` configures, with its files in `dir` and these variables beside the test's own.
    pub(super) async fn start(
        installed: &Installed,
        dir: &Path,
        addr: SocketAddr,
        key: &str,
        text: &str,
        env: &[(&str, &str)],
    ) -> Self {
        let config = dir.join("litellm.yaml");
        fs::write(&config, text).unwrap();
        let log = File::create(dir.join("litellm.log")).unwrap();
        let process = Command::new(installed.path(LITELLM))
            .arg("--config")
            .arg(config)
            .args(["--host", "127.0.0.1", "--telemetry", "False"])
            .args(["--port", &addr.port().to_string()])
            .env("LITELLM_MASTER_KEY", key)
            // else it asks the network for prices
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("NO_PROXY", "*")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let started = Self {
            addr,
            _process: process,
        };
        started.until_alive(&dir.join("litellm.log")).await;
        started
    }

    /// Waits until it answers: importing all of it takes a busy machine longer than anything else in these tests.
    async fn until_alive(&self, log: &Path) {
        let alive = async {
            loop {
                let request = Request::get("/health/liveliness");
                if attempt(self.addr, request)
                    .await
                    .is_some_and(|response| response.status() == 200)
                {
                    return;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        let finished = tokio::time::timeout(PATIENCE, alive).await;
        let log = || fs::read_to_string(log).unwrap();
        assert!(finished.is_ok(), "LiteLLM did not start: {}", log());
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.addr
    }

    fn url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }
}

#[tokio::test]
async fn litellm_works_in_front_of_the_gateway_and_behind_it() {
    let Some(installed) = installed(&[LITELLM, PYTHON]) else {
        return;
    };
    let model = Model::answering(|request| match messages(request, "tool").last() {
        None => Turn::calls(&[("demo-echo", json!({"message": "two legs"}))]),
        Some(result) => Turn::text(&format!("it has {}", content(result))),
    })
    .await;
    let addr = free_address();
    let key = random_key();
    let through = json!([{"model_name": "through", "api_base": format!("http://{addr}/v1"), "api_key": key, "model": "raw"}]);
    let raw = json!({"model": "openai/scripted", "api_base": model.url(), "api_key": MODEL_KEY});
    let gateway = Gateway::with_models(&demo(), model, through).await;
    let front = json!({"model": "openai/scripted", "api_base": gateway.url(), "api_key": KEY});
    let models = json!([
        {"model_name": "front", "litellm_params": front},
        {"model_name": "raw", "litellm_params": raw},
    ]);
    let dir = gateway.daemon.dir();
    let config = json!({"model_list": models}).to_string();
    let litellm = LiteLlm::start(&installed, dir, addr, &key, &config, &[]).await;

    for (url, key, name) in [
        (litellm.url(), key.as_str(), "front"),
        (gateway.url(), KEY, "through"),
    ] {
        let sdk = Sdk::new(&installed, &url, key);
        let messages = json!([{"role": "user", "content": "Look!"}]);
        let chat =
            json!({"model": name, "messages": messages, "stream_options": {"include_usage": true}});
        let facts = sdk.one("chat-stream", &chat).await;
        let text: String = facts["chunks"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, "it has two legs", "{name}: {facts}");
        if name == "through" {
            let (_, usage) = whole_stream(facts["chunks"].as_array().unwrap());
            assert_eq!(usage["total_tokens"], 30, "{facts}");
        }
        let chat = json!({"model": name, "messages": messages});
        let facts = sdk.one("chat", &chat).await;
        let completion = &facts["completion"];
        assert_eq!(
            completion["choices"][0]["message"]["content"], "it has two legs",
            "{name}: {facts}"
        );
        assert_eq!(completion["choices"][0]["finish_reason"], "stop");
        assert_eq!(completion["usage"]["total_tokens"], 30, "{facts}");
        let response = json!({"model": name, "input": "Look!"});
        for mode in ["responses", "responses-stream"] {
            let facts = sdk.one(mode, &response).await;
            assert_eq!(
                facts["output_text"], "it has two legs",
                "{name} {mode}: {facts}"
            );
            let output = facts["response"]["output"].as_array().unwrap();
            assert!(
                output.iter().any(|item| item["type"] == "mcp_call"),
                "{facts}"
            );
        }
    }
}

/// A proxy that others can reach must not have a key that they can read here.
pub(super) fn random_key() -> String {
    let mut random = [0; 24];
    getrandom::fill(&mut random).unwrap();
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sk-{digits}")
}

/// An address of this machine that nobody listens at: free a moment ago, and nobody else binds ports in this range on purpose.
pub(super) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
