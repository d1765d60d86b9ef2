//! Remote servers that are not there, or not any more, and that come and go.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{BOTH, Pair, bridge, catalogue, far, gateway, remote};
use crate::harness::behind::{config, text};
use crate::harness::chats::{self, Way};
use crate::harness::fake::entry;
use crate::harness::{Behind, until, within};

/// Whether a note says why a server is not there.
fn is_reason(note: &Value) -> bool {
    note.as_str().is_some_and(|note| note != "starting")
}

#[tokio::test]
async fn a_remote_server_that_stops_leaves_and_comes_back() {
    let mut pair = Pair::start().await;
    let all = catalogue(&pair.near).await;
    let mut client = pair.sse().await;
    // one that waits when it happens
    let (addr, turns) = (
        pair.near.addr(),
        json!([{"calls": [["web-hold", {"key": "k"}], ["old-hold", {"key": "k"}]]}]),
    );
    let mut chat = JoinSet::new();
    chat.spawn(async move { chats::ask(addr, Way::ChatStream, &turns).await });
    let mut ports = Vec::new();
    for name in BOTH {
        pair.far.until_received(name, "tools/call", 1).await;
        ports.push(pair.far.bridge(name).port());
    }
    pair.far.signal(nix::sys::signal::Signal::SIGKILL);
    pair.far.exit().await;
    let outcome = within("the chat", chat.join_next()).await.unwrap().unwrap();
    for (name, result) in BOTH.into_iter().zip(outcome.results()) {
        assert!(
            result.contains(&format!("the remote server {name}")),
            "{result}"
        );
        let note = pair.near.until_noted(name, is_reason).await;
        assert!(
            note.as_str()
                .unwrap()
                .contains(&format!("the remote server {name}")),
            "{note}"
        );
    }
    assert!(catalogue(&pair.near).await.is_empty());
    let answer = client.call("web-echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");

    let bridges: Vec<_> = BOTH
        .iter()
        .zip(ports)
        .map(|(name, port)| bridge(name).replace("port: 0", &format!("port: {port}")))
        .collect();
    pair.far = Behind::start("", &bridges).await;
    for name in BOTH {
        pair.near.until_noted(name, |note| note.is_null()).await;
        assert!(client.call(&format!("{name}-echo"), &json!({})).await["result"].is_object());
    }
    assert_eq!(catalogue(&pair.near).await, all);
    let told = client.seen();
    assert!(
        told.iter()
            .any(|message| message["method"] == "notifications/tools/list_changed"),
        "{told:?}"
    );
    let turns = json!([{"calls": [["web-echo", {}], ["old-echo", {}]]}]);
    let results = chats::ask(addr, Way::Chat, &turns).await.results();
    assert!(
        results.iter().all(|result| result.contains("tools/call")),
        "{results:?}"
    );
}

#[tokio::test]
async fn an_orderly_stop_is_noticed_and_subscriptions_come_back() {
    let mut pair = Pair::start().await;
    let mut client = pair.sse().await;
    let mut bridges = Vec::new();
    for name in BOTH {
        client
            .request(
                "resources/subscribe",
                &json!({"uri": format!("{name}://a")}),
            )
            .await;
        let port = pair.far.bridge(name).port();
        bridges.push(bridge(name).replace("port: 0", &format!("port: {port}")));
    }
    assert_eq!(pair.far.stop().await, Some(0));
    for name in BOTH {
        pair.near.until_noted(name, is_reason).await;
    }
    pair.far = Behind::start("", &bridges).await;
    for name in BOTH {
        let asked = pair
            .far
            .until_received(name, "resources/subscribe", 1)
            .await;
        assert_eq!(asked["params"]["uri"], format!("{name}://a"));
        pair.near.until_noted(name, |note| note.is_null()).await;
        client.seen();
        let uri = json!({"uri": format!("{name}://a")});
        client.call(&format!("{name}-update"), &uri).await;
        loop {
            let news = client.next().await;
            if news["method"] == "notifications/resources/updated" {
                assert_eq!(news["params"], uri);
                break;
            }
        }
    }
}

#[tokio::test]
async fn credentials_are_sent_and_their_refusal_is_noted() {
    let guarded = |name| entry(name, "api_keys: [right-key]", &[]);
    let far = Behind::start("", &BOTH.map(guarded)).await;
    let with = |name: &str, key: &str| {
        remote(
            name,
            far.bridge(name),
            &format!("auth_type: bearer_token\nauth_value: {key}"),
        )
    };
    for wrong in BOTH {
        let servers = BOTH.map(|name| {
            with(
                name,
                if name == wrong {
                    "wrong-key"
                } else {
                    "right-key"
                },
            )
        });
        let near = Behind::begin("", &servers).await;
        let note = near.until_noted(wrong, is_reason).await;
        let words = "refused our credentials (HTTP 401): check auth_type and auth_value";
        assert_eq!(note, format!("the remote server {wrong} {words}"));
        let right = if wrong == "web" { "old" } else { "web" };
        near.until_noted(right, |note| note.is_null()).await;
        let listed = catalogue(&near).await;
        assert!(
            !listed.is_empty() && listed.iter().all(|tool| tool.starts_with(right)),
            "{listed:?}"
        );
        let log = near.log();
        assert!(log.contains("check auth_type") && !log.contains("-key"));
        // a file with the right key is taken up at once
        near.reload(&config("", &BOTH.map(|name| with(name, "right-key"))));
        near.until_noted(wrong, |note| note.is_null()).await;
    }
}

#[tokio::test]
async fn what_was_never_there_is_named() {
    let far = far().await;
    let addr = far.bridge("web");
    let nowhere = remote("nowhere", "127.0.0.1:9".parse().unwrap(), "");
    // each by the other's transport
    let crossed = remote("old", addr, "").replace("/sse\n", "/mcp\n");
    let other_way = remote("swapped", addr, "").replace("/mcp\n", "/sse\n");
    let missing = remote("missing", addr, "").replace("/mcp\n", "/other\n");
    let near = Behind::begin(
        "",
        &[
            nowhere,
            crossed,
            other_way,
            missing,
            remote("web", addr, ""),
        ],
    )
    .await;
    near.until_noted("web", |note| note.is_null()).await;
    for (name, why) in [
        ("nowhere", "cannot be reached at http://127.0.0.1:9/mcp"),
        ("old", "gives no event stream: a session is needed"),
        ("swapped", "answered HTTP 405: check url, and transport"),
        ("missing", "answered HTTP 404: check url"),
    ] {
        let note = near.until_noted(name, is_reason).await;
        assert!(note.as_str().unwrap().contains(why), "{note}");
    }
    near.until_logged("\n  gateway: ").await;
    assert!(near.log().contains("; missing: "), "{}", near.log());
    assert!(
        catalogue(&near)
            .await
            .iter()
            .all(|tool| tool.starts_with("web-"))
    );
}

#[tokio::test]
async fn a_reload_adds_and_removes_remote_servers() {
    let far = far().await;
    let model = chats::obedient().await;
    let settings = gateway(&model);
    let [web, old] = BOTH.map(|name| remote(name, far.bridge(name), ""));
    let near = Behind::start(&settings, std::slice::from_ref(&web)).await;
    let addr = near.addr();
    let mut client = near.sse(&json!({})).await;
    assert!(
        catalogue(&near)
            .await
            .iter()
            .all(|tool| tool.starts_with("web-"))
    );
    // a chat that is under way on a server that stays
    let turns = json!([{"calls": [["web-hold", {"key": "k"}]]}, {"calls": [["old-echo", {}]]}]);
    let mut chat = JoinSet::new();
    chat.spawn(async move { chats::ask(addr, Way::Responses, &turns).await });
    far.until_received("web", "tools/call", 1).await;

    near.reload(&config(&settings, &[web.clone(), old.clone()]));
    until("the other's tools", async || {
        catalogue(&near)
            .await
            .iter()
            .any(|tool| tool == "old-echo")
            .then_some(())
    })
    .await;
    assert!(client.call("old-echo", &json!({})).await["result"].is_object());
    client.call("web-release", &json!({"key": "k"})).await;
    let results = within("the chat", chat.join_next())
        .await
        .unwrap()
        .unwrap()
        .results();
    assert_eq!(results[0], "released");
    // connected once: it was not touched
    assert_eq!(near.log().matches("remote server is ready").count(), 2);

    let renamed = web.replace("  web:\n", "  site:\n    aliases: [web]\n");
    near.reload(&config(&settings, &[renamed]));
    until("the new name", async || {
        let listed = catalogue(&near).await;
        (!listed.is_empty() && listed.iter().all(|tool| tool.starts_with("site-"))).then_some(())
    })
    .await;
    for tool in ["site-echo", "web-echo"] {
        assert!(client.call(tool, &json!({})).await["result"].is_object());
    }
    let answer = client.call("old-echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let results = chats::ask(
        addr,
        Way::Chat,
        &json!([{"calls": [["site-echo", {}], ["old-echo", {}]]}]),
    )
    .await
    .results();
    assert!(
        results[0].contains("tools/call") && results[1].contains("old-echo"),
        "{results:?}"
    );
}

#[tokio::test]
async fn calls_of_remote_servers_finish_when_the_daemon_stops() {
    let mut pair = Pair::start().await;
    let file = pair.far.path("go");
    let mut calls = JoinSet::new();
    for name in BOTH {
        let mut client = pair.near.streamable(&json!({})).await;
        let (tool, hold) = (format!("{name}-hold"), json!({"file": file}));
        calls.spawn(async move { client.call(&tool, &hold).await });
        pair.far.until_received(name, "tools/call", 1).await;
    }
    pair.near.signal(nix::sys::signal::Signal::SIGTERM);
    pair.near
        .until_logged("stopping: calls in flight may finish")
        .await;
    std::fs::write(file, "").unwrap();
    while let Some(answer) = within("a call", calls.join_next()).await {
        assert_eq!(text(&answer.unwrap()), "released");
    }
    assert_eq!(pair.near.exit().await.code(), Some(0));
}

#[tokio::test]
async fn chats_on_remote_servers_finish_when_the_daemon_stops() {
    let mut pair = Pair::start().await;
    let file = pair.far.path("go");
    let turns = json!([
        {"calls": [["web-hold", {"file": file}], ["old-hold", {"file": file}]]},
        {"calls": [["web-echo", {}], ["old-echo", {}]]},
    ]);
    let mut chats = JoinSet::new();
    for way in Way::ALL {
        let (addr, turns) = (pair.near.addr(), turns.clone());
        chats.spawn(async move { chats::ask(addr, way, &turns).await });
    }
    for name in BOTH {
        pair.far.until_received(name, "tools/call", 4).await;
    }
    pair.near.signal(nix::sys::signal::Signal::SIGTERM);
    pair.near
        .until_logged("stopping: calls in flight may finish")
        .await;
    std::fs::write(file, "").unwrap();
    while let Some(outcome) = within("a chat", chats.join_next()).await {
        let results = outcome.unwrap().results();
        assert_eq!(results[..2], ["released", "released"]);
        assert!(
            results[2].contains("tools/call") && results[3].contains("tools/call"),
            "{results:?}"
        );
    }
    assert_eq!(pair.near.exit().await.code(), Some(0));
}
