//! Cancellation in both directions, always under the id that the other side knows.

use serde_json::{Value, json};

use crate::harness::raw::raw_at;
use crate::harness::sse::initialize_params;
use crate::harness::{Fake, Raw, Sse, fake, until};

const HOLD: &str = r#"{"jsonrpc":"2.0","id":"h","method":"tools/call","params":{"name":"hold","arguments":{"key":"k","of":"OWNER"}}}"#;

fn hold(owner: &str) -> String {
    HOLD.replace("OWNER", owner)
}

/// The id under which the server knows the held call of `owner`.
async fn held(fake: &Fake, owner: &str) -> String {
    let line = fake.recorded(&format!("\"of\":\"{owner}\"")).await;
    raw_at(&line, &["id"]).unwrap()
}

/// The cancellations that the server read, as raw ids.
fn cancelled(fake: &Fake) -> Vec<String> {
    let lines = fake.record().into_iter();
    lines
        .filter(|line| line.contains("notifications/cancelled"))
        .map(|line| raw_at(&line, &["params", "requestId"]).unwrap())
        .collect()
}

#[tokio::test]
async fn a_cancellation_names_the_call_as_the_server_knows_it() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    assert_eq!(one.post(hold("one")).await.status(), 202);
    assert_eq!(two.post(hold("two")).await.status(), 202);
    let k = held(&fake, "two").await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"\u0062ored 1.0","x":1e400,"requestId":"h"}}"#;
    assert_eq!(two.post(cancel).await.status(), 202);
    let line = fake.recorded("notifications/cancelled").await;
    assert_eq!(line.trim_end(), cancel.replace(r#""h""#, &k));
    // the id is free again, and the call that was cancelled is answered by nobody
    let params = json!({"name": "release", "arguments": {"key": "k"}});
    let release = json!({"jsonrpc": "2.0", "id": "h", "method": "tools/call", "params": params});
    two.send(&release).await;
    let answer = two.next().await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "released",
        "{answer}"
    );
    let answer = one.next().await;
    assert_eq!(
        answer["id"], "h",
        "the call of the other session goes on: {answer}"
    );
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(cancelled(&fake), [k]);
}

#[tokio::test]
async fn a_cancelled_post_is_answered_that_it_was_cancelled() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let client = fake.streamable().await;
    let cancel = async {
        let k = held(&fake, "one").await;
        let params = json!({"requestId": "h"});
        client.notify("notifications/cancelled", &params).await;
        until("the cancellation", async || {
            (cancelled(&fake) == [k.clone()]).then_some(())
        })
        .await;
    };
    let (reply, ()) = tokio::join!(client.post(hold("one")), cancel);
    let answer = reply.whole().json();
    assert_eq!(answer["id"], "h");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cancelled"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_late_answer_to_a_cancelled_call_is_dropped() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = fake.sse().await;
    let arguments = json!({"key": "k", "ignore_cancel": true});
    let id = client.start_call("hold", &arguments, &json!("t")).await;
    fake.recorded("ignore_cancel").await;
    client
        .notify("notifications/cancelled", &json!({"requestId": id}))
        .await;
    fake.recorded("notifications/cancelled").await;
    client.call("release", &json!({"key": "k"})).await;
    until("the late answer", async || {
        fake.metrics("fake")
            .await
            .contains("reason=\"late_answer\"} 1")
            .then_some(())
    })
    .await;
    client.call("echo", &json!({})).await;
    assert_eq!(client.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn cancellations_of_nothing_stay_at_the_bridge() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut owner = fake.sse().await;
    assert_eq!(owner.post(hold("one")).await.status(), 202);
    let k = held(&fake, "one").await;
    for mut other in Raw::both(&fake).await {
        for id in ["\"h\"", &k, "0", "null", "1e400", "\"none\"", "{}"] {
            let params = format!(r#"{{"requestId":{id}}}"#);
            other
                .tell(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#
                ))
                .await;
        }
        other
            .tell(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#)
            .await;
        other
            .answer(r#"{"jsonrpc":"2.0","id":9,"method":"test/end"}"#)
            .await;
    }
    assert_eq!(cancelled(&fake), Vec::<String>::new());
}

#[tokio::test]
async fn a_closed_sse_stream_cancels_its_calls() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let (mut gone, mut stays) = (fake.sse().await, fake.sse().await);
    assert_eq!(gone.post(hold("gone")).await.status(), 202);
    assert_eq!(
        gone.post(hold("too").replace(r#""h""#, "2")).await.status(),
        202
    );
    assert_eq!(stays.post(hold("stays")).await.status(), 202);
    let mut expected = [held(&fake, "gone").await, held(&fake, "too").await];
    held(&fake, "stays").await;
    drop(gone);
    expected.sort();
    until("both cancellations", async || {
        let mut cancelled = cancelled(&fake);
        cancelled.sort();
        (cancelled == expected).then_some(())
    })
    .await;
    stays.call("release", &json!({"key": "k"})).await;
    stays.answer("h").await;
}

#[tokio::test]
async fn a_dropped_post_cancels_nothing_and_the_end_of_the_session_does() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = fake.streamable().await;
    tokio::select! {
        reply = client.post(hold("one")) => panic!("{reply:?}"),
        _ = held(&fake, "one") => {}
    }
    let k = held(&fake, "one").await;
    // the connection is closed by now; the bridge has seen it when it answers on another one a while later
    client.call("sleep", &json!({"ms": 200})).await;
    assert_eq!(cancelled(&fake), Vec::<String>::new());
    assert_eq!(client.delete().await.status(), 204);
    until("the cancellation", async || {
        (cancelled(&fake) == [k.clone()]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn initialize_is_never_cancelled() {
    let fake = fake::fake("isolation: session", &["--init-hold", "{dir}/go"]).await;
    let mut client = Sse::connect(fake.addr()).await;
    let params = initialize_params("2025-11-25", &json!({}));
    let id = client.start("initialize", &params).await;
    fake.recorded("wire-test").await;
    client
        .notify("notifications/cancelled", &json!({"requestId": id}))
        .await;
    client
        .notify("notifications/vendor", &json!({"after": "it"}))
        .await;
    std::fs::write(fake.path("go"), "").unwrap();
    let answer = client.answer(id).await;
    assert!(answer["result"].is_object(), "{answer}");
    client.notify("notifications/initialized", &json!({})).await;
    client.call("echo", &json!({})).await;
    assert_eq!(cancelled(&fake), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_that_still_waits_for_the_server_is_cancelled_at_the_bridge() {
    let fake = fake::fake("isolation: shared", &["--init-hold", "{dir}/go"]).await;
    let mut client = Sse::connect(fake.addr()).await;
    assert_eq!(client.post(hold("early")).await.status(), 202);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "h"}});
    client.send(&cancel).await;
    // the bridge answers this itself, after it has seen what came before
    client.request("ping", &json!({})).await;
    std::fs::write(fake.path("go"), "").unwrap();
    fake.ready().await;
    client.initialize(&json!({})).await;
    client.call("echo", &json!({})).await;
    let record = fake.record().concat();
    assert!(
        !record.contains("early") && !record.contains("cancelled"),
        "{record}"
    );
    assert_eq!(client.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cancelled() {
    let fake = fake::fake("isolation: shared\nrequest_timeout: 200ms", &[]).await;
    for (mut client, owner) in Raw::both(&fake).await.into_iter().zip(["one", "two"]) {
        let answer = client.answer(&hold(owner)).await;
        assert_eq!(
            raw_at(&answer, &["error", "code"]).as_deref(),
            Some("-31002")
        );
        assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some(r#""h""#));
        let k = held(&fake, owner).await;
        until("the cancellation", async || {
            cancelled(&fake).contains(&k).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_server_takes_back_what_it_asked_under_the_clients_id() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = Sse::connect(fake.addr()).await;
    client.initialize(&json!({"roots": {}})).await;
    let arguments =
        json!({"method": "roots/list", "id": "\"server-7\"", "cancel": true, "wait": false});
    let id = client.start_call("ask", &arguments, &json!(1)).await;
    let ask = client.next().await;
    assert_eq!(ask["method"], "roots/list");
    assert_ne!(ask["id"], "server-7");
    let cancel = client.next().await;
    assert_eq!(cancel["method"], "notifications/cancelled");
    assert_eq!(
        cancel["params"],
        json!({"requestId": ask["id"], "reason": "told to"})
    );
    client.answer(id).await;
    // too late
    client
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"roots": []}}))
        .await;
    client.call("echo", &json!({})).await;
    let record = fake.record().concat();
    assert!(!record.contains("\"roots\":[]"), "{record}");
}
