//! Sessions that come and go without a word leave nothing (SUPERVISION §5).

use std::time::Duration;

use serde_json::json;

use crate::harness::{Connection, Fake, Request, Sse, Streamable, fake, proc, until};
use crate::supervision::metric;

/// What one daemon has of everything that can leak.
#[derive(Debug)]
struct Having {
    files: usize,
    threads: u64,
    children: usize,
    resident: u64,
}

fn having(fake: &Fake) -> Having {
    Having {
        files: proc::open_files(fake.pid()),
        threads: proc::threads(fake.pid()),
        children: proc::descendants(fake.pid()).len(),
        resident: proc::resident(fake.pid()),
    }
}

/// Compares after the end of all sessions; memory may have grown by what an allocator keeps.
async fn as_before(fake: &Fake, before: &Having) {
    until("descriptors as before", async || {
        (having(fake).files <= before.files + 2).then_some(())
    })
    .await;
    let now = having(fake);
    assert!(now.threads <= before.threads, "{now:?} {before:?}");
    assert_eq!(now.children, before.children);
    let growth = now.resident.saturating_sub(before.resident);
    assert!(growth < 24 << 20, "{now:?} {before:?}");
}

#[tokio::test]
async fn a_thousand_sse_sessions_dropped_without_a_word_leave_nothing() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let sessions = "mcp_bridged_sessions{bridge=\"fake\",transport=\"sse\"}";
    let mut before = None;
    for round in 0..20 {
        for n in 0..50 {
            let mut client = Sse::connect(fake.addr()).await;
            // some say nothing at all, some leave in the middle of a call
            if n % 3 > 0 {
                client.initialize(&json!({})).await;
            }
            if n % 3 > 1 {
                client
                    .start(
                        "tools/call",
                        &json!({"name": "hold", "arguments": {"key": round}}),
                    )
                    .await;
            }
        }
        if round == 0 {
            until("the first ended", async || {
                (metric(&fake, "fake", sessions).await == 0).then_some(())
            })
            .await;
            before = Some(having(&fake));
        }
    }
    until("no session", async || {
        (metric(&fake, "fake", sessions).await == 0).then_some(())
    })
    .await;
    as_before(&fake, &before.unwrap()).await;
    let mut client = fake.sse().await;
    let state = client.call("state", &json!({})).await;
    let cancelled = &state["result"]["structuredContent"]["cancelled"];
    assert_eq!(
        cancelled.as_array().unwrap().len(),
        20 * 16,
        "each call was cancelled"
    );
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn a_thousand_streamable_sessions_end_when_they_are_idle() {
    let fake = fake::fake("isolation: shared\nsession_idle: 500ms", &[]).await;
    fake.ready().await;
    let sessions = "mcp_bridged_sessions{bridge=\"fake\",transport=\"streamable\"}";
    let mut before = None;
    for round in 0..20 {
        for n in 0..50 {
            let client = Streamable::open(fake.addr(), &json!({})).await;
            if n % 5 == 0 {
                // its stream is dropped with the rest
                client.get(None).await;
            }
        }
        if round == 0 {
            before = Some(having(&fake));
        }
    }
    until("no session", async || {
        (metric(&fake, "fake", sessions).await == 0).then_some(())
    })
    .await;
    as_before(&fake, &before.unwrap()).await;
    fake.streamable().await.call("echo", &json!({})).await;
}

#[tokio::test]
async fn connections_that_say_nothing_useful_leave_nothing() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let before = having(&fake);
    for _ in 0..100 {
        let mut half = Connection::open(fake.addr()).await;
        half.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            .await;
        let mut body = Connection::open(fake.addr()).await;
        let request = Request::post("/mcp", "{").header("content-length", "1000");
        drop(tokio::time::timeout(Duration::from_millis(1), body.request(&request)).await);
    }
    as_before(&fake, &before).await;
}
