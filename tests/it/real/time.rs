//! `mcp-server-time`.

use serde_json::{Value, json};

use super::{PYTHON, installed, text};

const SERVER: &str = "servers/bin/mcp-server-time";

#[tokio::test]
async fn times_are_told_and_converted() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let served = installed.serve("", &[&installed.path(SERVER)]).await;
    let convert =
        json!({"source_timezone": "Asia/Tokyo", "time": "12:30", "target_timezone": "Etc/UTC"});
    let steps = json!([
        {"call": "get_current_time", "arguments": {"timezone": "Etc/UTC"}},
        {"call": "convert_time", "arguments": convert},
        {"call": "get_current_time", "arguments": {"timezone": "Nowhere/Land"}},
    ]);
    for transport in served.transports() {
        let facts = served.python(transport, &steps).await;
        let results = &facts["results"];
        let now: Value = serde_json::from_str(text(&results[0])).unwrap();
        assert_eq!(now["timezone"], "Etc/UTC");
        let converted: Value = serde_json::from_str(text(&results[1])).unwrap();
        let target = converted["target"]["datetime"].as_str().unwrap();
        assert!(target.contains("T03:30:00"), "{target}");
        assert_eq!(results[2]["isError"], true);
    }
}
