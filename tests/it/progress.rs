//! Progress reaches the owner of its call, under the owner's own token, and nobody else.

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::raw::raw_at;
use crate::harness::{Raw, Sse, Streamable, fake};

fn call(id: &str, token: &str, tool: &str, arguments: &serde_json::Value) -> String {
    let meta = format!(r#"{{"progressToken":{token}}}"#);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{meta}}}}}"#
    )
}

#[tokio::test]
async fn a_token_comes_back_as_it_was_spelled() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let tokens = [
        r#""mine""#,
        "7",
        "0",
        "1.0",
        "-0",
        "12345678901234567890",
        "1e400",
        r#""\u00e9\ud800""#,
        r#""7""#,
    ];
    for mut client in Raw::both(&fake).await {
        for token in tokens {
            let from = fake.record().len();
            let sent = call("3", token, "progress", &json!({"n": 2}));
            let texts = client.exchange(&sent).await;
            assert_eq!(texts.len(), 3, "{texts:?}");
            for (step, text) in texts[..2].iter().enumerate() {
                let step = step + 1;
                let expected = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":2}}}}"#
                );
                assert_eq!(*text, expected, "{}", client.name());
            }
            let lines = fake.record();
            let line = lines[from..].iter().find(|line| line.contains("progress"));
            let line = line.unwrap();
            let id = raw_at(line, &["id"]).unwrap();
            let given = raw_at(line, &["params", "_meta", "progressToken"]);
            assert_eq!(given, Some(id), "the server knows the token by the id");
        }
    }
}

#[tokio::test]
async fn equal_tokens_of_twenty_sessions_stay_apart() {
    let fake = fake::settled("isolation: shared", &[]).await;
    fake.ready().await;
    let addr = fake.addr();
    let mut sessions = JoinSet::new();
    for number in 0..20 {
        sessions.spawn(async move {
            let mut client = if number % 2 == 0 {
                let mut client = Sse::connect(addr).await;
                client.initialize(&json!({})).await;
                Raw::Sse(Box::new(client))
            } else {
                Raw::Streamable(Streamable::open(addr, &json!({})).await)
            };
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":1,"message":"of {number}."}}}}"#
            );
            let arguments = json!({"lines": vec![line.clone(); 5]});
            for _ in 0..5 {
                let texts = client.exchange(&call("1", "1", "emit", &arguments)).await;
                assert_eq!(texts.len(), 6, "{texts:?}");
                let own = line.replace("$TOKEN", "1");
                assert!(texts[..5].iter().all(|text| *text == own), "{texts:?}");
            }
        });
    }
    while let Some(done) = sessions.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn progress_that_belongs_to_no_live_call_reaches_nobody() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    for mut client in Raw::both(&fake).await {
        // a call without a token: its id is no token either; and tokens of nobody, or of no call
        let lines: Vec<_> = ["$ID", "999999", "\"$ID\"", "null", "1.5", "-1", "1e400"]
            .map(progress)
            .to_vec();
        let params = json!({"name": "emit", "arguments": {"lines": lines}});
        let sent = format!(r#"{{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{params}}}"#);
        client.answer(&sent).await;
        // progress after the answer is for nobody, also not for the next call with the same token
        let texts = client
            .exchange(&call(
                "5",
                "\"t\"",
                "progress",
                &json!({"n": 3, "after": true}),
            ))
            .await;
        assert_eq!(texts.len(), 1, "{texts:?}");
        client.answer(&call("5", "\"t\"", "echo", &json!({}))).await;
        client
            .answer(&call("6", "\"t\"", "sleep", &json!({"ms": 300})))
            .await;
    }
    let metrics = fake.metrics("fake").await;
    let dropped = metrics.lines().find(|line| {
        line.contains("dropped") && line.contains("reason=\"unattributed_notification\"")
    });
    let count = dropped.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    assert_eq!(count, Some(20), "{metrics}");
}
