//! Stateless clients at the gateway: the tools of several bridges as one server's, elicitations included.

use serde_json::json;

use super::super::gateway::until_listed;
use super::super::installed;
use super::play::{MODERN, NEEDED, Part};
use super::servers::{EVERYTHING, NODE, Server};
use super::steps::content;
use crate::harness::Daemon;

#[tokio::test]
async fn modern_clients_use_the_tools_of_several_bridges_at_once() {
    let Some(installed) = installed(&[&NEEDED[..], &[EVERYTHING, NODE]].concat()) else {
        return;
    };
    let mut bridges = json!({
        "every": Server::Everything.entry("every", &installed),
        "legacy": Server::Legacy.entry("legacy", &installed),
        "modern": Server::Modern.entry("modern", &installed),
    });
    // its tools that ask are listed for clients only that can be asked, and the gateway lists what all have
    bridges["every"]["isolation"] = json!("shared");
    let config = json!({"bridges": bridges, "gateway": {"port": 0}});
    let daemon = Daemon::start(&config.to_string()).await;
    let gateway = daemon.gateway();
    until_listed(gateway).await;
    let part = Part {
        steps: json!([
            {"tools": true},
            {"call": "every-get-sum", "arguments": {"a": 40, "b": 2}},
            {"call": "legacy-test_simple_text"},
            {"call": "every-trigger-elicitation-request"},
            {"call": "legacy-test_elicitation", "arguments": {"message": "Who?"}},
            {"call": "modern-test_elicitation", "arguments": {"message": "Who?"}},
            {"call": "modern-test_sampling", "arguments": {"prompt": "hello"}},
            {"prompt": "legacy-test_prompt_with_arguments", "arguments": {"arg1": "x", "arg2": "y"}},
            {"read": "demo://resource/dynamic/text/1"},
        ]),
        interactive: true,
        content: Some(content()),
    };
    for client in MODERN {
        let facts = client.play(&installed.dir, gateway, &part).await;
        let results = facts["results"].as_array().unwrap();
        for (result, text) in results.iter().zip([
            "legacy-test_elicitation",
            "42",
            "a simple text response",
            "Name: Ada",
            "action=accept",
            "action=accept",
            "sampled by client-",
            "arg1='x'",
            "Resource 1",
        ]) {
            assert!(
                result.to_string().contains(text),
                "{client:?}: no {text} in {result}"
            );
            assert_ne!(result["isError"], true, "{client:?}: {result}");
        }
        let mut asked = vec!["elicitation/create"; 3];
        asked.push("sampling/createMessage");
        assert_eq!(facts["asked"], json!(asked), "{client:?}");
    }
}
