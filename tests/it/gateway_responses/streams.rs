//! Responses as events.

use super::*;

/// The names of events without `response.`, pieces of text and arguments once.
fn names(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = events
        .iter()
        .map(|event| {
            let name = event["type"].as_str().unwrap();
            name.strip_prefix("response.").unwrap_or(name)
        })
        .collect();
    names.dedup();
    names
}

#[tokio::test]
async fn events_come_in_openais_order() {
    let gateway = Gateway::start([
        Turn::calls(&[("fake-echo", json!({ "text": "hi" }))]).reasoning("hm"),
        Turn::text("It said hi."),
    ])
    .await;
    let body = with_tools("go", json!([echo("never")]));
    let events = all(gateway.stream(&body).await).await;
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "mcp_list_tools.in_progress",
            "mcp_list_tools.completed",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "mcp_call.in_progress",
            "mcp_call_arguments.delta",
            "mcp_call_arguments.done",
            "mcp_call.completed",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["id"], events[0]["response"]["id"]);
    assert_eq!(response["usage"]["total_tokens"], 30);
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    let output: Vec<&Value> = response["output"].as_array().unwrap().iter().collect();
    assert_eq!(done, output);
    let list = output[0]["tools"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["name"]), (1, &json!("echo")));
    assert_eq!(output[2]["server_label"], "tools");
}

#[tokio::test]
async fn pieces_pass_while_the_model_still_speaks() {
    let pace = Gate::new();
    let gateway = Gateway::start([Turn::text("one two three").paced(&pace)]).await;
    // the role, and the first word
    pace.open();
    pace.open();
    let mut events = gateway.stream(&asks_alone("go")).await;
    let mut said = String::new();
    while said.is_empty() {
        let event = events.message().await;
        if event["type"] == "response.output_text.delta" {
            said.push_str(event["delta"].as_str().unwrap());
        }
    }
    assert!(
        "one two three".starts_with(&said) && said.len() < 13,
        "{said:?}"
    );
    pace.open_for_good();
    let mut last = events.message().await;
    while last["type"] != "response.completed" {
        last = events.message().await;
    }
    events.ended().await;
}

#[tokio::test]
async fn arguments_of_the_clients_calls_come_in_pieces() {
    let gateway = Gateway::start([Turn::calls(&[
        ("fake-echo", json!({})),
        ("weather", json!({ "city": "Rome" })),
    ])
    .with_call_ids(&["ours", "theirs"])])
    .await;
    let body = with_tools("go", json!([function("weather"), echo("never")]));
    let events = all(gateway.stream(&body).await).await;
    let deltas: String = events
        .iter()
        .filter(|event| event["type"] == "response.function_call_arguments.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(deltas, "{\"city\":\"Rome\"}");
    let response = &events.last().unwrap()["response"];
    let items = items(response);
    let mut kinds = types(&items);
    kinds.sort_unstable();
    assert_eq!(kinds, ["function_call", "mcp_call"]);
    assert_eq!(response["status"], "completed");
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_model() {
    let gateway = Gateway::start([Turn::text("one two three").hanging_after(2)]).await;
    let mut events = gateway.stream(&asks_alone("go")).await;
    let mut event = events.message().await;
    while event["type"] != "response.output_text.delta" {
        event = events.message().await;
    }
    drop(events);
    gateway.model.disconnects(1).await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_tools() {
    let gateway = Gateway::start([Turn::calls(&[("fake-hold", json!({ "key": "k" }))])]).await;
    let mut events = gateway.stream(&asks("go")).await;
    let mut event = events.message().await;
    while event["type"] != "response.mcp_call_arguments.done" {
        event = events.message().await;
    }
    gateway.fake.recorded("\"hold\"").await;
    drop(events);
    gateway.fake.journaled("cancelled", 1).await;
}
