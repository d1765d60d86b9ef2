//! Which process serves a client of the stateless revision that can be asked something.

use serde_json::{Value, json};

use crate::harness::proc::Process;
use crate::harness::stateless::send;
use crate::harness::{Connection, Fake, Stateless, Streamable, fake, until};

fn elicits(fake: &Fake) -> Stateless {
    Stateless::new(fake.addr(), &json!({"elicitation": {}}))
}

async fn pid(client: &mut Stateless) -> i32 {
    let answer = client.call("info", &json!({})).await;
    let pid = answer["result"]["structuredContent"]["pid"].as_i64();
    i32::try_from(pid.unwrap_or_else(|| panic!("no pid in {answer}"))).unwrap()
}

/// A call that lasts until `key` is released; returns when the server has it.
async fn held(fake: &Fake, client: &mut Stateless, key: &str) -> Connection {
    let params = json!({"name": "hold", "arguments": {"key": key}});
    let body = client.body("tools/call", &params);
    let mut connection = Connection::open(fake.addr()).await;
    let request = client.prepare(&body);
    let there = format!(r#""key":"{key}""#);
    tokio::select! {
        head = async { connection.request(&request).await } => panic!("it is held: {head:?}"),
        _ = fake.recorded(&there) => {}
    }
    connection
}

#[tokio::test]
async fn clients_that_can_be_asked_get_a_process_of_their_class() {
    let fake = fake::fake("api_keys: [one, two]", &[]).await;
    fake.ready().await;
    let with = |key: &str, capabilities: Value| {
        let mut client = Stateless::new(fake.addr(), &capabilities);
        client
            .headers
            .push(("x-api-key".to_owned(), key.to_owned()));
        client
    };
    let elicitation = json!({"elicitation": {}});
    let shared = pid(&mut with("one", json!({}))).await;
    assert_eq!(
        pid(&mut with("two", json!({"extensions": {}}))).await,
        shared
    );
    let first = pid(&mut with("one", elicitation.clone())).await;
    assert_ne!(first, shared);
    assert_eq!(
        pid(&mut with("one", elicitation.clone())).await,
        first,
        "it is kept for the next"
    );
    let others = [
        pid(&mut with("two", elicitation)).await,
        pid(&mut with("one", json!({"elicitation": {"url": {}}}))).await,
    ];
    assert!(!others.contains(&first) && !others.contains(&shared) && others[0] != others[1]);
    let told = fake.record().concat();
    assert!(told.contains(r#""capabilities":{"elicitation":{"url":{}}},"clientInfo":{"name":"stateless","version":"1"}"#), "{told}");
}

#[tokio::test]
async fn calls_that_may_ask_have_a_process_each_and_others_share_one() {
    let fake = fake::fake("", &[]).await;
    fake.ready().await;
    let mut client = elicits(&fake);
    let first = pid(&mut client).await;
    let held = held(&fake, &mut client, "k").await;
    assert_ne!(
        pid(&mut client).await,
        first,
        "what is asked there would be ambiguous"
    );
    let list = client.request("tools/list", &Value::Null).await;
    assert!(list["result"]["tools"].is_array());
    drop(held);
    fake.journaled("cancelled", 1).await;
    // a server that may still be at work on what was given up is not used again
    for _ in 0..3 {
        assert_ne!(pid(&mut client).await, first);
    }
    if let Some(process) = Process::find(first) {
        process.gone().await;
    }
}

#[tokio::test]
async fn when_no_more_may_run_a_class_shares_and_strangers_take_idle_places_or_wait_outside() {
    // a spare is one of them
    let fake = fake::fake("max_instances: 2", &[]).await;
    fake.ready().await;
    let mut client = elicits(&fake);
    let mut other = Stateless::new(fake.addr(), &json!({"roots": {}}));
    let first = held(&fake, &mut client, "a").await;
    let second = held(&fake, &mut client, "b").await;
    // both places are taken: the next of the class shares, and what its server asks can't be attributed
    let answer = client
        .call("ask", &json!({"method": "elicitation/create"}))
        .await;
    let heard = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(heard.contains("-32601"), "{answer}");
    let (_, reply) = other.start("tools/call", &json!({"name": "echo"})).await;
    assert_eq!(reply.status(), 503);
    assert!(reply.head().header("retry-after").is_some());
    let error = reply.whole().json();
    assert_eq!(error["error"]["code"], -31004, "{error}");
    drop((first, second));
    fake.journaled("cancelled", 2).await;
    // idle ones make room for whoever needs it, of either era
    until("a place", async || {
        let (_, reply) = other.start("tools/call", &json!({"name": "echo"})).await;
        (reply.status() == 200).then_some(())
    })
    .await;
    until("both places idle", async || {
        pid(&mut client).await;
        Some(())
    })
    .await;
    let legacy = Streamable::open(fake.addr(), &json!({"sampling": {}})).await;
    assert!(legacy.session.is_some());
}

#[tokio::test]
async fn by_session_each_request_has_a_fresh_process_and_its_continuation_the_same() {
    let fake = fake::fake("isolation: session", &[]).await;
    fake.ready().await;
    let mut client = Stateless::new(fake.addr(), &json!({"elicitation": {}}));
    let (first, second) = (pid(&mut client).await, pid(&mut client).await);
    assert_ne!(first, second);
    let params = json!({"name": "ask", "arguments": {"method": "elicitation/create"}});
    let answer = client.request("tools/call", &params).await;
    let mut retry = params.clone();
    retry["requestState"] = answer["result"]["requestState"].clone();
    let key = answer["result"]["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    retry["inputResponses"] = json!({key: {"action": "accept"}});
    let answer = client.request("tools/call", &retry).await;
    assert!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("accept"),
        "{answer}"
    );
    let starts = fake.events("start").len();
    let discovered = client.request("server/discover", &Value::Null).await;
    assert_eq!(discovered["result"]["resultType"], "complete");
    assert!(
        fake.events("start").len() <= starts + 1,
        "only a spare may have come"
    );
}

#[tokio::test]
async fn idle_processes_end_with_the_bridge() {
    let mut fake = fake::fake("", &[]).await;
    fake.ready().await;
    let mut client = elicits(&fake);
    pid(&mut client).await;
    let body = client.body("tools/list", &Value::Null);
    let request = client.prepare(&body);
    assert_eq!(send(fake.addr(), &request).await.status(), 200);
    let all: Vec<Process> = fake.pids().into_iter().filter_map(Process::find).collect();
    assert_eq!(fake.stop().await, Some(0));
    assert!(!all.iter().any(Process::exists));
}
