//! A client of the stateless revision before a server of the same: everything passes untouched.

use serde_json::{Value, json};

use crate::harness::raw::raw_at;
use crate::harness::stateless::{send, subscription};
use crate::harness::{Connection, Fake, Stateless, fake};

async fn modern(extra: &str) -> (Fake, Stateless) {
    let fake = fake::fake(extra, &["--modern"]).await;
    fake.ready().await;
    let client = Stateless::new(fake.addr(), &json!({"elicitation": {}, "sampling": {}}));
    (fake, client)
}

#[tokio::test]
async fn a_request_and_its_answer_pass_byte_for_byte() {
    let (fake, client) = modern("").await;
    let call = r#"{"params":{"name":"echo","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1.0 },"io.modelcontextprotocol/clientInfo":{"name":"\ud800"},"vendor/x":1e400 ,"progressToken":"\u0074"},"requestState":"theirs","arguments":{"n":12345678901234567890}},"jsonrpc":"2.0","x":1.0,"method":"tools/call","id":"\u0069"}"#;
    let body = json!({"method": "tools/call", "params": {"name": "echo"}});
    let response = send(fake.addr(), &client.prepare_raw(&body, call))
        .await
        .whole();
    assert_eq!(response.status(), 200, "{}", response.text());
    let line = fake.recorded("theirs").await;
    let k = raw_at(&line, &["id"]).unwrap();
    let want = call
        .replace(r#""id":"\u0069""#, &format!(r#""id":{k}"#))
        .replace(
            r#""progressToken":"\u0074""#,
            &format!(r#""progressToken":{k}"#),
        );
    assert_eq!(line.trim_end(), want);
    assert_eq!(
        raw_at(&response.text(), &["id"]).as_deref(),
        Some(r#""\u0069""#)
    );
}

#[tokio::test]
async fn the_servers_own_word_on_itself_is_passed_on() {
    let (fake, mut client) = modern("").await;
    let found = client.request("server/discover", &Value::Null).await["result"].clone();
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["_meta"]["fake/pid"], fake.pids()[0]);
    let body = client.body("server/discover", &Value::Null);
    let text = body.to_string().replace("2026-07-28", "2031-01-01");
    let request = client
        .prepare_raw(&body, text)
        .header("mcp-protocol-version", "2031-01-01");
    let error = send(fake.addr(), &request).await.whole().json()["error"].clone();
    assert_eq!(
        (&error["code"], &error["data"]["supported"]),
        (&json!(-32022), &json!(["2026-07-28"]))
    );
}

#[tokio::test]
async fn what_the_server_wants_to_know_is_the_clients_to_send_again() {
    let (fake, mut client) = modern("").await;
    let rounds = json!([{"requests": {"user_name": {"method": "elicitation/create", "params": {"message": "who?"}}}}]);
    let mut params = json!({"name": "input", "arguments": {"rounds": rounds}});
    let first = client.request("tools/call", &params).await["result"].clone();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first["inputRequests"], rounds[0]["requests"]);
    assert_eq!(first["requestState"], "opaque 1");
    params["requestState"] = first["requestState"].clone();
    params["inputResponses"] = json!({"user_name": {"action": "accept"}});
    let answer = client.request("tools/call", &params).await;
    assert_eq!(
        answer["result"]["params"]["inputResponses"]["user_name"]["action"], "accept",
        "{answer}"
    );
    // nothing is parked, and no process is kept for anybody
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn errors_have_the_status_of_their_code() {
    let (_fake, mut client) = modern("").await;
    for (code, status) in [(-32021, 400), (-32601, 404), (-32602, 200), (-32000, 200)] {
        let params = json!({"name": "fail", "arguments": {"code": code}});
        let (id, reply) = client.start("tools/call", &params).await;
        assert_eq!(reply.status(), status, "{code}");
        assert_eq!(reply.answer(id).await.0["error"]["code"], code);
    }
    let (_, reply) = client
        .start("logging/setLevel", &json!({"level": "info"}))
        .await;
    assert_eq!(reply.status(), 404);
}

#[tokio::test]
async fn progress_logs_and_departures_belong_to_their_request() {
    let (fake, mut client) = modern("").await;
    let params =
        json!({"name": "progress", "arguments": {"n": 2}, "_meta": {"progressToken": "mine"}});
    let (_, before) = client.request_all("tools/call", &params).await;
    assert_eq!(before.len(), 2);
    assert!(
        before
            .iter()
            .all(|m| m["params"]["progressToken"] == "mine")
    );
    client.level = Some("info");
    let (_, before) = client
        .request_all(
            "tools/call",
            &json!({"name": "log", "arguments": {"level": "error"}}),
        )
        .await;
    assert_eq!(before[0]["params"]["level"], "error");
    let body = client.body(
        "tools/call",
        &json!({"name": "hold", "arguments": {"key": "k"}}),
    );
    let mut connection = Connection::open(fake.addr()).await;
    let request = client.prepare(&body);
    tokio::select! {
        _ = async { connection.request(&request).await } => panic!("it is held"),
        _ = fake.recorded(r#""key":"k""#) => {}
    }
    drop(connection);
    fake.journaled("cancelled", 1).await;
}

#[tokio::test]
async fn streams_of_changes_are_the_servers_under_the_clients_names() {
    let (fake, mut client) = modern("").await;
    let wish = json!({"toolsListChanged": true, "resourceSubscriptions": ["fake://a"]});
    let (id, honoured, mut events) = client.listen(&wish).await;
    assert_eq!(honoured, wish);
    let (other, _, mut others) = client.listen(&json!({"promptsListChanged": true})).await;
    assert_ne!(id, other);
    client.call("update", &json!({"uri": "fake://a"})).await;
    let message = events.message().await;
    assert_eq!(
        (&message["params"]["uri"], subscription(&message)),
        (&json!("fake://a"), json!(id))
    );
    client
        .call("list_changed", &json!({"kind": "prompts"}))
        .await;
    let message = others.message().await;
    assert_eq!(message["method"], "notifications/prompts/list_changed");
    assert_eq!(subscription(&message), json!(other));
    drop(others);
    fake.journaled("cancelled", 1).await;
    client.call("end_streams", &json!({"how": "result"})).await;
    let end = events.message().await;
    assert_eq!(end["id"], id);
    assert_eq!(
        end["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        id
    );
    events.ended().await;
    let (id, _, mut events) = client.listen(&wish).await;
    client
        .call("end_streams", &json!({"how": "cancelled"}))
        .await;
    let end = events.message().await;
    assert_eq!(
        (&end["id"], &end["result"]["resultType"]),
        (&json!(id), &json!("complete"))
    );
    events.ended().await;
}

#[tokio::test]
async fn a_legacy_client_and_a_modern_one_use_the_same_process() {
    let (fake, mut client) = modern("").await;
    let mut sse = fake.sse().await;
    let a = client.call("info", &json!({})).await["result"]["structuredContent"]["pid"].clone();
    let b = sse.call("info", &json!({})).await["result"]["structuredContent"]["pid"].clone();
    assert!(a.is_number() && a == b);
}

#[tokio::test]
async fn denied_tools_are_denied_in_this_revision_too() {
    let (_fake, mut client) = modern("tools: { deny: [echo] }").await;
    let tools = client.request("tools/list", &Value::Null).await;
    assert!(!tools.to_string().contains(r#""name":"echo""#));
    assert_eq!(
        client.call("echo", &json!({})).await["error"]["code"],
        -32602
    );
}
