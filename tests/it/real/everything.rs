//! `@modelcontextprotocol/server-everything`: every feature there is, and different tools for different clients.

use serde_json::{Value, json};

use super::{PYTHON, has_no_stranger, installed, names, text};

const SERVER: &str = "node/node_modules/.bin/mcp-server-everything";
const DECLARE: &str = "roots,sampling,elicitation";

#[tokio::test]
async fn plain_and_full_clients_are_served_rightly_at_the_same_time() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let served = installed
        .serve("isolation: auto", &[&installed.path(SERVER), "stdio"])
        .await;
    let plain = json!([
        {"tools": true},
        {"call": "get-sum", "arguments": {"a": 2, "b": 3}},
        {"call": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 4}},
        {"call": "get-structured-content", "arguments": {"location": "Chicago"}},
        {"read": "demo://resource/dynamic/text/1"},
        {"prompt": "simple-prompt"},
    ]);
    // the server asks for the roots by itself, some time after it was initialised
    let full = json!([
        {"tools": true, "delay": 1},
        {"call": "get-roots-list"},
        {"call": "trigger-sampling-request", "arguments": {"prompt": "hello", "maxTokens": 5}},
        {"call": "trigger-elicitation-request"},
    ]);
    for transport in served.transports() {
        let (plain, full, typescript) = tokio::join!(
            served.pythons(transport, &plain, &["--clients", "2"]),
            served.pythons(transport, &full, &["--clients", "2", "--declare", DECLARE]),
            served.node(transport, &full, DECLARE),
        );
        for facts in plain {
            let results = &facts["results"];
            assert_eq!(facts["asked"], json!([]));
            let tools = names(&results[0]);
            assert!(!tools.contains(&"trigger-sampling-request"), "{tools:?}");
            assert!(text(&results[1]).contains('5'));
            assert_eq!(results[2]["progress"].as_array().unwrap().len(), 4);
            assert!(results[3]["structuredContent"]["temperature"].is_number());
            assert!(results[4]["contents"][0]["text"].is_string(), "{results}");
            assert!(results[5]["messages"][0]["content"]["text"].is_string());
            assert!(!facts.to_string().contains("client-"), "{facts}");
        }
        for (number, facts) in full.iter().enumerate() {
            check_full(facts, &format!("client-{number}."));
            has_no_stranger(facts, number);
        }
        check_full(&typescript, "client-js");
        assert!(!typescript.to_string().contains("by client-0"));
    }
}

#[tokio::test]
async fn one_shared_instance_asks_only_the_owner_of_the_call() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let served = installed
        .serve("isolation: shared", &[&installed.path(SERVER), "stdio"])
        .await;
    let sampling = json!({"prompt": "hello", "maxTokens": 5});
    // one after the other, so that each call is the only one
    let full = json!([
        {"tools": true},
        {"call": "trigger-sampling-request", "arguments": sampling, "turn": true},
        {"call": "trigger-elicitation-request", "turn": true},
    ]);
    // at the same time: nobody can be sure whom the server means
    let at_once = json!([
        {"call": "trigger-sampling-request", "arguments": sampling},
        {"call": "trigger-elicitation-request"},
    ]);
    let plain = json!([{"tools": true}, {"ping": true, "delay": 1}, {"tools": true}]);
    let three = ["--clients", "3", "--declare", "sampling,elicitation"];
    let four = ["--clients", "4", "--declare", "sampling,elicitation"];
    for transport in served.transports() {
        let (full, plain) = tokio::join!(
            served.pythons(transport, &full, &three),
            served.pythons(transport, &plain, &["--clients", "2"]),
        );
        for facts in &plain {
            assert_eq!(facts["asked"], json!([]));
            assert_eq!(facts["logs"], json!([]));
        }
        for (number, facts) in full.iter().enumerate() {
            let results = &facts["results"];
            let own = format!("sampled by client-{number}.");
            assert!(text(&results[1]).contains(&own), "{transport}: {results}");
            assert!(
                text(&results[2]).contains("decline"),
                "{transport}: {results}"
            );
            let asked = json!(["sampling/createMessage", "elicitation/create"]);
            assert_eq!(facts["asked"], asked, "{transport} {number}");
            has_no_stranger(facts, number);
        }
        let all = served.pythons(transport, &at_once, &four).await;
        for (number, facts) in all.iter().enumerate() {
            has_no_stranger(facts, number);
        }
    }
}

/// A client that declared everything got its own asks, and the answers that it gave.
fn check_full(facts: &Value, own: &str) {
    let results = &facts["results"];
    let tools = names(&results[0]);
    assert!(tools.contains(&"trigger-sampling-request"), "{tools:?}");
    assert!(text(&results[1]).contains(own), "roots of {own}: {results}");
    assert!(text(&results[2]).contains(&format!("sampled by {own}")));
    assert!(text(&results[3]).contains("decline"));
    let asked = facts["asked"].as_array().unwrap();
    let times = |method: &str| asked.iter().filter(|asked| *asked == method).count();
    assert_eq!(times("sampling/createMessage"), 1, "{asked:?}");
    assert_eq!(times("elicitation/create"), 1, "{asked:?}");
    assert!(times("roots/list") >= 1, "{asked:?}");
}

#[tokio::test]
async fn progress_of_equal_tokens_reaches_its_own_client() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let served = installed
        .serve("", &[&installed.path(SERVER), "stdio"])
        .await;
    let steps = json!([
        {"call": "echo", "arguments": {"message": "from client-{i}."}},
        {"call": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 5}},
    ]);
    for transport in served.transports() {
        let all = served
            .pythons(transport, &steps, &["--clients", "20"])
            .await;
        for (number, facts) in all.iter().enumerate() {
            let results = &facts["results"];
            assert_eq!(text(&results[0]), format!("Echo: from client-{number}."));
            let progress = results[1]["progress"].as_array().unwrap();
            let steps: Vec<_> = progress.iter().map(|report| &report["progress"]).collect();
            assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0], "{transport}");
            has_no_stranger(facts, number);
            assert_eq!(facts["logs"], json!([]));
            // its own five, and not one of the others' hundred
            let expected = vec!["notifications/progress"; 5];
            assert_eq!(facts["notifications"], json!(expected), "{transport}");
        }
    }
}
