//! Request ids of many sessions over one pipe: each answer reaches its own session under its own spelling.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::raw::raw_at;
use crate::harness::{Raw, Sse, Streamable, fake, until};

/// Different ids, some of which look alike.
const SPELLINGS: [&str; 12] = [
    "0",
    "1",
    r#""1""#,
    "1.0",
    "1e0",
    "-1",
    "9007199254740993",
    "12345678901234567890",
    r#""\ud800""#,
    r#""\u0031""#,
    r#""""#,
    "0.1",
];

#[tokio::test]
async fn ids_of_every_spelling_come_back_to_their_own_session() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let addr = fake.addr();
    let mut sessions = JoinSet::new();
    for number in 0..4 {
        sessions.spawn(async move {
            let mut client = Sse::connect(addr).await;
            client.initialize(&json!({})).await;
            for spelling in SPELLINGS {
                // all in flight at the same time
                let own = json!(format!("{number} {spelling}"));
                let params = json!({"name": "hold", "arguments": {"key": "all", "own": own}});
                let sent = format!(
                    r#"{{"jsonrpc":"2.0","id":{spelling},"method":"tools/call","params":{params}}}"#
                );
                assert_eq!(client.post(sent).await.status(), 202);
                let sent = format!(
                    r#"{{"jsonrpc":"2.0","id":"echo of {}","method":"test/x","params":{own}}}"#,
                    json!(spelling).to_string().replace(['"', '\\'], "_")
                );
                assert_eq!(client.post(sent).await.status(), 202);
            }
            // the echoes first: nothing else is answered yet
            for _ in SPELLINGS {
                let answer = client.events().next().await.json();
                let params = answer["result"]["params"].as_str().unwrap().to_owned();
                assert!(params.starts_with(&format!("{number} ")), "{answer}");
                assert!(
                    answer["id"].as_str().unwrap().starts_with("echo of"),
                    "{answer}"
                );
            }
            client
        });
    }
    let mut clients = sessions.join_all().await;
    let n = SPELLINGS.len() * clients.len();
    let mut other = fake.streamable().await;
    other.call("release", &json!({"key": "all", "n": n})).await;
    for client in &mut clients {
        let mut left: HashSet<_> = SPELLINGS.into();
        while !left.is_empty() {
            let answer = client.events().next().await.data;
            let id = raw_at(&answer, &["id"]).unwrap();
            assert!(left.remove(id.as_str()), "{answer}, still open: {left:?}");
            assert!(answer.contains("released"), "{answer}");
        }
    }
    let ids = fake
        .record()
        .into_iter()
        .filter_map(|line| raw_at(&line, &["id"]));
    let ids: Vec<u64> = ids.map(|id| id.parse().unwrap()).collect();
    let different: HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "no id is used twice: {ids:?}");
    assert!(ids.iter().all(|id| *id < 1 << 53));
}

#[tokio::test]
async fn an_id_in_flight_is_refused_a_second_time_and_free_again_after_its_answer() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let hold = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"hold","arguments":{{"key":"k"}}}}}}"#
        )
    };
    let echo = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"test/second"}}"#);
    for id in ["5", r#""5""#] {
        let mut sse = fake.sse().await;
        assert_eq!(sse.post(hold(id)).await.status(), 202);
        assert_eq!(sse.post(echo(id)).await.status(), 202);
        let refusal = sse.events().next().await.data;
        assert_eq!(raw_at(&refusal, &["id"]).as_deref(), Some(id));
        assert_eq!(
            raw_at(&refusal, &["error", "code"]).as_deref(),
            Some("-32600")
        );
        // another spelling, or the same in another session, is another id
        let mut other = Raw::Streamable(fake.streamable().await);
        assert!(other.answer(&echo(id)).await.contains("result"));
        assert_eq!(sse.post(echo("5.0")).await.status(), 202);
        let answer = sse.events().next().await.data;
        assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some("5.0"));
        other.answer(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"release","arguments":{"key":"k"}}}"#).await;
        let answer = sse.events().next().await.data;
        assert!(answer.contains("released"), "{answer}");
        assert_eq!(sse.post(echo(id)).await.status(), 202);
        let answer = sse.events().next().await.data;
        assert!(answer.contains("test/second"), "{answer}");
    }
    let streamable = fake.streamable().await;
    let held = {
        let streamable = streamable.clone();
        let body = hold("5");
        async move { streamable.post(body).await.whole() }
    };
    let second = async {
        fake.recorded("\"hold\"").await;
        let waiting = || {
            fake.record()
                .iter()
                .filter(|line| line.contains("\"hold\""))
                .count()
        };
        until("the third hold", async || (waiting() == 3).then_some(())).await;
        let refusal = streamable.post(echo("5")).await.whole();
        assert_eq!(refusal.json()["error"]["code"], -32600);
        streamable
            .clone()
            .call("release", &json!({"key": "k"}))
            .await;
    };
    let (held, ()) = tokio::join!(held, second);
    assert!(held.text().contains("released"));
}

#[tokio::test]
async fn answers_to_nothing_are_dropped_and_counted() {
    let fake = fake::fake("isolation: shared", &[]).await;
    for mut client in Raw::both(&fake).await {
        let answer =
            |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"of":"nobody"}}}}"#);
        let lines: Vec<_> = ["999999", "\"$ID\"", "null", "1.5", "-1", "1e400", "\"x\""]
            .map(answer)
            .to_vec();
        let twice = answer("$ID");
        let params = json!({"name": "emit", "arguments": {"lines": lines, "answer": true, "after": [twice]}});
        let sent = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let answer = client.answer(&sent).await;
        assert!(answer.contains("emitted"), "{answer}");
        let answer = client
            .answer(r#"{"jsonrpc":"2.0","id":1,"method":"test/next"}"#)
            .await;
        assert!(answer.contains("test/next"), "{answer}");
    }
    let metrics = fake.metrics("fake").await;
    let count = |reason: &str| {
        let line = metrics
            .lines()
            .find(|line| line.contains("dropped") && line.contains(reason));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(count("\"unknown_answer\""), Some(14), "{metrics}");
    assert_eq!(count("\"late_answer\""), Some(2), "{metrics}");
}

#[tokio::test]
async fn thirty_clients_with_equal_ids_get_their_own_fifty_answers() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let addr = fake.addr();
    let mut sessions = JoinSet::new();
    for number in 0..30 {
        if number % 2 == 0 {
            sessions.spawn(async move {
                let mut client = Sse::connect(addr).await;
                client.initialize(&json!({})).await;
                for round in 0..50 {
                    let id = client
                        .start_call("echo", &payload(number, round), &json!(round))
                        .await;
                    assert_eq!(id, round + 1, "every client has the same ids");
                }
                for round in 0..50 {
                    let answer = client.answer(round + 1).await;
                    check(&answer, number, round);
                }
                assert_eq!(client.seen(), Vec::<Value>::new());
            });
        } else {
            sessions.spawn(async move {
                let client = Streamable::open(addr, &json!({})).await;
                let mut calls = JoinSet::new();
                for round in 0..50_u64 {
                    let client = client.clone();
                    calls.spawn(async move {
                        let params = json!({"name": "echo", "arguments": payload(number, round), "_meta": {"progressToken": round}});
                        let sent = json!({"jsonrpc": "2.0", "id": round + 1, "method": "tools/call", "params": params});
                        let answer = client.post(sent.to_string()).await.whole().json();
                        assert_eq!(answer["id"], round + 1);
                        check(&answer, number, round);
                    });
                    // a browser's worth of connections at a time
                    if calls.len() >= 5 {
                        calls.join_next().await.unwrap().unwrap();
                    }
                }
                calls.join_all().await;
            });
        }
    }
    assert_eq!(sessions.join_all().await.len(), 30);
    assert_eq!(fake.pids().len(), 1);
}

fn payload(number: usize, round: u64) -> Value {
    json!({"owner": number, "round": round, "text": format!("{number}-{round} ").repeat(50)})
}

fn check(answer: &Value, number: usize, round: u64) {
    let arguments = &answer["result"]["params"]["arguments"];
    assert_eq!(*arguments, payload(number, round), "{answer}");
}
