//! What servers write that they should not, and pipes that nobody reads (SUPERVISION §4).

use serde_json::{Value, json};

use crate::harness::{Daemon, Fake, Sse, fake, proc, until};
use crate::supervision::metric;

async fn ready(extra: &str, flags: &[&str]) -> Fake {
    let fake = fake::fake(&format!("isolation: shared\n{extra}"), flags).await;
    fake.ready().await;
    fake
}

fn dropped(reason: &str) -> String {
    format!("mcp_bridged_dropped_total{{bridge=\"fake\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn lines_that_are_no_messages_are_dropped_and_counted() {
    let banners = ["--banner", "Server listening on stdio", "--banner", ""];
    let fake = ready("", &banners).await;
    let mut client = fake.sse().await;
    let before = metric(&fake, "fake", &dropped("garbage")).await;
    assert_eq!(before, 1, "blank lines are nobody's mistake");
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let bomb = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{deep}}}"#);
    let lines = [
        "plain text",
        "\u{1b}[32mINFO\u{1b}[0m starting",
        "{\"jsonrpc\":\"2.0\",\"id\":",
        "{\"some\":\"json\"}",
        "[1,2,3]",
        "\"text\"",
        "42",
        "nul \u{0} inside",
        "{\"jsonrpc\":\"1.0\",\"id\":$ID,\"result\":{}}",
        &bomb,
        "  ",
    ];
    let answer = client.call("emit", &json!({"lines": lines})).await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "emitted",
        "{answer}"
    );
    let after = metric(&fake, "fake", &dropped("garbage")).await;
    assert!((9..=10).contains(&(after - before)), "{after}");
    // the log shows the first ones and then holds back
    fake.until_logged("Server listening on stdio").await;
    let shown = until("the log of five lines", async || {
        let shown = fake.log().matches("a line that is no message").count();
        (shown >= 5).then_some(shown)
    })
    .await;
    assert!((5..=6).contains(&shown), "{shown}");
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn odd_framing_of_good_messages_is_understood() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#;
    for (text, end) in [
        (result.to_owned(), "\r\n"),
        (format!("\u{feff}{result}"), "\n"),
        (format!("  \t{result}  "), "\n"),
        (format!("\n\n{result}"), "\n\r\n\n"),
    ] {
        let answer = client
            .call(
                "emit",
                &json!({"lines": [text], "end": end, "answer": false}),
            )
            .await;
        assert_eq!(answer["result"], json!({"content": []}), "{text:?}");
    }
    assert_eq!(metric(&fake, "fake", &dropped("garbage")).await, 0);
}

#[tokio::test]
async fn invalid_utf8_inside_a_string_is_delivered_with_a_mark() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    let token = client
        .start_call("hold", &json!({"key": "k"}), &json!("t"))
        .await;
    let line: Value = serde_json::from_str(&fake.recorded("\"hold\"").await).unwrap();
    let hex = |text: &str| {
        text.bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"text":"caf"#,
        line["id"]
    );
    let bytes = format!("{}e9{}", hex(&head), hex("\"}}\n"));
    let mut other = fake.sse().await;
    other.call("emit", &json!({"hex": bytes})).await;
    let answer = client.answer(token).await;
    assert_eq!(answer["result"]["text"], "caf\u{fffd}", "{answer}");
}

#[tokio::test]
async fn a_line_in_pieces_is_waited_for() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    let mut other = fake.sse().await;
    let pieces = [r#"{"jsonrpc":"2.0","id":$ID,"result":"#, r#"{"ok":true}}"#];
    let file = fake.path("go");
    let arguments = json!({"pieces": pieces, "file": file.to_str(), "answer": false});
    let call = json!({"name": "emit", "arguments": arguments});
    let id = client.start("tools/call", &call).await;
    let written = fake.journaled("piece", 1).await["written"].clone();
    until("half a line at the bridge", async || {
        let read = metric(&fake, "fake", "mcp_bridged_stdout_bytes_total").await;
        (written == read).then_some(())
    })
    .await;
    // a ping of its own is answered meanwhile, by the bridge
    other.request("ping", &json!({})).await;
    assert_eq!(client.seen(), Vec::<Value>::new());
    std::fs::write(file, "").unwrap();
    assert_eq!(client.answer(id).await["result"]["ok"], true);
}

#[tokio::test]
async fn a_message_over_the_limit_is_its_caller_s_error_only() {
    let fake = ready("max_message: 1MiB", &[]).await;
    let mut client = fake.sse().await;
    let mut other = fake.sse().await;
    let call = other
        .start(
            "tools/call",
            &json!({"name": "hold", "arguments": {"key": "k"}}),
        )
        .await;
    let before = proc::peak_resident(fake.pid());
    for place in ["first", "last"] {
        let answer = client
            .call("oversize", &json!({"mib": 24, "id": place}))
            .await;
        assert_eq!(answer["error"]["code"], -31003, "{place}: {answer}");
        assert!(answer["error"]["message"].is_string());
    }
    let lost = client
        .start(
            "tools/call",
            &json!({"name": "oversize", "arguments": {"mib": 24, "id": "none"}}),
        )
        .await;
    client.call("release", &json!({"key": "k"})).await;
    assert!(other.answer(call).await["result"].is_object());
    assert!(client.seen().is_empty(), "no answer can be told for {lost}");
    until("three lines", async || {
        (metric(&fake, "fake", &dropped("oversize")).await == 3).then_some(())
    })
    .await;
    let growth = proc::peak_resident(fake.pid()).saturating_sub(before);
    assert!(growth < 12 << 20, "{growth} bytes for lines of 24 MiB");
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn a_flood_of_stderr_blocks_nobody_and_is_cut() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    let answer = client
        .call("stderr", &json!({"n": 100_000, "bytes": 200}))
        .await;
    assert!(answer["result"].is_object());
    client
        .call("stderr", &json!({"n": 1, "bytes": 500_000}))
        .await;
    client
        .call("stderr", &json!({"text": "half a line", "end": ""}))
        .await;
    until("all of it read", async || {
        let bytes = "mcp_bridged_stderr_bytes_total";
        (metric(&fake, "fake", bytes).await >= 20_600_000).then_some(())
    })
    .await;
    assert!(metric(&fake, "fake", &dropped("stderr_overflow")).await > 90_000);
    let log = fake.log();
    assert!(log.len() < 2 << 20, "{} bytes of log", log.len());
    assert!(log.lines().all(|line| line.len() < 9 * 1024));
    let answer = client.call("crash", &json!({})).await;
    let stderr = &answer["error"]["data"]["stderr"];
    assert_eq!(
        stderr.as_array().unwrap().last().unwrap(),
        "half a line",
        "{answer}"
    );
}

#[tokio::test]
async fn a_server_that_stops_reading_fills_its_queue_and_hurts_no_other() {
    let deaf = fake::entry("fake", "isolation: shared", &["--synchronous"]);
    let other = fake::entry("other", "isolation: shared", &[]);
    let daemon = Daemon::start(&format!("admin: {{ port: 0 }}\nbridges:\n{deaf}{other}")).await;
    daemon.until_ready("fake").await;
    daemon.until_ready("other").await;
    let mut client = Sse::connect(daemon.bridge("fake")).await;
    client.initialize(&json!({})).await;
    client.call("hang", &json!({"how": "stdin"})).await;
    let large = json!({"name": "echo", "arguments": {"text": "x".repeat(1 << 20)}});
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(client.start("tools/call", &large).await);
    }
    let refused = client.answer(*ids.last().unwrap()).await;
    assert_eq!(refused["error"]["code"], -31004, "{refused}");
    let mut well = Sse::connect(daemon.bridge("other")).await;
    well.initialize(&json!({})).await;
    well.call("echo", &json!({})).await;
    assert_eq!(daemon.health("other").await.0, 200);
    assert_eq!(
        daemon.health("fake").await.0,
        200,
        "deaf, but not long enough"
    );
    // its end answers those whose bytes never left
    let pid = crate::supervision::shown(&daemon, "fake").await["pid"]
        .as_i64()
        .unwrap();
    crate::supervision::kill(i32::try_from(pid).unwrap());
    let answer = client.answer(ids[8 - 2]).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert_eq!(answer["error"]["data"]["delivered"], false, "{answer}");
}

#[tokio::test]
async fn an_array_of_messages_from_a_server_hurts_nobody() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    // only 2025-03-26 has batches, and no server is known that answers single requests with one
    let lines = [r#"[{"jsonrpc":"2.0","id":$ID,"result":{}}]"#];
    let answer = client.call("emit", &json!({"lines": lines})).await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "emitted",
        "{answer}"
    );
    assert_eq!(metric(&fake, "fake", &dropped("garbage")).await, 1);
}
