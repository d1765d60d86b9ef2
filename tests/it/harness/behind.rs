//! A daemon whose gateway stands before bridges to the scriptable server.
//!
//! ```ignore
//! let all = Behind::start("", &[entry("one", "", &[]), entry("two", "", &["--tools", "3"])]).await;
//! let mut client = all.streamable(&json!({})).await;
//! client.call("two-echo", &json!({})).await;
//! assert_eq!(all.received("two", "tools/call").len(), 1);
//! ```

use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use super::http::{Request, Response, exchange};
use super::{Daemon, Sse, Streamable, until};

/// The daemon, and what the servers behind its gateway have recorded.
#[derive(Debug)]
pub(crate) struct Behind {
    daemon: Daemon,
}

/// A configuration with these lines in its `gateway` section, over bridges made by [`super::fake::entry`].
pub(crate) fn config(gateway: &str, bridges: &[String]) -> String {
    let mut config = "admin: { port: 0 }\ngateway:\n  port: 0\n".to_owned();
    for line in gateway.lines() {
        config.push_str(&format!("  {line}\n"));
    }
    config + "bridges:\n" + &bridges.concat()
}

impl Behind {
    /// Starts it, and waits until the gateway knows every server's tools.
    pub(crate) async fn start(gateway: &str, bridges: &[String]) -> Self {
        let all = Self::begin(gateway, bridges).await;
        until("all servers to be listed", async || {
            let servers = all.standing().await;
            let mut servers = servers.as_array().unwrap().iter();
            servers.all(|it| it["note"].is_null()).then_some(())
        })
        .await;
        all
    }

    /// Starts it; servers may not be there yet.
    pub(crate) async fn begin(gateway: &str, bridges: &[String]) -> Self {
        let daemon = Daemon::start(&config(gateway, bridges)).await;
        Self { daemon }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.daemon.gateway()
    }

    /// One request to the gateway.
    pub(crate) async fn ask(&self, request: Request) -> Response {
        exchange(self.addr(), request).await
    }

    /// How the gateway's `/health` says its servers stand.
    pub(crate) async fn standing(&self) -> Value {
        let health = self.ask(Request::get("/health")).await;
        health.json()["servers"].clone()
    }

    /// Waits until the note of a server is as wanted; returns it.
    pub(crate) async fn until_noted(&self, server: &str, wanted: fn(&Value) -> bool) -> Value {
        until(format!("a note of {server}"), async || {
            let standing = self.standing().await;
            let mut servers = standing.as_array().unwrap().iter();
            let note = servers.find(|it| it["name"] == server)?["note"].clone();
            wanted(&note).then_some(note)
        })
        .await
    }

    /// An initialised HTTP+SSE client of the gateway.
    pub(crate) async fn sse(&self, capabilities: &Value) -> Sse {
        let mut client = Sse::connect(self.addr()).await;
        client.initialize(capabilities).await;
        client
    }

    /// An initialised Streamable HTTP client of the gateway.
    pub(crate) async fn streamable(&self, capabilities: &Value) -> Streamable {
        Streamable::open(self.addr(), capabilities).await
    }

    /// Every message that a server has received with this method, in all its lives.
    pub(crate) fn received(&self, server: &str, method: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(&format!("{server}.record"))).unwrap_or_default();
        let messages = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok());
        messages
            .filter(|message: &Value| message["method"] == method)
            .collect()
    }

    /// Waits for the nth message (from 1) that a server receives with this method.
    pub(crate) async fn until_received(&self, server: &str, method: &str, nth: usize) -> Value {
        until(format!("{method} number {nth} at {server}"), async || {
            self.received(server, method).into_iter().nth(nth - 1)
        })
        .await
    }
}

/// The names in a list of the gateway.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter().map(|it| it["name"].as_str().unwrap()).collect()
}

/// The text of a tool's result.
pub(crate) fn text(answer: &Value) -> &str {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text in {answer}"))
}

/// A call's params.
pub(crate) fn call(tool: &str, arguments: Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

impl Deref for Behind {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Behind {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
