//! What a server is asked first, and what follows.

use std::fs;

use serde_json::{Value, json};

use super::described;
use crate::harness::proc::Process;
use crate::harness::raw::raw_at;
use crate::harness::{Fake, Sse, Streamable, fake, until};

/// The methods of the requests that the server has got.
fn methods(fake: &Fake) -> Vec<String> {
    let record = fake.record();
    let requests = record.iter().filter(|line| line.contains("\"id\""));
    requests
        .filter_map(|line| raw_at(line, &["method"]))
        .map(|method| method.trim_matches('"').to_owned())
        .filter(|method| !matches!(&**method, "tools/list" | "subscriptions/listen"))
        .collect()
}

/// Waits until this generation is ready.
async fn ready(fake: &Fake, generation: u64) {
    until(format!("generation {generation}"), async || {
        let (status, health) = fake.health("fake").await;
        (status == 200 && health["generation"] == generation).then_some(())
    })
    .await;
}

async fn echoes(fake: &Fake) -> Value {
    let mut client = fake.sse().await;
    let answer = client.call("echo", &json!({})).await;
    assert!(answer["result"].is_object(), "{answer}");
    answer
}

#[tokio::test]
async fn a_server_that_says_what_it_is_is_taken_at_its_word() {
    for (flags, era, first) in [
        (&["--modern"][..], "modern", &["server/discover"][..]),
        (&["--dual"], "modern", &["server/discover"]),
        (&[], "legacy", &["server/discover", "initialize"]),
    ] {
        let fake = fake::fake("", flags).await;
        fake.ready().await;
        assert_eq!(methods(&fake), first, "{flags:?}");
        echoes(&fake).await;
        let facts = described(&fake).await;
        assert_eq!(
            (&facts["era"], &facts["restarts"]),
            (&json!(era), &json!(0))
        );
        let ready = format!(r#""era":"{era}""#);
        assert!(fake.log().contains(&ready), "{}", fake.log());
    }
}

#[tokio::test]
async fn a_pin_asks_nothing_or_takes_nothing_else() {
    let legacy = fake::fake("era: legacy", &["--dual"]).await;
    legacy.ready().await;
    assert_eq!(methods(&legacy), ["initialize"]);
    assert_eq!(described(&legacy).await["era"], "legacy");
    echoes(&legacy).await;

    let modern = fake::fake("era: modern", &["--dual"]).await;
    modern.ready().await;
    assert_eq!(methods(&modern), ["server/discover"]);
    echoes(&modern).await;

    let wrong = fake::fake("era: modern", &[]).await;
    wrong
        .until_logged("it is no server of era: modern: it answered server/discover with the error")
        .await;
    wrong.journaled("start", 2).await;
    assert!(!wrong.record().concat().contains("\"initialize\""));
}

#[tokio::test]
async fn what_a_modern_server_refuses_is_no_reason_to_initialise_it() {
    let refused = r#"{"code":-32022,"message":"m","data":{"supported":["2027-01-01"]}}"#;
    let fake = fake::fake("", &["--modern", "--discover-error", refused]).await;
    fake.until_logged("it speaks the revisions").await;
    assert!(!fake.record().concat().contains("\"initialize\""));
    // unless it speaks an older revision too
    let refused = r#"{"code":-32022,"message":"m","data":{"supported":["2025-11-25"]}}"#;
    let fake = fake::fake("", &["--dual", "--discover-error", refused]).await;
    fake.ready().await;
    assert_eq!(methods(&fake), ["server/discover", "initialize"]);
    let result = r#"{"supportedVersions":["2025-06-18"],"capabilities":{}}"#;
    let fake = fake::fake("", &["--dual", "--discover-result", result]).await;
    fake.ready().await;
    echoes(&fake).await;
    assert_eq!(described(&fake).await["era"], "legacy");
}

#[tokio::test]
async fn a_server_that_ends_at_the_question_is_started_again_and_not_asked() {
    let fake = fake::fake("isolation: shared", &["--exit-on-probe"]).await;
    let health = fake.ready().await;
    assert_eq!(fake.pids().len(), 2);
    assert_eq!(
        (&health["generation"], &health["restarts"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(health["last_exit"], Value::Null, "it is no failure");
    assert_eq!(methods(&fake), ["server/discover", "initialize"]);
    let mut client = fake.sse().await;
    // nor later, when it has failed for another reason
    client.call("crash", &json!({})).await;
    fake.journaled("start", 3).await;
    client.call("echo", &json!({})).await;
    assert_eq!(fake.record().concat().matches("server/discover").count(), 1);
    // a client that can be asked gets one of its own that is not asked either
    let fake = fake::fake("isolation: auto", &["--exit-on-probe"]).await;
    fake.ready().await;
    let own = Streamable::open(fake.addr(), &json!({"roots": {}})).await;
    assert!(own.initialized["result"].is_object());
    assert_eq!(fake.record().concat().matches("server/discover").count(), 1);
}

#[tokio::test]
async fn a_server_that_would_have_ended_anyway_fails_as_it_always_did() {
    let fake = fake::fake("", &["--exit-at-start", "3"]).await;
    fake.journaled("start", 3).await;
    let (_, health) = fake.health("fake").await;
    let generation = health["generation"].as_u64().unwrap();
    assert_eq!(
        health["restarts"].as_u64(),
        Some(generation - 1),
        "{health}"
    );
    assert_eq!(health["last_exit"]["code"], 3);
}

#[tokio::test]
async fn a_server_that_is_silent_until_it_is_initialised_is() {
    let fake = fake::fake("", &["--silent-before-init"]).await;
    fake.ready().await;
    assert_eq!(methods(&fake), ["server/discover", "initialize"]);
    assert_eq!(described(&fake).await["era"], "legacy");
    echoes(&fake).await;
}

#[tokio::test]
async fn a_modern_server_that_starts_slowly_is_still_one() {
    let fake = fake::fake("", &["--modern", "--discover-hold", "{dir}/go"]).await;
    let line = fake.recorded("\"initialize\"").await;
    assert!(line.contains("\"capabilities\""));
    fs::write(fake.path("go"), "").unwrap();
    fake.ready().await;
    assert_eq!(described(&fake).await["era"], "modern");
    echoes(&fake).await;
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn both_questions_have_the_time_of_one() {
    let flags = ["--modern", "--discover-hold", "{dir}/never"];
    let fake = fake::fake("era: modern\ninit_timeout: 300ms", &flags).await;
    fake.until_logged("no answer to server/discover within 300ms")
        .await;
    let fake = fake::fake("init_timeout: 300ms", &["--init-silent"]).await;
    fake.until_logged("no answer to initialize within 300ms")
        .await;
}

#[tokio::test]
async fn another_server_at_the_next_start_is_found_out() {
    let fake = fake::fake("", &["--modern"]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    let config = fake::config("", &[]);
    fake.reload(&config);
    ready(&fake, 2).await;
    let answer = client.call("echo", &json!({})).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(answer["result"]["params"]["_meta"], Value::Null, "{answer}");
    assert_eq!(described(&fake).await["era"], "legacy");
    fake.reload(&fake::config("", &["--modern"]));
    ready(&fake, 3).await;
    let answer = client.call("echo", &json!({})).await;
    let version = &answer["result"]["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
    assert_eq!(*version, "2026-07-28", "{answer}");
}

#[tokio::test]
async fn a_session_that_comes_before_anything_is_known_finds_out_by_itself() {
    for flags in [&["--modern"][..], &[], &["--exit-on-probe"]] {
        let flags = [flags, &["--init-delay", "1"]].concat();
        let fake = fake::fake("isolation: session", &flags).await;
        let mut client = Sse::connect(fake.addr()).await;
        client.initialize(&json!({"roots": {}})).await;
        let answer = client.call("info", &json!({})).await;
        let pid = answer["result"]["structuredContent"]["pid"]
            .as_i64()
            .unwrap();
        let process = Process::find(i32::try_from(pid).unwrap()).unwrap();
        drop(client);
        process.gone().await;
    }
}
