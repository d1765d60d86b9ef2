//! Remote servers behind the gateway: bridges of a second daemon, by Streamable HTTP (`web`) and by HTTP+SSE (`old`).

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::behind::{call, names, text};
use crate::harness::chats::{self, Way};
use crate::harness::fake::entry;
use crate::harness::model::Model;
use crate::harness::{Behind, Request, Sse, until};

mod absence;
mod beside;
mod headers;

/// The names of both, on either side.
const BOTH: [&str; 2] = ["web", "old"];

/// A gateway, and behind it the daemon that has its servers.
struct Pair {
    near: Behind,
    far: Behind,
    model: Model,
}

impl Pair {
    async fn start() -> Self {
        let far = far().await;
        let servers = BOTH.map(|name| remote(name, far.bridge(name), ""));
        Self::of(far, &servers).await
    }

    /// A gateway over these servers, before an obedient model.
    async fn of(far: Behind, servers: &[String]) -> Self {
        let model = chats::obedient().await;
        let near = Behind::start(&gateway(&model), servers).await;
        Self { near, far, model }
    }

    async fn sse(&self) -> Sse {
        self.near.sse(&json!({})).await
    }
}

/// A daemon with both bridges.
async fn far() -> Behind {
    Behind::start("", &BOTH.map(bridge)).await
}

fn bridge(name: &str) -> String {
    entry(name, "", &["--scheme", name])
}

/// The lines below `gateway:` that make this the model `m`.
fn gateway(model: &Model) -> String {
    let url = json!(model.url());
    format!("model_list:\n  - {{ model_name: m, api_base: {url} }}")
}

/// One entry below `bridges:` for the bridge at this address; one called `old` is spoken with by HTTP+SSE.
fn remote(name: &str, addr: SocketAddr, extra: &str) -> String {
    let (path, transport) = if name == "old" {
        ("sse", "sse")
    } else {
        ("mcp", "http")
    };
    let mut entry =
        format!("  {name}:\n    url: http://{addr}/{path}\n    transport: {transport}\n");
    for line in extra.lines() {
        entry.push_str(&format!("    {line}\n"));
    }
    entry
}

/// The names of the catalogue.
async fn catalogue(near: &Behind) -> Vec<String> {
    let request = Request::get("/mcp/tools").header("accept", "application/json");
    let tools = near.ask(request).await.json();
    let names = names(&tools["tools"]).into_iter();
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn tools_of_remote_servers_are_listed_and_executed() {
    let pair = Pair::start().await;
    let listed = catalogue(&pair.near).await;
    for name in ["web-echo", "old-echo", "web-state", "old-state"] {
        assert!(
            listed.iter().any(|tool| tool == name),
            "{name} in {listed:?}"
        );
    }
    let mut sse = pair.sse().await;
    let mut streamable = pair.near.streamable(&json!({})).await;
    for name in BOTH {
        let tool = format!("{name}-echo");
        let arguments =
            json!({"big": 12_345_678_901_234_567_890_u64, "text": "ü\u{2028}", "null": null});
        for answer in [
            sse.call(&tool, &arguments).await,
            streamable.call(&tool, &arguments).await,
        ] {
            let params = &answer["result"]["params"];
            assert_eq!(
                (&params["name"], &params["arguments"]),
                (&json!("echo"), &arguments)
            );
        }
    }
    for (n, way) in Way::ALL.into_iter().enumerate() {
        let turns = json!([{"calls": [["web-echo", {"n": n}], ["old-echo", {"n": n}], ["web-fail", {"message": "no luck"}]]}]);
        let results = chats::ask(pair.near.addr(), way, &turns).await.results();
        for result in &results[..2] {
            assert!(
                result.contains(&format!(r#""arguments":{{"n":{n}}}"#)),
                "{results:?}"
            );
        }
        assert!(results[2].contains("no luck"), "{results:?}");
    }
    let offered = &pair.model.requests()[0].body["tools"];
    assert_eq!(offered.as_array().unwrap().len(), listed.len());
}

#[tokio::test]
async fn progress_comes_and_cancellation_arrives() {
    let pair = Pair::start().await;
    let mut client = pair.sse().await;
    for name in BOTH {
        let tool = format!("{name}-progress");
        let id = client
            .start_call(&tool, &json!({"n": 3}), &json!("mine"))
            .await;
        assert_eq!(text(&client.answer(id).await), "done");
        let steps: Vec<Value> = client
            .seen()
            .into_iter()
            .map(|message| {
                assert_eq!(message["params"]["progressToken"], "mine", "{message}");
                message["params"]["progress"].clone()
            })
            .collect();
        assert_eq!(steps, [1, 2, 3]);

        let held = call(&format!("{name}-hold"), json!({"key": "k"}));
        let id = client.start("tools/call", &held).await;
        let there = pair.far.until_received(name, "tools/call", 2).await;
        client
            .notify("notifications/cancelled", &json!({"requestId": id}))
            .await;
        let cancelled = pair
            .far
            .until_received(name, "notifications/cancelled", 1)
            .await;
        assert_eq!(cancelled["params"]["requestId"], there["id"]);

        // a client that leaves cancels, too
        let mut leaves = pair.sse().await;
        leaves.start("tools/call", &held).await;
        pair.far.until_received(name, "tools/call", 3).await;
        drop(leaves);
        pair.far
            .until_received(name, "notifications/cancelled", 2)
            .await;
        assert_eq!(
            text(&client.call(&format!("{name}-sleep"), &json!({})).await),
            "slept"
        );
    }
}

#[tokio::test]
async fn a_chat_that_is_left_cancels_its_calls_at_both() {
    let pair = Pair::start().await;
    let calls = json!([{"calls": [["web-hold", {"key": "k"}], ["old-hold", {"key": "k"}]]}]);
    for (n, way) in Way::ALL.into_iter().enumerate() {
        let (addr, turns) = (pair.near.addr(), calls.clone());
        let mut chat = tokio::task::JoinSet::new();
        chat.spawn(async move { chats::ask(addr, way, &turns).await });
        for name in BOTH {
            pair.far.until_received(name, "tools/call", n + 1).await;
        }
        drop(chat);
        for name in BOTH {
            pair.far
                .until_received(name, "notifications/cancelled", n + 1)
                .await;
        }
    }
}

#[tokio::test]
async fn resources_are_read_and_subscribed_to_where_they_are() {
    let pair = Pair::start().await;
    let (mut one, mut other) = (pair.sse().await, pair.sse().await);
    for name in BOTH {
        let uri = json!({"uri": format!("{name}://a")});
        let read = one.request("resources/read", &uri).await;
        assert_eq!(read["result"]["contents"][0]["uri"], uri["uri"], "{read}");
        let answer = one.request("resources/subscribe", &uri).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
        pair.far
            .until_received(name, "resources/subscribe", 1)
            .await;
        other.call(&format!("{name}-update"), &uri).await;
        let news = one.next().await;
        assert_eq!(
            (&news["method"], &news["params"]),
            (&json!("notifications/resources/updated"), &uri)
        );
        one.request("resources/unsubscribe", &uri).await;
        pair.far
            .until_received(name, "resources/unsubscribe", 1)
            .await;
        let prompt = one
            .request(
                "prompts/get",
                &call(&format!("{name}-echo"), json!({"a": "b"})),
            )
            .await;
        assert!(prompt["result"].is_object(), "{prompt}");
    }
    other.call("web-echo", &json!({})).await;
    assert_eq!(other.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn errors_of_a_remote_server_come_as_they_are() {
    let pair = Pair::start().await;
    let mut client = pair.sse().await;
    for name in BOTH {
        let fails = json!({"code": -32042, "message": "out of luck"});
        let answer = client.call(&format!("{name}-fail"), &fails).await;
        assert_eq!(
            (&answer["error"]["code"], &answer["error"]["message"]),
            (&json!(-32042), &json!("out of luck"))
        );
        let answer = client.call(&format!("{name}-nothing"), &json!({})).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        // the server's death is an error of the far bridge's
        let answer = client
            .call(&format!("{name}-crash"), &json!({"code": 3}))
            .await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("exit code 3"), "{answer}");
        pair.far.until_ready(name).await;
        until("the tool after a restart", async || {
            let answer = client.call(&format!("{name}-sleep"), &json!({})).await;
            answer["result"].is_object().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_changed_list_of_a_remote_server_is_told() {
    let pair = Pair::start().await;
    let mut client = pair.sse().await;
    for name in BOTH {
        client
            .call(&format!("{name}-list_changed"), &json!({"add": "fresh"}))
            .await;
        let fresh = format!("{name}-fresh");
        while !catalogue(&pair.near).await.contains(&fresh) {
            assert_eq!(
                client.next().await["method"],
                "notifications/tools/list_changed"
            );
        }
        assert!(client.call(&fresh, &json!({})).await["result"].is_object());
    }
}

#[tokio::test]
async fn filters_and_aliases_of_a_remote_server_hold() {
    let far = far().await;
    let web = remote(
        "web",
        far.bridge("web"),
        "aliases: [w, the_web]\ntools: { allow: ['e*'], deny: [emit] }",
    );
    let old = remote(
        "old",
        far.bridge("old"),
        "tools: { deny: ['[!s]*'] }\ndescription: The old one",
    );
    let pair = Pair::of(far, &[web, old]).await;
    assert_eq!(
        catalogue(&pair.near).await,
        [
            "web-echo",
            "old-sleep",
            "old-stderr",
            "old-spawn",
            "old-state"
        ]
    );
    let mut client = pair.sse().await;
    for alias in ["w-echo", "the_web-echo"] {
        assert!(client.call(alias, &json!({})).await["result"].is_object());
    }
    for hidden in ["web-emit", "w-emit", "web-hold", "old-echo"] {
        let answer = client.call(hidden, &json!({})).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert_eq!(pair.far.received("web", "tools/call").len(), 2);
    let request = Way::Chat
        .request(&json!([{"calls": [["web-emit", {}], ["web-echo", {}], ["old-sleep", {}]]}]));
    let request = request.header("x-mcp-servers", "the_web");
    let results = chats::send(pair.near.addr(), Way::Chat, request)
        .await
        .results();
    assert!(results[1].contains("tools/call"), "{results:?}");
    assert_ne!(results[2], "slept");
    assert_eq!(pair.far.received("web", "tools/call").len(), 3);
    assert!(pair.far.received("old", "tools/call").is_empty());
}
