//! A shared server is initialised once; its clients are answered from what it said.

use std::fs;

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::raw::raw_at;
use crate::harness::sse::initialize_params;
use crate::harness::{Raw, Sse, Streamable, fake, until};

#[tokio::test]
async fn fifty_clients_make_one_initialize() {
    let fake = fake::fake("isolation: shared", &["--init-hold", "{dir}/go"]).await;
    let addr = fake.addr();
    fake.recorded("\"initialize\"").await;
    let mut clients = JoinSet::new();
    for number in 0..50 {
        clients.spawn(async move {
            if number % 2 == 0 {
                let mut client = Sse::connect(addr).await;
                client.initialize(&json!({})).await;
                client.call("echo", &json!({"of": number})).await;
            } else {
                let mut client = Streamable::open(addr, &json!({})).await;
                client.call("echo", &json!({"of": number})).await;
            }
        });
    }
    // they wait; the server has heard nothing but what it was asked first
    until("fifty sessions", async || {
        let metrics = fake.metrics("fake").await;
        let open = metrics
            .lines()
            .filter(|line| line.starts_with("mcp_bridged_sessions{"));
        let open: u64 = open
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        (open == 50).then_some(())
    })
    .await;
    assert_eq!(fake.record().len(), 2, "{:?}", fake.record());
    fs::write(fake.path("go"), "").unwrap();
    assert_eq!(clients.join_all().await.len(), 50);
    let record = fake.record();
    let times = |text: &str| record.iter().filter(|line| line.contains(text)).count();
    assert_eq!(times("\"initialize\""), 1);
    assert_eq!(times("notifications/initialized"), 1);
    assert!(
        record[2].contains("notifications/initialized"),
        "after the result and before all calls: {record:?}"
    );
    assert_eq!(times("tools/call"), 50);
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn the_older_revision_is_answered() {
    let fake = fake::fake("isolation: shared", &["--protocol", "2025-06-18"]).await;
    for (offered, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-06-18"),
        ("2099-01-01", "2025-06-18"),
        ("1", "2025-06-18"),
    ] {
        let mut client = Sse::connect(fake.addr()).await;
        let answer = client
            .request("initialize", &initialize_params(offered, &json!({})))
            .await;
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{offered}");
        let mut client = Streamable::new(fake.addr());
        client.initialize(offered, &json!({})).await;
        assert_eq!(client.version, agreed, "{offered}");
    }
    // also by the numbers of a server that is older than every client
    let old = fake::fake("isolation: shared", &["--protocol", "2024-11-05"]).await;
    let client = old.streamable().await;
    assert_eq!(client.version, "2024-11-05");
}

#[tokio::test]
async fn the_servers_words_are_passed_on_without_tasks() {
    let words = |tasks: &str, version: &str| {
        format!(
            r#"{{"x-before":1.0,"capabilities":{{"tools":{{"listChanged":true}}{tasks},"experimental":{{"n":12345678901234567890}}}}, "protocolVersion":"{version}","serverInfo":{{"name":"odd","version":"\ud800","icons":[]}},"instructions":"one\ntwo","_meta":{{"e":1e400}}}}"#
        )
    };
    let said = words(r#","tasks":{"list":{},"requests":{}}"#, "2025-11-25");
    let fake = fake::fake("isolation: shared", &["--init-result", &said]).await;
    for (offered, id) in [("2025-11-25", "0"), ("2024-11-05", "\"\\u0030\"")] {
        let expected = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#,
            words("", offered)
        );
        let params = initialize_params(offered, &json!({}));
        let sent =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{params}}}"#);
        let mut sse = Raw::Sse(Box::new(Sse::connect(fake.addr()).await));
        assert_eq!(sse.answer(&sent).await, expected);
        let mut streamable = Raw::Streamable(Streamable::new(fake.addr()));
        assert_eq!(streamable.answer(&sent).await, expected);
    }
}

#[tokio::test]
async fn a_shared_instance_has_no_tasks() {
    let capabilities = r#"{"tools":{},"tasks":{"list":{}}}"#;
    let fake = fake::fake("", &["--capabilities", capabilities]).await;
    let mut client = fake.streamable().await;
    let told = &client.initialized["result"]["capabilities"];
    assert_eq!(*told, json!({"tools": {}}));
    for method in ["tasks/get", "tasks/list", "tasks/cancel", "tasks/result"] {
        let answer = client.request(method, &json!({"taskId": "1"})).await;
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
    assert!(!fake.record().concat().contains("tasks/"));
}

#[tokio::test]
async fn clients_handshakes_stay_at_the_bridge() {
    let fake = fake::fake("isolation: shared", &[]).await;
    for mut client in Raw::both(&fake).await {
        client
            .tell(
                r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":{"again":true}}"#,
            )
            .await;
        client
            .tell(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#)
            .await;
        // a request by the name of a notification is none
        let answer = client
            .answer(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#)
            .await;
        assert!(answer.contains("-32601"), "{answer}");
        // nor does a request's method without an id reach a server that might act on it
        client
            .tell(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"crash"}}"#)
            .await;
        client
            .tell(r#"{"jsonrpc":"2.0","method":"initialize","params":{}}"#)
            .await;
        client
            .answer(r#"{"jsonrpc":"2.0","id":1,"method":"test/end"}"#)
            .await;
    }
    let record = fake.record();
    let mut methods: Vec<_> = record
        .iter()
        .filter_map(|line| raw_at(line, &["method"]))
        .collect();
    // the bridge's own look at the tools
    methods.retain(|method| method != "\"tools/list\"");
    let expected = [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "test/end",
        "test/end",
    ];
    assert_eq!(methods, expected.map(|method| format!("\"{method}\"")));
}

#[tokio::test]
async fn an_initialize_without_a_revision_is_refused() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    for params in [json!({}), json!({"protocolVersion": 7}), json!([])] {
        let sent = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
            .to_string();
        let mut sse = Raw::Sse(Box::new(Sse::connect(fake.addr()).await));
        assert!(sse.answer(&sent).await.contains("-32602"));
        let reply = Streamable::new(fake.addr()).post(sent).await.whole();
        assert_eq!(reply.json()["error"]["code"], -32602);
        assert_eq!(
            reply.header("mcp-session-id"),
            None,
            "no session without an agreement"
        );
    }
}

#[tokio::test]
async fn pings_are_answered_by_the_bridge_in_both_directions() {
    let fake = fake::fake("isolation: shared", &[]).await;
    for mut client in Raw::both(&fake).await {
        let answer = client
            .answer(r#"{"jsonrpc":"2.0","id":"p\u0031","method":"ping"}"#)
            .await;
        assert_eq!(answer, r#"{"jsonrpc":"2.0","id":"p\u0031","result":{}}"#);
        let ask =
            json!({"name": "ask", "arguments": {"method": "ping", "id": "\"\\u0070ing 1.0\""}});
        let sent = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{ask}}}"#);
        let answer = client.answer(&sent).await;
        let expected = json!(r#"{"jsonrpc":"2.0","id":"\u0070ing 1.0","result":{}}"#).to_string();
        assert!(answer.contains(&expected), "{answer}");
    }
    for line in fake.record() {
        assert_ne!(raw_at(&line, &["method"]).as_deref(), Some("\"ping\""));
    }
}
