//! Servers of both eras behind one port: legacy clients of a modern server, and how the bridge finds out what it has.

mod detection;
mod input;
mod streams;

use serde_json::{Value, json};

use crate::harness::proc::Process;
use crate::harness::raw::raw_at;
use crate::harness::{Fake, Raw, Sse, Stateless, Streamable, fake, until};

/// What a client says of itself in a request to a modern server, by the key's last part.
fn said(params: &Value, key: &str) -> Value {
    params["_meta"][format!("io.modelcontextprotocol/{key}")].clone()
}

/// The request that the tool `echo` (and `input` in the end) got.
fn got(answer: &Value) -> Value {
    answer["result"]["params"].clone()
}

async fn modern(flags: &[&str]) -> Fake {
    let fake = fake::fake("", &[&["--modern"], flags].concat()).await;
    fake.ready().await;
    fake
}

/// What `/bridges` says of the bridge.
async fn described(fake: &Fake) -> Value {
    let request = crate::harness::Request::get("/bridges");
    let response = crate::harness::http::exchange(fake.admin(), request).await;
    response.json()["bridges"][0].clone()
}

async fn sse(fake: &Fake, capabilities: &Value) -> Sse {
    let mut client = Sse::connect(fake.addr()).await;
    client.initialize(capabilities).await;
    client
}

#[tokio::test]
async fn initialize_is_made_of_what_was_discovered() {
    let fake = modern(&["--instructions", "be kind"]).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = Streamable::new(fake.addr());
        client.initialize(version, &json!({})).await;
        let result = &client.initialized["result"];
        assert_eq!(client.version, version);
        assert_eq!(
            result["serverInfo"],
            json!({"name": "fake", "version": "1"})
        );
        assert_eq!(result["instructions"], "be kind");
        assert_eq!(result["capabilities"]["resources"]["subscribe"], true);
        let keys: Vec<&String> = result.as_object().unwrap().keys().collect();
        assert!(
            !keys
                .iter()
                .any(|key| *key == "resultType" || *key == "ttlMs"),
            "{keys:?}"
        );
    }
    let mut client = Sse::connect(fake.addr()).await;
    let answer = client.initialize(&json!({})).await;
    assert_eq!(answer["result"]["protocolVersion"], "2024-11-05");
    // the server has heard of none of that
    assert!(
        !fake.record().concat().contains("initialize"),
        "{:?}",
        fake.record()
    );
}

#[tokio::test]
async fn every_request_says_what_its_client_said_once() {
    let fake = modern(&[]).await;
    let roots = json!({"roots": {"listChanged": true}, "tasks": {}});
    let mut one = sse(&fake, &roots).await;
    let mut two = Streamable::open(fake.addr(), &json!({"sampling": {}})).await;
    one.notify("notifications/roots/list_changed", &json!({}))
        .await;
    let seen = got(&one.call("echo", &json!({"n": 1})).await);
    assert_eq!(said(&seen, "protocolVersion"), "2026-07-28");
    assert_eq!(
        said(&seen, "clientInfo"),
        json!({"name": "wire-test", "version": "1"})
    );
    assert_eq!(
        said(&seen, "clientCapabilities"),
        json!({"roots": {"listChanged": true}})
    );
    assert_eq!(seen["arguments"], json!({"n": 1}));
    let seen = got(&two.call("echo", &json!({})).await);
    assert_eq!(said(&seen, "clientCapabilities"), json!({"sampling": {}}));
    // both are served by one process, whatever they can be asked
    assert_eq!(fake.pids().len(), 1);
    assert!(!fake.record().concat().contains("roots/list_changed"));
}

#[tokio::test]
async fn results_come_as_a_legacy_server_writes_them() {
    let fake = modern(&["--tools", "2"]).await;
    for mut client in Raw::both(&fake).await {
        let request = |method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":"\u0061","method":"{method}","params":{params}}}"#)
        };
        for (method, params, want) in [
            ("tools/list", "{}", r#"{"tools":[{"#),
            ("prompts/list", "{}", r#"{"prompts":[{"name":"echo"}]}"#),
            ("resources/list", "{}", r#"{"resources":[{"uri":"fake://a""#),
            (
                "resources/templates/list",
                "{}",
                r#"{"resourceTemplates":[{"#,
            ),
            (
                "resources/read",
                r#"{"uri":"fake://a"}"#,
                r#"{"contents":[{"uri":"fake://a","text":"about fake://a"}]}"#,
            ),
            (
                "prompts/get",
                r#"{"name":"big","arguments":{"bytes":3}}"#,
                r#"{"content":[{"type":"text","text":"xxx"}]}"#,
            ),
            (
                "completion/complete",
                "{}",
                r#"{"completion":{"values":["one","two"],"total":2}}"#,
            ),
            ("ping", "{}", "{}"),
            ("logging/setLevel", r#"{"level":"info"}"#, "{}"),
        ] {
            let answer = client.answer(&request(method, params)).await;
            assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some(r#""\u0061""#));
            let result = raw_at(&answer, &["result"]).unwrap_or_else(|| panic!("{answer}"));
            assert!(result.starts_with(want), "{method}: {result}");
            assert!(
                !result.contains("resultType") && !result.contains("ttlMs"),
                "{result}"
            );
        }
        for (method, params, code) in [
            ("resources/read", r#"{"uri":"other://a"}"#, "-32002"),
            ("tools/call", r#"{"name":"nothing"}"#, "-32602"),
            ("x/y", "{}", "-32601"),
            (
                "tools/call",
                r#"{"name":"fail","arguments":{"code":-32021}}"#,
                "-32603",
            ),
        ] {
            let answer = client.answer(&request(method, params)).await;
            let got = raw_at(&answer, &["error", "code"]);
            assert_eq!(got.as_deref(), Some(code), "{answer}");
        }
        // big numbers, odd strings and spaces, in both directions
        let odd = r#"{ "name":"echo", "_meta":{"vendor/x":1e400} ,"arguments":{"n":12345678901234567890,"s":"\ud800"}}"#;
        let answer = client.answer(&request("tools/call", odd)).await;
        let params = raw_at(&answer, &["result", "params"]).unwrap();
        assert!(
            params.ends_with(&odd[odd.find(r#""vendor"#).unwrap()..]),
            "{params}"
        );
    }
}

#[tokio::test]
async fn progress_and_cancellation_belong_to_their_call() {
    let fake = modern(&[]).await;
    for mut client in Raw::both(&fake).await {
        let sent = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"progress","arguments":{"n":2},"_meta":{"progressToken":"\u006dine"}}}"#;
        let texts = client.exchange(sent).await;
        assert_eq!(texts.len(), 3, "{texts:?}");
        for text in &texts[..2] {
            let token = raw_at(text, &["params", "progressToken"]);
            assert_eq!(token.as_deref(), Some(r#""\u006dine""#));
        }
    }
    let mut client = fake.sse().await;
    let held = client
        .start_call("hold", &json!({"key": "k"}), &json!(1))
        .await;
    let line = fake.recorded("\"hold\"").await;
    client
        .notify("notifications/cancelled", &json!({"requestId": held}))
        .await;
    let event = fake.journaled("cancelled", 1).await;
    assert_eq!(event["id"].as_str(), raw_at(&line, &["id"]).as_deref());
    // so does the end of a session
    client
        .start_call("hold", &json!({"key": "l"}), &json!(2))
        .await;
    fake.recorded(r#"{"key":"l"}"#).await;
    drop(client);
    fake.journaled("cancelled", 2).await;
}

#[tokio::test]
async fn log_lines_come_to_who_set_a_level_and_as_that_has_it() {
    let fake = modern(&[]).await;
    let mut quiet = fake.sse().await;
    let mut client = fake.sse().await;
    client.call("log", &json!({"level": "error"})).await;
    assert_eq!(client.seen(), Vec::<Value>::new(), "it has not asked");
    client
        .request("logging/setLevel", &json!({"level": "warning"}))
        .await;
    let seen = got(&client.call("echo", &json!({})).await);
    assert_eq!(said(&seen, "logLevel"), "warning");
    let held = quiet
        .start_call("hold", &json!({"key": "k"}), &json!(1))
        .await;
    fake.recorded("\"hold\"").await;
    client.call("log", &json!({"level": "info"})).await;
    client
        .call("log", &json!({"level": "error", "data": "d"}))
        .await;
    let seen = client.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0]["params"]["data"], "d");
    // another's call that asked for no log lines takes none of them
    client.call("release", &json!({"key": "k"})).await;
    quiet.answer(held).await;
    assert_eq!(quiet.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn denied_tools_are_neither_listed_nor_called() {
    let fake = fake::fake("tools: { deny: [echo] }", &["--modern"]).await;
    let mut client = fake.sse().await;
    let listed = client.request("tools/list", &json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().all(|tool| tool["name"] != "echo") && tools.len() > 5);
    assert!(listed["result"]["resultType"].is_null());
    let answer = client.call("echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    // the catalogue is as anywhere
    let catalogue = fake.get("fake", "/mcp/tools").await.text();
    assert!(catalogue.contains("\"hold\"") && !catalogue.contains("\"echo\""));
    assert!(!fake.record().concat().contains("\"echo\""));
}

#[tokio::test]
async fn a_server_that_asks_by_itself_is_refused() {
    let fake = modern(&[]).await;
    let mut client = sse(&fake, &json!({"roots": {}})).await;
    let answer = client.call("ask", &json!({})).await;
    let heard = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(raw_at(heard, &["error", "code"]).as_deref(), Some("-32601"));
    assert_eq!(client.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_crash_ends_the_calls_and_the_next_server_serves_the_same_sessions() {
    let fake = modern(&[]).await;
    let mut client = sse(&fake, &json!({"roots": {}})).await;
    client
        .request("logging/setLevel", &json!({"level": "info"}))
        .await;
    let answer = client.call("crash", &json!({"code": 7})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert_eq!(answer["error"]["data"]["exit"]["code"], 7);
    fake.journaled("start", 2).await;
    let seen = got(&client.call("echo", &json!({})).await);
    assert_eq!(said(&seen, "clientCapabilities"), json!({"roots": {}}));
    assert_eq!(said(&seen, "logLevel"), "info");
    let discovers = fake.record().concat().matches("server/discover").count();
    assert_eq!(discovers, 2, "each generation is asked");
}

#[tokio::test]
async fn sessions_of_their_own_have_modern_servers_of_their_own() {
    let fake = fake::fake("isolation: session", &["--modern"]).await;
    fake.ready().await;
    let mut one = sse(&fake, &json!({"roots": {}})).await;
    let mut two = Streamable::open(fake.addr(), &json!({})).await;
    let pid = |answer: &Value| answer["result"]["structuredContent"]["pid"].as_i64();
    let of_one = pid(&one.call("info", &json!({})).await).unwrap();
    let of_two = pid(&two.call("info", &json!({})).await).unwrap();
    let shared = i64::from(fake.pids()[0]);
    assert!(of_one != of_two && of_one != shared && of_two != shared);
    let seen = got(&one.call("echo", &json!({})).await);
    assert_eq!(said(&seen, "clientCapabilities"), json!({"roots": {}}));
    for (what, uri) in [("subscribe", "fake://a"), ("unsubscribe", "fake://a")] {
        let method = format!("resources/{what}");
        let answer = one.request(&method, &json!({"uri": uri})).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    // and they end with them
    let process = Process::find(i32::try_from(of_one).unwrap()).unwrap();
    drop(one);
    process.gone().await;
}

#[tokio::test]
async fn a_modern_request_has_a_server_of_its_own_where_everybody_has() {
    let fake = fake::fake("isolation: session", &["--modern"]).await;
    fake.ready().await;
    let mut client = Stateless::new(fake.addr(), &json!({"elicitation": {}}));
    let mut pids = vec![i64::from(fake.pids()[0])];
    for _ in 0..3 {
        let answer = client.call("info", &json!({})).await;
        let pid = answer["result"]["structuredContent"]["pid"].as_i64();
        pids.push(pid.unwrap_or_else(|| panic!("{answer}")));
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 4);
}

#[tokio::test]
async fn where_everybody_shares_no_spare_is_kept() {
    let fake = modern(&[]).await;
    let client = Streamable::open(fake.addr(), &json!({"elicitation": {}, "tasks": {}})).await;
    assert_eq!(
        client.initialized["result"]["_meta"]["fake/pid"],
        fake.pids()[0]
    );
    let facts = described(&fake).await;
    assert_eq!(facts["instances"], json!([]), "{facts}");
    assert_eq!(facts["era"], "modern");
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn a_silent_modern_server_is_asked_what_it_is_to_hear_that_it_lives() {
    let fake = fake::fake("ping_interval: 100ms", &["--modern"]).await;
    until("two more questions", async || {
        (fake.record().concat().matches("server/discover").count() >= 3).then_some(())
    })
    .await;
    let (status, health) = fake.health("fake").await;
    assert_eq!((status, &health["state"]), (200, &json!("ready")));
    assert!(!fake.record().concat().contains("\"ping\""));
}
