//! MCP over all bridges as one: the gateway's `/mcp` and `/sse`.

use std::fs;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::behind::{call, names, text};
use crate::harness::fake::entry;
use crate::harness::proc::Process;
use crate::harness::sse::{Events, initialize_params};
use crate::harness::{Behind, Reply, Request, Streamable, until};

fn nothing() -> Value {
    json!({})
}

fn everything() -> Value {
    json!({"roots": {}, "sampling": {}, "elicitation": {}})
}

/// Two bridges, `one` and `two`, whose resources begin with their names.
async fn two() -> Behind {
    Behind::start("", &pair("")).await
}

fn pair(extra: &str) -> [String; 2] {
    ["one", "two"].map(|name| entry(name, extra, &["--scheme", name]))
}

/// The answer with this id on a stream; what comes before it is left out.
async fn answer_on(events: &mut Events, id: u64) -> Value {
    loop {
        let message = events.message().await;
        if message["id"] == id && message.get("method").is_none() {
            return message;
        }
    }
}

#[tokio::test]
async fn two_bridges_are_one_server() {
    let all = two().await;
    let mut streamable = all.streamable(&nothing()).await;
    let mut sse = all.sse(&nothing()).await;
    let told = &streamable.initialized["result"];
    assert_eq!(told["serverInfo"]["name"], "mcp-bridged");
    assert_eq!(told["capabilities"]["tools"], json!({"listChanged": true}));
    for (method, list, first, second) in [
        ("tools/list", "tools", "one-echo", "two-echo"),
        ("prompts/list", "prompts", "one-echo", "two-echo"),
        ("resources/list", "resources", "a", "b"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "any",
            "any",
        ),
    ] {
        let answer = streamable.request(method, &nothing()).await;
        assert_eq!(
            sse.request(method, &nothing()).await["result"],
            answer["result"]
        );
        let names = names(&answer["result"][list]);
        let at = names.iter().position(|name| *name == first).unwrap();
        assert!(names[at + 1..].contains(&second), "{method}: {names:?}");
    }
    for (server, other) in [("one", "two"), ("two", "one")] {
        let before = all.received(other, "tools/call").len();
        let tool = format!("{server}-echo");
        let arguments = json!({"x": 12345, "server": server});
        for answer in [
            streamable.call(&tool, &arguments).await,
            sse.call(&tool, &arguments).await,
        ] {
            let params = &answer["result"]["params"];
            assert_eq!(*params, json!({"name": "echo", "arguments": arguments}));
        }
        assert_eq!(all.received(other, "tools/call").len(), before);
    }
}

#[tokio::test]
async fn a_path_with_a_slash_is_the_same() {
    let all = two().await;
    let params = initialize_params("2025-06-18", &nothing());
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let response = all.ask(Request::post("/mcp/", hello.to_string())).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    let session = response.header("mcp-session-id").unwrap();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let request = Request::post("/mcp/", list.to_string()).header("mcp-session-id", session);
    let answer = all.ask(request).await.json();
    assert!(names(&answer["result"]["tools"]).contains(&"two-echo"));
}

#[tokio::test]
async fn every_revision_is_served() {
    let all = two().await;
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = Streamable::new(all.addr());
        client.initialize(version, &nothing()).await;
        assert_eq!(client.version, version);
        assert_eq!(text(&client.call("one-sleep", &json!({})).await), "slept");
        let answer = client.call("two-progress", &json!({})).await;
        assert_eq!(text(&answer), "done");
        let (head, mut events) = client.get(None).await;
        assert_eq!(head.status, 200);
        assert_eq!(client.delete().await.status(), 204);
        while events.try_next().await.is_some() {}
        let (_, reply) = client.start("ping", &nothing()).await;
        assert_eq!(reply.status(), 404);
    }
    let answer = all
        .sse(&nothing())
        .await
        .call("one-sleep", &json!({}))
        .await;
    assert_eq!(text(&answer), "slept");
    // a batch, where the revision has them
    let mut client = Streamable::new(all.addr());
    client.initialize("2025-03-26", &nothing()).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": call("one-echo", json!({}))},
        {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": call("two-echo", json!({}))},
        {"jsonrpc": "2.0", "id": "c", "method": "ping"},
    ]);
    let answers = client.post(batch.to_string()).await.whole().json();
    assert_eq!(answers.as_array().unwrap().len(), 3, "{answers}");
}

#[tokio::test]
async fn an_initialize_without_a_revision_or_out_of_size_is_refused() {
    let all = two().await;
    let client = Streamable::new(all.addr());
    let hello =
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}});
    let response = client.post(hello.to_string()).await.whole();
    assert_eq!(response.json()["error"]["code"], -32602);
    assert_eq!(response.header("mcp-session-id"), None);
    let mut params = initialize_params("2025-11-25", &nothing());
    params["_meta"] = json!({"padding": "x".repeat(300_000)});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let response = client.post(hello.to_string()).await.whole();
    assert_eq!(response.json()["error"]["code"], -31003);
    assert_eq!(response.header("mcp-session-id"), None);
}

#[tokio::test]
async fn prompts_go_by_their_public_names_also_in_completions() {
    let all = two().await;
    let mut client = all.streamable(&nothing()).await;
    let params = json!({"name": "two-echo", "arguments": {"a": "b"}});
    let answer = client.request("prompts/get", &params).await;
    assert_eq!(
        answer["result"]["params"],
        json!({"name": "echo", "arguments": {"a": "b"}})
    );
    let argument = json!({"name": "name", "value": "e"});
    let reference = json!({"type": "ref/prompt", "name": "one-echo"});
    let params = json!({"argument": argument, "ref": reference, "context": {}});
    let answer = client.request("completion/complete", &params).await;
    assert_eq!(
        answer["result"]["completion"]["values"],
        json!(["one", "two"])
    );
    let reference = json!({"type": "ref/resource", "uri": "two://{name}"});
    let params = json!({"ref": reference, "argument": argument});
    client.request("completion/complete", &params).await;
    let asked = all.received("one", "completion/complete");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0]["params"]["ref"],
        json!({"type": "ref/prompt", "name": "echo"})
    );
    assert_eq!(asked[0]["params"]["argument"], argument);
    let asked = all.received("two", "completion/complete");
    assert_eq!(asked[0]["params"]["ref"], reference);
}

#[tokio::test]
async fn resources_are_read_where_they_are() {
    let all = two().await;
    let mut client = all.sse(&nothing()).await;
    for uri in ["one://a", "two://a", "two://any/thing"] {
        let answer = client.request("resources/read", &json!({"uri": uri})).await;
        let contents = &answer["result"]["contents"][0];
        assert_eq!(contents["text"], format!("about {uri}"), "{answer}");
    }
    assert_eq!(all.received("one", "resources/read").len(), 1);
    assert_eq!(all.received("two", "resources/read").len(), 2);
}

#[tokio::test]
async fn updates_come_from_the_server_that_was_subscribed_to() {
    let all = two().await;
    let (mut one, mut two) = (all.sse(&nothing()).await, all.sse(&nothing()).await);
    for (client, uri) in [(&mut one, "one://a"), (&mut two, "two://a")] {
        let answer = client
            .request("resources/subscribe", &json!({"uri": uri}))
            .await;
        assert_eq!(answer["result"], nothing(), "{answer}");
    }
    for server in ["one", "two"] {
        let update = json!({"uri": format!("{server}://a")});
        two.call(&format!("{server}-update"), &update).await;
    }
    let updated = |uri: &str| {
        let params = json!({"uri": uri});
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
    };
    assert_eq!(one.next().await, updated("one://a"));
    assert_eq!(two.next().await, updated("two://a"));
    for client in [&mut one, &mut two] {
        client
            .request("resources/unsubscribe", &json!({"uri": "two://a"}))
            .await;
    }
    two.call("two-update", &json!({"uri": "two://a"})).await;
    // the end of a session ends its subscriptions
    drop(one);
    let ended = all.until_received("one", "resources/unsubscribe", 1).await;
    assert_eq!(ended["params"]["uri"], "one://a");
    two.call("two-echo", &json!({})).await;
    assert_eq!(two.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn progress_comes_under_the_clients_own_token() {
    let all = two().await;
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let addr = all.addr();
        clients.spawn(async move {
            let mut client = Streamable::open(addr, &json!({})).await;
            for server in ["one", "two"] {
                let tool = format!("{server}-progress");
                let meta = json!({"progressToken": "same"});
                let params = json!({"name": tool, "arguments": {"n": 3 + number}, "_meta": meta});
                let (answer, before) = client.request_all("tools/call", &params).await;
                assert_eq!(text(&answer), "done");
                assert_eq!(before.len(), 3 + number, "{before:?}");
                for (step, message) in before.iter().enumerate() {
                    assert_eq!(message["params"]["progressToken"], "same");
                    assert_eq!(message["params"]["progress"], step + 1);
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn equal_ids_of_two_clients_stay_apart() {
    let all = two().await;
    let (mut one, mut two) = (all.sse(&nothing()).await, all.sse(&nothing()).await);
    let held = one
        .start("tools/call", &call("one-hold", json!({"key": "k"})))
        .await;
    let same = two
        .start("tools/call", &call("one-echo", json!({"of": "two"})))
        .await;
    assert_eq!(held, same);
    let answer = two.answer(same).await;
    assert_eq!(answer["result"]["params"]["arguments"]["of"], "two");
    two.notify("notifications/cancelled", &json!({"requestId": held}))
        .await;
    two.call("one-release", &json!({"key": "k"})).await;
    assert_eq!(text(&one.answer(held).await), "released");
}

#[tokio::test]
async fn a_cancellation_reaches_only_the_server_of_its_call() {
    let all = two().await;
    let mut client = all.sse(&nothing()).await;
    client.call("two-echo", &json!({})).await;
    let held = client
        .start("tools/call", &call("one-hold", json!({"key": "k"})))
        .await;
    all.until_received("one", "tools/call", 1).await;
    let reason = json!({"requestId": held, "reason": "changed my mind"});
    client.notify("notifications/cancelled", &reason).await;
    let cancelled = all
        .until_received("one", "notifications/cancelled", 1)
        .await;
    assert_eq!(cancelled["params"]["reason"], "changed my mind");
    client.call("two-echo", &json!({})).await;
    assert_eq!(all.received("two", "notifications/cancelled").len(), 0);
    assert_eq!(client.seen(), Vec::<Value>::new());
    all.until_logged(r#""outcome":"cancelled""#).await;
}

#[tokio::test]
async fn a_session_that_ends_cancels_its_calls() {
    let all = two().await;
    let mut sse = all.sse(&nothing()).await;
    sse.start("tools/call", &call("one-hold", json!({"key": "k"})))
        .await;
    all.until_received("one", "tools/call", 1).await;
    drop(sse);
    all.until_received("one", "notifications/cancelled", 1)
        .await;

    let client = all.streamable(&nothing()).await;
    let mut caller = client.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move { caller.call("two-hold", &json!({"key": "k"})).await });
    all.until_received("two", "tools/call", 1).await;
    assert_eq!(client.delete().await.status(), 204);
    all.until_received("two", "notifications/cancelled", 1)
        .await;
    // whoever waits is answered
    let answer = calls.join_next().await.unwrap().unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    // and for the audit neither call failed
    until("both lines of the audit", async || {
        let log = all.log();
        assert!(!log.contains(r#""outcome":"error""#));
        (log.matches(r#""outcome":"cancelled""#).count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_log_level_reaches_every_server_also_those_that_come_later() {
    let all = Behind::start("", &pair("isolation: shared")).await;
    let mut client = all.sse(&nothing()).await;
    client.call("one-echo", &json!({})).await;
    for level in ["error", "warning", "info"] {
        let answer = client
            .request("logging/setLevel", &json!({"level": level}))
            .await;
        assert_eq!(answer["result"], nothing());
    }
    client.call("two-echo", &json!({})).await;
    for server in ["one", "two"] {
        until(format!("the level at {server}"), async || {
            let levels = all.received(server, "logging/setLevel");
            (levels.last()?["params"]["level"] == "info").then_some(())
        })
        .await;
        let logged = json!({"level": "info", "data": server});
        client.call(&format!("{server}-log"), &logged).await;
        let seen = client.seen();
        assert_eq!(seen[0]["params"]["data"], server, "{seen:?}");
    }
    let answer = client
        .request("logging/setLevel", &json!({"level": "loud"}))
        .await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

#[tokio::test]
async fn a_client_is_asked_by_two_servers_at_the_same_time() {
    let all = two().await;
    let client = all.streamable(&everything()).await;
    let mut asked = Vec::new();
    for server in ["one", "two"] {
        let mut caller = client.clone();
        let params = json!({"message": server, "_meta": {"progressToken": 1}});
        let arguments = json!({"method": "elicitation/create", "params": params});
        let (id, reply) = caller
            .start("tools/call", &call(&format!("{server}-ask"), arguments))
            .await;
        let mut events = reply.stream();
        let ask = events.message().await;
        assert_eq!(ask["params"]["message"], server);
        asked.push((server, id, ask, events));
    }
    assert_ne!(asked[0].2["id"], asked[1].2["id"], "the ids don't collide");
    for (server, _, ask, _) in asked.iter().rev() {
        let token = &ask["params"]["_meta"]["progressToken"];
        let progress = json!({"progressToken": token, "progress": 1, "message": server});
        client.notify("notifications/progress", &progress).await;
        let result = json!({"action": "accept", "content": {"from": server}});
        client
            .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": result}))
            .await;
    }
    for (server, id, _, mut events) in asked {
        let answer = answer_on(&mut events, id).await;
        let heard: Value = serde_json::from_str(text(&answer)).unwrap();
        assert_eq!(heard["result"]["content"]["from"], server);
        let progress = all.received(server, "notifications/progress");
        assert_eq!(progress.len(), 1, "{progress:?}");
        let want = json!({"progressToken": 1, "progress": 1, "message": server});
        assert_eq!(progress[0]["params"], want);
    }
}

#[tokio::test]
async fn a_client_that_can_be_asked_has_servers_of_its_own_where_it_calls() {
    let all = two().await;
    let mut plain = all.streamable(&nothing()).await;
    let mut editor = all.sse(&everything()).await;
    let pid = async |answer: Value| {
        let facts = &answer["result"]["structuredContent"];
        facts["pid"].as_i64().unwrap()
    };
    let shared = pid(plain.call("one-state", &json!({})).await).await;
    let own = pid(editor.call("one-state", &json!({})).await).await;
    assert_ne!(shared, own);
    assert_eq!(pid(editor.call("one-state", &json!({})).await).await, own);
    // its own words began the session there, and only there
    let hello = |server| {
        let hello = all.received(server, "initialize");
        let own = hello
            .iter()
            .filter(|it| it["params"]["clientInfo"]["name"] == "wire-test");
        own.count()
    };
    assert_eq!((hello("one"), hello("two")), (1, 0));
    let params = json!({"name": "one-ask", "arguments": {}});
    let id = editor.start("tools/call", &params).await;
    let ask = editor.next().await;
    assert_eq!(ask["method"], "roots/list");
    let roots = json!({"roots": [{"uri": "file:///own"}]});
    editor
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": roots}))
        .await;
    assert!(text(&editor.answer(id).await).contains("file:///own"));
    // and end with it
    drop(editor);
    let own = i32::try_from(own).unwrap();
    until("the end of its own server", async || {
        Process::find(own).is_none().then_some(())
    })
    .await;
    assert_eq!(pid(plain.call("one-state", &json!({})).await).await, shared);
}

#[tokio::test]
async fn what_is_not_there_is_an_error_of_its_own() {
    let all = two().await;
    let mut client = all.streamable(&nothing()).await;
    for (method, params, code, says) in [
        (
            "tools/call",
            call("three-echo", json!({})),
            -32602,
            "unknown tool `three-echo`",
        ),
        (
            "tools/call",
            call("echo", json!({})),
            -32602,
            "unknown tool `echo`",
        ),
        ("tools/call", json!({}), -32602, "`params.name` is missing"),
        (
            "tools/call",
            json!({"name": 7}),
            -32602,
            "`params.name` is missing",
        ),
        (
            "prompts/get",
            json!({"name": "one-nope"}),
            -32602,
            "unknown prompt",
        ),
        (
            "resources/read",
            json!({"uri": "three://a"}),
            -32002,
            "no server",
        ),
        (
            "resources/read",
            json!({}),
            -32602,
            "`params.uri` is missing",
        ),
        (
            "resources/subscribe",
            json!({"uri": "nope"}),
            -32002,
            "no server",
        ),
        (
            "completion/complete",
            json!({"ref": {"name": "x"}}),
            -32602,
            "`params.ref`",
        ),
        ("completion/complete", json!([]), -32602, "`params.ref`"),
        ("tasks/list", nothing(), -32601, "no method"),
        ("notifications/initialized", nothing(), -32601, "no method"),
        ("test/own", nothing(), -32601, "no method `test/own`"),
    ] {
        let answer = client.request(method, &params).await;
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{method}: {message}");
    }
    assert_eq!(
        client.request("ping", &nothing()).await["result"],
        nothing()
    );
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_answers_it_and_the_session_goes_on() {
    let all = two().await;
    let mut client = all.sse(&everything()).await;
    let subscription = json!({"uri": "one://a"});
    client.request("resources/subscribe", &subscription).await;
    for round in 1..=2 {
        let answer = client.call("one-crash", &json!({"code": 3})).await;
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("code 3"), "{message}");
        // what it had asked for is asked of the next one
        let answer = client.call("one-echo", &json!({"round": round})).await;
        assert_eq!(answer["result"]["params"]["arguments"]["round"], round);
        all.until_received("one", "resources/subscribe", 1 + round)
            .await;
    }
    client.call("one-update", &subscription).await;
    let updated = client.next().await;
    assert_eq!(updated["params"]["uri"], "one://a", "{updated}");
    let answer = client.call("two-echo", &json!({})).await;
    assert!(answer["result"].is_object());
}

#[tokio::test]
async fn calls_wait_for_a_handshake_and_can_be_cancelled_meanwhile() {
    let flags = ["--init-hold", "{dir}/go"];
    let bridges = [entry("one", "isolation: session", &flags)];
    let all = Behind::begin("", &bridges).await;
    fs::write(all.path("go"), "").unwrap();
    all.until_noted("one", Value::is_null).await;
    fs::remove_file(all.path("go")).unwrap();

    let mut client = all.sse(&nothing()).await;
    let first = client
        .start("tools/call", &call("one-echo", json!({"n": 1})))
        .await;
    let second = client
        .start("tools/call", &call("one-echo", json!({"n": 2})))
        .await;
    client
        .notify("notifications/cancelled", &json!({"requestId": first}))
        .await;
    all.until_logged(r#""outcome":"cancelled""#).await;
    // a session that ends meanwhile is answered
    let other = all.streamable(&nothing()).await;
    let mut caller = other.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move { caller.call("one-echo", &json!({})).await });
    until("the second session's call", async || {
        let shown = all.received("one", "initialize").len();
        (shown >= 3).then_some(())
    })
    .await;
    other.delete().await;
    let answer = calls.join_next().await.unwrap().unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");

    fs::write(all.path("go"), "").unwrap();
    let answer = client.answer(second).await;
    assert_eq!(answer["result"]["params"]["arguments"]["n"], 2);
    let calls = all.received("one", "tools/call");
    assert_eq!(calls.len(), 1, "{calls:?}");
    // `initialized` came before the call that waited
    let record = fs::read_to_string(all.path("one.record")).unwrap();
    let at = |text: &str| record.rfind(text).unwrap();
    assert!(at("notifications/initialized") < at("tools/call"));
}

#[tokio::test]
async fn a_failed_handshake_is_the_answer_and_is_tried_again() {
    let extra = "isolation: session\nmax_instances: 1";
    let all = Behind::start("", &[entry("one", extra, &[])]).await;
    let mut first = all.sse(&nothing()).await;
    first.call("one-echo", &json!({})).await;
    let mut second = all.streamable(&nothing()).await;
    let refused = second.call("one-echo", &json!({})).await;
    assert_eq!(refused["error"]["code"], -31004, "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("max_instances"), "{message}");
    drop(first);
    until("a place", async || {
        let answer = second.call("one-echo", &json!({})).await;
        answer["result"].is_object().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_lets_a_call_finish_and_ends_the_streams() {
    let mut all = two().await;
    let mut sse = all.sse(&nothing()).await;
    let client = all.streamable(&nothing()).await;
    let (_, mut own) = client.get(None).await;
    let file = all.path("done");
    let hold = json!({"file": file});
    let held = sse
        .start("tools/call", &call("one-hold", hold.clone()))
        .await;
    let mut caller = client.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move { caller.call("two-hold", &hold).await });
    all.until_received("one", "tools/call", 1).await;
    all.until_received("two", "tools/call", 1).await;
    all.signal(nix::sys::signal::Signal::SIGTERM);
    all.until_logged("calls in flight may finish").await;
    fs::write(file, "").unwrap();
    assert_eq!(text(&sse.answer(held).await), "released");
    let answer = calls.join_next().await.unwrap().unwrap();
    assert_eq!(text(&answer), "released");
    while sse.events().try_next().await.is_some() {}
    while own.try_next().await.is_some() {}
    assert_eq!(all.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_get_stream_and_a_resumed_one_work() {
    let all = two().await;
    let mut client = all.streamable(&nothing()).await;
    let params =
        json!({"name": "one-progress", "arguments": {"n": 2}, "_meta": {"progressToken": 1}});
    let (id, reply) = client.start("tools/call", &params).await;
    let Reply::Stream(_, mut events) = reply else {
        panic!("progress makes a stream");
    };
    let mut ids = Vec::new();
    while let Some(event) = events.try_next().await {
        ids.push(event.id.unwrap());
    }
    let (_, mut again) = client.get(Some(&ids[1])).await;
    let answer = answer_on(&mut again, id).await;
    assert_eq!(text(&answer), "done");
}
