//! What the gateway lists: every bridge's tools under unique names, up to date, and a note for what is not there.

use std::fs;

use serde_json::{Value, json};

use crate::harness::behind::{config, names, text};
use crate::harness::fake::entry;
use crate::harness::{Behind, Request, Sse, Streamable, http, until};

const SHARED: &str = "isolation: shared";

fn plain() -> Value {
    json!({})
}

async fn tools(client: &mut Sse) -> Vec<String> {
    let answer = client.request("tools/list", &plain()).await;
    let names = names(&answer["result"]["tools"]);
    names.into_iter().map(str::to_owned).collect()
}

/// The catalogue as `/mcp/tools` has it in JSON, for a request with this header.
async fn listed(all: &Behind, header: Option<(&str, &str)>) -> Vec<String> {
    let mut request = Request::get("/mcp/tools").header("accept", "application/json");
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let response = all.ask(request).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    let names = response.json();
    let names = self::names(&names["tools"]).into_iter();
    names.map(str::to_owned).collect()
}

/// Waits until the client is told that the tools have changed.
async fn told(client: &mut Sse) {
    loop {
        let message = client.next().await;
        if message["method"] == "notifications/tools/list_changed" {
            return;
        }
    }
}

/// Waits for news after which the list is as wanted: each change is told after it is served.
async fn told_of(client: &mut Sse, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    loop {
        told(client).await;
        let tools = tools(client).await;
        if wanted(&tools) {
            return tools;
        }
    }
}

fn has(name: &str) -> impl Fn(&[String]) -> bool {
    move |tools| tools.iter().any(|tool| tool == name)
}

async fn reloaded(all: &Behind, gateway: &str, bridges: &[String]) {
    reloaded_file(all, &config(gateway, bridges)).await;
}

async fn reloaded_file(all: &Behind, file: &str) {
    let reloads = |log: &str| log.matches("\"reloaded\"").count();
    let before = reloads(&all.log());
    all.reload(file);
    until("the reload", async || {
        (reloads(&all.log()) > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_short_and_callable() {
    let long = "x".repeat(70);
    let flags = [
        "--hide-tools",
        "--tool",
        &long,
        "--tool",
        "get.weather",
        "--tool",
        "b-c",
    ];
    let bridges = [
        entry("a", "aliases: [alpha]", &flags),
        entry(
            "a-b",
            "",
            &["--hide-tools", "--tool", "c", "--tool", "größe"],
        ),
    ];
    let all = Behind::start("", &bridges).await;
    let mut client = all.sse(&plain()).await;
    let tools = tools(&mut client).await;
    assert_eq!(tools.len(), 5);
    for name in &tools {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(name.len() <= 64 && name.chars().all(allowed), "{name}");
        assert_eq!(tools.iter().filter(|other| *other == name).count(), 1);
    }
    let originals = [&long, "get.weather", "b-c", "c", "größe"];
    for (name, original) in tools.iter().zip(originals) {
        let answer = client.call(name, &json!({})).await;
        assert_eq!(answer["result"]["params"]["name"], original, "{name}");
    }
    assert_eq!(all.received("a", "tools/call").len(), 3);
    for alias in ["alpha-b-c", "alpha-get.weather"] {
        let answer = client.call(alias, &json!({})).await;
        assert!(answer["result"].is_object(), "{alias}: {answer}");
    }
    assert_eq!(all.received("a", "tools/call").len(), 5);
    // the same in a second life of the program
    let again = Behind::start("", &bridges).await;
    assert_eq!(listed(&again, None).await, tools);
}

#[tokio::test]
async fn filters_of_a_bridge_and_of_the_gateway_hold_for_lists_and_calls() {
    let bridges = [
        entry("one", "tools: { deny: [crash] }", &[]),
        entry("two", "aliases: [deux]", &[]),
    ];
    let gateway = r#"tools: { allow: ["one-*", two-echo, two-info], deny: ["*-info"] }"#;
    let all = Behind::start(gateway, &bridges).await;
    let mut client = all.sse(&plain()).await;
    let tools = tools(&mut client).await;
    assert!(has("one-echo")(&tools) && has("two-echo")(&tools));
    for name in ["one-crash", "one-info", "two-info", "two-hold", "deux-hold"] {
        assert!(!has(name)(&tools), "{name}");
        let answer = client.call(name, &json!({})).await;
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
    }
    assert!(client.call("deux-echo", &json!({})).await["result"].is_object());
    assert_eq!(all.received("one", "tools/call").len(), 0);
}

#[tokio::test]
async fn all_pages_are_followed_in_order() {
    let many = ["--hide-tools", "--tools", "103", "--page", "10"];
    let all = Behind::start("", &[entry("many", "", &many), entry("few", "", &[])]).await;
    let tools = listed(&all, None).await;
    let want: Vec<_> = (0..103).map(|n| format!("many-tool_{n}")).collect();
    assert_eq!(tools[..103], want);
    assert_eq!(tools[103], "few-echo");
}

#[tokio::test]
async fn the_catalogue_is_events_or_json_and_narrowed_by_the_header() {
    let bridges = ["one", "two"].map(|name| entry(name, &format!("aliases: [{name}-alias]"), &[]));
    let all = Behind::start("", &bridges).await;
    let response = all.ask(Request::get("/mcp/tools")).await;
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    let body = response.text();
    let frames: Vec<&str> = body.trim_end().split("\n\n").collect();
    let (last, tools) = frames.split_last().unwrap();
    assert!(last.starts_with("event: done\n"), "{last}");
    let names: Vec<String> = tools
        .iter()
        .map(|frame| {
            let tool: Value = serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(tool["inputSchema"], json!({"type": "object"}));
            assert_eq!(tool["annotations"], json!({"readOnlyHint": true}));
            tool["name"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(listed(&all, None).await, names);
    for (chosen, want) in [
        ("one", &["one"][..]),
        ("two-alias", &["two"]),
        ("two,one", &["one", "two"]),
    ] {
        let narrowed = listed(&all, Some(("x-mcp-servers", chosen))).await;
        let servers = |name: &String| name.split('-').next().unwrap().to_owned();
        let mut seen: Vec<_> = narrowed.iter().map(servers).collect();
        seen.dedup();
        assert_eq!(seen, want, "{chosen}");
    }
}

#[tokio::test]
async fn a_changed_list_is_served_before_it_is_told() {
    let all = Behind::start("", &["one", "two"].map(|name| entry(name, SHARED, &[]))).await;
    let mut client = all.sse(&plain()).await;
    let mut narrow = Sse::connect_with(all.addr(), "/sse", &[("x-mcp-servers", "two")]).await;
    narrow.initialize(&plain()).await;
    let streamable = all.streamable(&plain()).await;
    let (_, mut own) = streamable.get(None).await;
    assert!(!has("one-brand_new")(&tools(&mut client).await));
    client
        .call("one-list_changed", &json!({"add": "brand_new", "n": 20}))
        .await;
    told_of(&mut client, has("one-brand_new")).await;
    assert_eq!(
        own.message().await["method"],
        "notifications/tools/list_changed"
    );
    let answer = client.call("one-brand_new", &json!({})).await;
    assert_eq!(answer["result"]["params"]["name"], "brand_new");
    // who doesn't see the server isn't told
    narrow.call("two-echo", &json!({})).await;
    assert_eq!(narrow.seen(), Vec::<Value>::new());
    // nor is anybody told of what is as it was
    client
        .call("two-list_changed", &json!({"kind": "prompts"}))
        .await;
    client
        .call("two-list_changed", &json!({"add": "later"}))
        .await;
    let tools = told_of(&mut client, has("two-later")).await;
    assert!(has("one-brand_new")(&tools));
    let seen = client.seen();
    let of_prompts = |it: &&Value| it["method"] == "notifications/prompts/list_changed";
    assert_eq!(seen.iter().filter(of_prompts).count(), 0, "{seen:?}");
}

#[tokio::test]
async fn a_bridge_that_dies_leaves_with_a_note_and_comes_back() {
    let flags = ["--fail-while", "{dir}/down"];
    let bridges = [
        entry("one", "aliases: [uno]\nstart_wait: 1ms", &flags),
        entry("two", "", &[]),
    ];
    let all = Behind::start("", &bridges).await;
    let mut client = all.sse(&plain()).await;
    let before = tools(&mut client).await;
    assert!(has("one-echo")(&before));
    fs::write(all.path("down"), "").unwrap();
    let answer = client.call("one-crash", &json!({"code": 7})).await;
    assert!(answer["error"].is_object());
    let tools = told_of(&mut client, |tools| !has("one-echo")(tools)).await;
    assert!(has("two-echo")(&tools));
    let note = all.until_noted("one", |note| {
        note.as_str().is_some_and(|it| it.contains("code 1"))
    });
    note.await;
    assert_eq!(all.ask(Request::get("/health")).await.status(), 200);
    // it is known what is missing, and why
    for name in ["one-echo", "uno-echo"] {
        let answer = client.call(name, &json!({})).await;
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("one") && message.contains("code"),
            "{message}"
        );
    }
    // for a client over Streamable HTTP the gateway itself is well
    let mut other = all.streamable(&plain()).await;
    let (id, reply) = other
        .start("tools/call", &json!({"name": "one-echo", "arguments": {}}))
        .await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.answer(id).await.0["error"]["code"], -31001);
    let told = &other.initialized["result"]["instructions"];
    assert!(
        told.as_str()
            .unwrap()
            .contains("## one\nNot available now."),
        "{told}"
    );

    fs::remove_file(all.path("down")).unwrap();
    told_of(&mut client, has("one-echo")).await;
    all.until_noted("one", Value::is_null).await;
    assert_eq!(self::tools(&mut client).await, before);
    assert!(client.call("one-echo", &json!({})).await["result"].is_object());
}

#[tokio::test]
async fn a_bridge_that_was_never_there_is_named_by_its_tools() {
    let flags = ["--fail-while", "{dir}/bridges.yaml"];
    let bridges = [
        entry("one", "aliases: [uno]", &flags),
        entry("two", "", &[]),
    ];
    let all = Behind::begin("", &bridges).await;
    all.until_noted("one", |note| note != "starting" && !note.is_null())
        .await;
    let mut client = all.streamable(&plain()).await;
    for name in ["one-echo", "uno-echo"] {
        let answer = client.call(name, &json!({})).await;
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("the MCP server one is not there"),
            "{message}"
        );
    }
    let answer = client.call("other-echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

#[tokio::test]
async fn a_restart_with_other_tools_is_taken_up() {
    let all = Behind::start("", &[entry("one", SHARED, &["--tool", "old"])]).await;
    let mut client = all.sse(&plain()).await;
    assert!(has("one-old")(&tools(&mut client).await));
    reloaded(&all, "", &[entry("one", SHARED, &["--tool", "new"])]).await;
    let tools = told_of(&mut client, has("one-new")).await;
    assert!(!has("one-old")(&tools));
    assert!(client.call("one-new", &json!({})).await["result"].is_object());
}

#[tokio::test]
async fn a_listing_that_fails_is_a_note() {
    let bridges = [
        entry("one", SHARED, &["--tools-result", r#"{"other":[]}"#]),
        entry("two", SHARED, &[]),
    ];
    let all = Behind::begin("", &bridges).await;
    let note = all.until_noted("one", |note| note != "starting").await;
    let note = note.as_str().unwrap();
    assert!(
        note.contains("can't be listed") && note.contains("has no tools"),
        "{note}"
    );
    all.until_noted("two", Value::is_null).await;
    assert!(has("two-echo")(&listed(&all, None).await));
}

/// One request at a time, so that nothing else is answered during a call.
const SYNCHRONOUS: [&str; 1] = ["--synchronous"];

#[tokio::test]
async fn a_server_that_is_merely_busy_stays_listed() {
    let impatient = "ping_interval: 20ms\nping_timeout: 20ms\nping_failures: 2";
    let all = Behind::start("", &[entry("one", impatient, &SYNCHRONOUS)]).await;
    let before = listed(&all, None).await;
    let mut client = all.sse(&plain()).await;
    let hold = json!({"name": "one-hold", "arguments": {"file": all.path("done")}});
    let held = client.start("tools/call", &hold).await;
    until("a suspect server", async || {
        let (status, health) = all.health("one").await;
        (status == 503 && health["state"] == "suspect").then_some(())
    })
    .await;
    assert_eq!(listed(&all, None).await, before);
    fs::write(all.path("done"), "").unwrap();
    assert_eq!(text(&client.answer(held).await), "released");
    assert_eq!(tools(&mut client).await, before);
    assert_eq!(client.seen(), Vec::<Value>::new(), "nothing has changed");
}

#[tokio::test]
async fn a_list_that_can_not_be_had_again_stays_as_it_was() {
    let impatient = "request_timeout: 300ms";
    let all = Behind::start("", &[entry("one", impatient, &SYNCHRONOUS)]).await;
    let before = listed(&all, None).await;
    let mut client = all.sse(&plain()).await;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    client.call("one-emit", &json!({"lines": [changed]})).await;
    let hold =
        json!({"name": "one-hold", "arguments": {"file": all.path("done"), "ignore_cancel": true}});
    client.start("tools/call", &hold).await;
    all.until_logged("failed to list what a server offers")
        .await;
    assert_eq!(listed(&all, None).await, before);
    all.until_noted("one", Value::is_null).await;
    fs::write(all.path("done"), "").unwrap();
}

#[tokio::test]
async fn a_reload_adds_and_removes_bridges_for_those_who_are_connected() {
    let one = entry("one", "", &[]);
    let all = Behind::start("", std::slice::from_ref(&one)).await;
    let mut client = all.sse(&plain()).await;
    assert!(!has("two-echo")(&tools(&mut client).await));
    let two = entry("two", "aliases: [deux]", &[]);
    reloaded(&all, "", &[one.clone(), two.clone()]).await;
    told_of(&mut client, has("two-echo")).await;
    assert!(client.call("deux-echo", &json!({})).await["result"].is_object());
    // a glob of the gateway's takes effect at once
    reloaded(&all, "tools: { deny: [two-info] }", &[one.clone(), two]).await;
    told_of(&mut client, |tools| !has("two-info")(tools)).await;
    reloaded(&all, "", &[one]).await;
    told_of(&mut client, |tools| !has("two-echo")(tools)).await;
    let answer = client.call("two-echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(client.call("one-echo", &json!({})).await["result"].is_object());
}

#[tokio::test]
async fn a_bridge_that_is_replaced_finishes_its_calls_while_the_new_one_is_called() {
    let (one, two) = (entry("one", SHARED, &[]), entry("two", SHARED, &[]));
    let both = [one.clone(), two];
    let all = Behind::start("", &both).await;
    let mut client = all.sse(&plain()).await;
    let pid = async |client: &mut Sse| {
        let answer = client.call("two-info", &json!({})).await;
        answer["result"]["structuredContent"]["pid"].clone()
    };
    let first = pid(&mut client).await;
    let hold = json!({"name": "two-hold", "arguments": {"file": all.path("done")}});
    let held = client.start("tools/call", &hold).await;
    all.until_received("two", "tools/call", 2).await;
    reloaded(&all, "", &[one]).await;
    reloaded(&all, "", &both).await;
    all.until_noted("two", Value::is_null).await;
    let second = pid(&mut client).await;
    assert!(second.is_number() && second != first, "{first} {second}");
    fs::write(all.path("done"), "").unwrap();
    assert_eq!(text(&client.answer(held).await), "released");
    assert_eq!(pid(&mut client).await, second);
}

#[tokio::test]
async fn a_reload_can_take_the_gateway_away_move_it_and_bring_it_back() {
    let bridges = [entry("one", "", &[])];
    let mut free = Vec::new();
    for _ in 0..2 {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.push(port.local_addr().unwrap());
    }
    let all = Behind::start("", &bridges).await;
    let at = |port: u16, gateway: &str| {
        config(gateway, &bridges).replacen(
            "gateway:\n  port: 0\n",
            &format!("gateway:\n  port: {port}\n"),
            1,
        )
    };
    let serves = async |addr: std::net::SocketAddr| {
        until(format!("a gateway at {addr}"), async || {
            let health = http::attempt(addr, Request::get("/health")).await?;
            (health.status() == 200).then_some(())
        })
        .await;
    };
    reloaded_file(&all, &at(free[0].port(), "")).await;
    serves(free[0]).await;
    assert!(
        http::attempt(all.addr(), Request::get("/health"))
            .await
            .is_none()
    );
    let mut other = Streamable::open(free[0], &plain()).await;
    assert!(other.call("one-echo", &json!({})).await["result"].is_object());
    let file = all.path("done");

    let without = format!("admin: {{ port: 0 }}\nbridges:\n{}", bridges.concat());
    let mut caller = other.clone();
    let hold = json!({"name": "one-hold", "arguments": {"file": file}});
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(async move { caller.request("tools/call", &hold).await });
    all.until_received("one", "tools/call", 2).await;
    reloaded_file(&all, &without).await;
    assert!(
        http::attempt(free[0], Request::get("/health"))
            .await
            .is_none()
    );
    // a call under way may finish
    fs::write(&file, "").unwrap();
    let answer = calls.join_next().await.unwrap().unwrap();
    assert_eq!(text(&answer), "released");

    reloaded_file(&all, &at(free[1].port(), "")).await;
    serves(free[1]).await;
    let mut again = Streamable::open(free[1], &plain()).await;
    until("its tools", async || {
        let answer = again.call("one-echo", &json!({})).await;
        answer["result"].is_object().then_some(())
    })
    .await;
}
