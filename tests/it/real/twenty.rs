//! Twenty sessions of the Python SDK on the scriptable server, all with the same request ids and progress tokens.

use serde_json::{Value, json};

use super::{PYTHON, has_no_stranger, installed, text};
use crate::harness::fake;

#[tokio::test]
async fn nobody_sees_anothers_answer_progress_or_log() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let program = fake::program();
    let served = installed
        .serve("isolation: shared", &[program.to_str().unwrap()])
        .await;
    let steps = json!([
        {"level": "debug"},
        {"call": "echo", "arguments": {"mine": "of client-{i}."}},
        {"call": "progress", "arguments": {"n": 5}},
        {"call": "log", "arguments": {"n": 3, "data": "of client-{i}."}},
        // one after the other: now each call is the only one, and its logs have an owner
        {"call": "log", "arguments": {"data": "alone, of client-{i}."}, "turn": true},
        {"call": "state"},
    ]);
    for transport in served.transports() {
        let all = served
            .pythons(transport, &steps, &["--clients", "20"])
            .await;
        assert_eq!(all.len(), 20);
        for (number, facts) in all.iter().enumerate() {
            let own = format!("of client-{number}.");
            let results = &facts["results"];
            let request = text(&results[1]);
            assert!(request.contains(&own), "{transport} {number}: {request}");
            has_no_stranger(facts, number);
            assert_eq!(facts["asked"], json!([]));
            let progress = results[2]["progress"].as_array().unwrap();
            let steps: Vec<_> = progress.iter().map(|report| &report["progress"]).collect();
            assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0], "{transport} {number}");
            let logs = facts["logs"].as_array().unwrap();
            let data: Vec<_> = logs
                .iter()
                .map(|log| log["data"].as_str().unwrap())
                .collect();
            assert!(
                data.iter().all(|data| data.ends_with(&own)),
                "{transport} {number}: {data:?}"
            );
            assert!(
                data.contains(&format!("alone, {own}").as_str()),
                "{transport} {number}: {data:?}"
            );
        }
        let initializes =
            |facts: &Value| facts["results"][5]["structuredContent"]["initializes"] == 1;
        assert!(all.iter().all(initializes), "one server for all");
    }
}
