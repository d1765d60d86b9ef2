//! Denied tools are in no list and can't be called; nothing else changes.

use serde_json::{Value, json};

use crate::harness::raw::raw_at;
use crate::harness::{Raw, Request, fake, http};

const TOOLS: &str =
    "isolation: shared\ntools: { allow: [\"tool_*\", \"e*\"], deny: [\"tool_1*\", emit] }";

fn names(tools: &Value) -> Vec<&str> {
    let tools = tools.as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_filtered_list_has_the_rest_byte_for_byte() {
    let said = r#"{"tools":[{"name":"tool_1","x":1.0}, {"name":"\u0065cho" , "big":12345678901234567890,"s":"\ud800"},{"name":"emit"},{"title":"no name"},{"name":7},{"inputSchema":{"name":"emit"},"name":"tool_2"} ],"nextCursor":"1e400","z":1e400}"#;
    let left = r#"{"tools":[{"name":"\u0065cho" , "big":12345678901234567890,"s":"\ud800"},{"inputSchema":{"name":"emit"},"name":"tool_2"}],"nextCursor":"1e400","z":1e400}"#;
    let open = fake::fake("isolation: shared", &["--tools-result", said]).await;
    let filtered = fake::fake(TOOLS, &["--tools-result", said]).await;
    for (fake, expected) in [(&open, said), (&filtered, left)] {
        for mut client in Raw::both(fake).await {
            let answer = client
                .answer(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#)
                .await;
            assert_eq!(
                answer,
                format!(r#"{{"jsonrpc":"2.0","id":"l","result":{expected}}}"#)
            );
        }
    }
}

#[tokio::test]
async fn every_page_is_filtered() {
    let fake = fake::fake(TOOLS, &["--tools", "25", "--page", "10"]).await;
    let mut client = fake.streamable().await;
    let mut found = Vec::new();
    let mut cursor = json!({});
    loop {
        let answer = client.request("tools/list", &cursor).await;
        found.extend(
            names(&answer["result"]["tools"])
                .into_iter()
                .map(str::to_owned),
        );
        let Some(next) = answer["result"]["nextCursor"].as_str() else {
            break;
        };
        cursor = json!({"cursor": next});
    }
    let expected: Vec<_> = (0..25)
        .map(|n| format!("tool_{n}"))
        .filter(|name| !name.starts_with("tool_1"))
        .collect();
    assert_eq!(found[0], "echo");
    assert_eq!(found[1..], expected);
    // the catalogue is the same, in both forms
    let catalogue = Request::get("/mcp/tools").header("accept", "application/json");
    let catalogue = http::exchange(fake.addr(), catalogue).await.json();
    assert_eq!(names(&catalogue["tools"]), found);
    let events = fake.get("fake", "/mcp/tools").await.text();
    let listed = events
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "));
    let listed: Vec<Value> = listed
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(names(&json!(listed)), found);
    assert!(events.contains("event: done"), "{events}");
}

#[tokio::test]
async fn a_denied_tool_cannot_be_called() {
    let fake = fake::fake(TOOLS, &["--tools", "3"]).await;
    for mut client in Raw::both(&fake).await {
        for (params, allowed) in [
            (r#"{"name":"tool_2"}"#, true),
            (r#"{"name":"\u0065cho"}"#, true),
            (r#"{"name":"tool_1"}"#, false),
            (r#"{"name":"tool_\u0031"}"#, false),
            (r#"{"name":"emit"}"#, false),
            (r#"{"name":"sleep"}"#, false),
            (r#"{"name":"Emit"}"#, false),
            (r#"{"name":"tool_1","name":"echo"}"#, false),
            (r#"{"name":"echo","name":"tool_1"}"#, false),
            (r#"{"name":"echo","Name":"tool_1"}"#, false),
            (r#"{"name":7}"#, false),
            (r#"{}"#, false),
            (r#"[{"name":"echo"}]"#, false),
        ] {
            let sent =
                format!(r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{params}}}"#);
            if !allowed && params.matches("ame\"").count() == 2 {
                let (status, text) = client.post(sent).await;
                assert_eq!(status, 400, "{params} {text}");
                continue;
            }
            let answer = client.answer(&sent).await;
            let code = raw_at(&answer, &["error", "code"]);
            let expected = (!allowed).then(|| "-32602".to_owned());
            assert_eq!(code, expected, "{params} {answer}");
        }
        let sent = r#"{"jsonrpc":"2.0","id":3,"method":"tools\/call","params":{"name":"emit"}}"#;
        assert!(client.answer(sent).await.contains("-32602"));
    }
    let record = fake.record();
    let called = record.iter().filter(|line| line.contains("tools/call"));
    assert_eq!(called.count(), 4, "{record:?}");
}

#[tokio::test]
async fn an_instance_of_its_own_is_filtered_too() {
    let fake = fake::fake(&TOOLS.replace("shared", "session"), &["--tools", "2"]).await;
    let mut client = fake.streamable().await;
    let listed = client.request("tools/list", &json!({})).await;
    assert_eq!(names(&listed["result"]["tools"]), ["echo", "tool_0"]);
    let answer = client.call("tool_1", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    client.call("tool_0", &json!({})).await;
}
