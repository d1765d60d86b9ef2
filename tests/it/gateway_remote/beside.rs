//! A remote server, `away`, beside a bridge, `near`: for clients they are one server.

use serde_json::json;

use crate::harness::behind::{call, names, text};
use crate::harness::fake::entry;
use crate::harness::http::exchange;
use crate::harness::{Behind, Fake, Request, Streamable, fake};

const KEYS: &str = "isolation: shared\napi_keys: [first-hidden, second-hidden]";

/// A bridge that wants a key.
async fn far() -> Fake {
    let fake = fake::fake(KEYS, &["--scheme", "far"]).await;
    fake.ready().await;
    fake
}

/// The remote server `away`, also called `far`.
fn away(far: &Fake, transport: &str) -> String {
    let path = if transport == "sse" { "sse" } else { "mcp" };
    let url = format!("http://{}/{path}", far.addr());
    format!(
        "  away:\n    aliases: [far]\n    url: {url}\n    transport: {transport}\n    auth_type: bearer_token\n    auth_value: first-hidden\n"
    )
}

async fn behind(far: &Fake, transport: &str) -> Behind {
    let bridges = [
        entry("near", "", &["--scheme", "near"]),
        away(far, transport),
    ];
    Behind::start("", &bridges).await
}

#[tokio::test]
async fn a_remote_server_is_one_of_all() {
    for transport in ["http", "sse"] {
        let far = far().await;
        let all = behind(&far, transport).await;
        let mut client = all.sse(&json!({})).await;
        let tools = client.request("tools/list", &json!({})).await;
        let tools = names(&tools["result"]["tools"]);
        assert!(
            tools.contains(&"near-echo") && tools.contains(&"away-echo"),
            "{tools:?}"
        );
        for tool in ["away-echo", "far-echo"] {
            let answer = client.call(tool, &json!({"transport": transport})).await;
            let params = &answer["result"]["params"];
            assert_eq!(params["name"], "echo", "{transport}: {answer}");
            assert_eq!(params["arguments"]["transport"], transport);
        }
        let progress = call("away-progress", json!({"n": 2}));
        let id = client
            .start_call("away-progress", &progress["arguments"], &json!("own"))
            .await;
        assert_eq!(text(&client.answer(id).await), "done", "{transport}");
        let seen = client.seen();
        let tokens: Vec<_> = seen
            .iter()
            .map(|it| &it["params"]["progressToken"])
            .collect();
        assert_eq!(tokens, ["own", "own"], "{transport}");
        let answer = client
            .request("resources/read", &json!({"uri": "far://a"}))
            .await;
        assert_eq!(answer["result"]["contents"][0]["text"], "about far://a");
        let answer = client
            .call("away-fail", &json!({"code": -5, "message": "so"}))
            .await;
        assert_eq!(answer["error"]["code"], -5, "{answer}");
        let answer = client
            .request("resources/subscribe", &json!({"uri": "far://a"}))
            .await;
        assert_eq!(answer["result"], json!({}), "{answer}");
        client.call("away-update", &json!({"uri": "far://a"})).await;
        let updated = client.next().await;
        assert_eq!(updated["params"]["uri"], "far://a", "{updated}");
        let held = client
            .start("tools/call", &call("away-hold", json!({"key": "k"})))
            .await;
        far.recorded("\"hold\"").await;
        client
            .notify("notifications/cancelled", &json!({"requestId": held}))
            .await;
        far.recorded("notifications/cancelled").await;
        assert!(!all.log().contains("hidden"));
    }
}

#[tokio::test]
async fn a_clients_own_header_goes_to_that_server_alone() {
    let far = far().await;
    let all = behind(&far, "http").await;
    for (value, good) in [
        ("Bearer second-hidden", true),
        ("Bearer wrong-hidden", false),
    ] {
        let mut client = Streamable::new(all.addr());
        let header = ("x-mcp-far-authorization".to_owned(), value.to_owned());
        client.headers = vec![header];
        client.initialize("2025-11-25", &json!({})).await;
        let answer = client.call("away-echo", &json!({})).await;
        assert_eq!(answer["result"].is_object(), good, "{answer}");
        assert!(!answer.to_string().contains("hidden"), "{answer}");
        assert!(client.call("near-echo", &json!({})).await["result"].is_object());
    }
    let mut other = all.streamable(&json!({})).await;
    assert!(other.call("away-echo", &json!({})).await["result"].is_object());
    assert!(!all.log().contains("hidden"));
}

#[tokio::test]
async fn a_remote_server_that_goes_leaves_with_a_note() {
    let mut far = far().await;
    let all = behind(&far, "http").await;
    let mut client = all.streamable(&json!({})).await;
    assert!(client.call("away-echo", &json!({})).await["result"].is_object());
    assert_eq!(far.stop().await, Some(0));
    let answer = client.call("away-echo", &json!({})).await;
    assert!(answer["error"].is_object(), "{answer}");
    let note = all.until_noted("away", |note| !note.is_null()).await;
    assert!(note.as_str().unwrap().contains("away"), "{note}");
    let answer = client.call("away-echo", &json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("away"), "{message}");
    let tools = client.request("tools/list", &json!({})).await;
    let tools = names(&tools["result"]["tools"]);
    assert!(
        tools.iter().all(|tool| tool.starts_with("near-")),
        "{tools:?}"
    );
    assert!(client.call("near-echo", &json!({})).await["result"].is_object());
    let health = exchange(all.addr(), Request::get("/health")).await;
    assert_eq!(health.status(), 200);
}
