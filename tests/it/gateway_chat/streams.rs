//! The same in pieces.

use super::*;

/// The deltas of a stream, a finish reason where there is one.
fn deltas(chunks: &[Value]) -> Vec<Value> {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
    let deltas = choices.map(|choice| match &choice["finish_reason"] {
        Value::Null => choice["delta"].clone(),
        reason => json!([choice["delta"], reason]),
    });
    deltas.collect()
}

/// Texts of deltas under this name, joined.
fn joined(chunks: &[Value], name: &str) -> String {
    let deltas = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"].get(0)?["delta"].get(name));
    deltas.filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn a_stream_is_one_answer_without_our_calls() {
    let turns = [
        Turn::text_and_calls("Wait. ", &[("fake-echo", json!({ "text": "x" }))])
            .reasoning("hm")
            .with_id("first"),
        Turn::text("Here it is.")
            .with_id("second")
            .with("system_fingerprint", "fp"),
    ];
    let gateway = Gateway::start(turns).await;
    let mut body = says("Go!");
    body["stream_options"] = json!({ "include_usage": true });
    let chunks = chunks(gateway.stream(&body).await).await;

    let (done, chunks) = chunks.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    for chunk in chunks {
        assert_eq!(chunk["id"], "first", "{chunk}");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["model"], "m");
    }
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"],
        json!({ "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30 })
    );
    let deltas = deltas(chunks);
    assert_eq!(deltas[0]["role"], "assistant");
    assert_eq!(
        deltas
            .iter()
            .filter(|delta| delta.get("role").is_some())
            .count(),
        1
    );
    assert!(
        deltas.iter().all(|delta| delta.get("tool_calls").is_none()),
        "{deltas:?}"
    );
    assert_eq!(deltas.iter().filter(|delta| delta.is_array()).count(), 1);
    assert_eq!(deltas.last(), Some(&json!([{}, "stop"])));
    assert_eq!(joined(chunks, "content"), "Wait. \n\nHere it is.");
    assert_eq!(joined(chunks, "reasoning_content"), "hm");
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(chunks.last().unwrap()["system_fingerprint"], "fp");

    let messages = gateway.messages();
    assert_eq!(messages[1]["content"], "Wait. ");
    assert_eq!(messages[1]["reasoning_content"], "hm");
    assert_eq!(
        messages[1]["tool_calls"][0]["function"]["arguments"],
        "{\"text\":\"x\"}"
    );
    assert_eq!(messages[2]["tool_call_id"], "call_0_0");
}

#[tokio::test]
async fn usage_comes_only_if_asked_for() {
    let gateway = Gateway::start([Turn::text("x")]).await;
    let chunks = chunks(gateway.stream(&says("Go!")).await).await;
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk.get("usage").is_none() && chunk["choices"] != json!([]))
    );
}

#[tokio::test]
async fn pieces_come_as_the_model_writes_them() {
    let pace = Gate::new();
    let gateway = Gateway::start([Turn::text("to be or not").paced(&pace)]).await;
    pace.open();
    let mut events = gateway.stream(&says("Go!")).await;
    assert_eq!(
        events.message().await["choices"][0]["delta"]["role"],
        "assistant"
    );
    pace.open();
    let delta = events.message().await["choices"][0]["delta"]["content"].clone();
    assert!(
        "to be or not".starts_with(delta.as_str().unwrap()) && delta != "to be or not",
        "{delta}"
    );
    pace.open_for_good();
    assert_eq!(chunks(events).await.last(), Some(&json!("[DONE]")));
}

#[tokio::test]
async fn the_clients_calls_of_a_mixed_turn_are_streamed() {
    let turn = Turn::calls(&[
        ("fake-echo", json!({})),
        ("mine", json!({ "a": 1 })),
        ("fake-look", json!({})),
        ("mine", json!({ "b": 2 })),
    ]);
    let gateway = Gateway::start([turn]).await;
    let chunks = chunks(gateway.stream(&with_tools("Go!", &["mine"])).await).await;
    let mut calls = vec![(String::new(), String::new()); 2];
    for delta in deltas(&chunks) {
        for call in delta
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let call_of = &mut calls[usize::try_from(call["index"].as_u64().unwrap()).unwrap()];
            call_of.0.push_str(call["id"].as_str().unwrap_or_default());
            call_of
                .1
                .push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
    }
    let expected = [("call_0_1", "{\"a\":1}"), ("call_0_3", "{\"b\":2}")];
    assert_eq!(
        calls,
        expected.map(|(id, arguments)| (id.to_owned(), arguments.to_owned()))
    );
    assert_eq!(deltas(&chunks).last().unwrap()[1], "tool_calls");
}

#[tokio::test]
async fn the_stream_begins_before_a_tool_is_done() {
    let turns = [
        Turn::calls(&[("fake-hold", json!({ "key": "k" }))]),
        Turn::text("x"),
    ];
    let gateway = Gateway::start(turns).await;
    let mut events = gateway.stream(&says("Go!")).await;
    assert_eq!(
        events.message().await["choices"][0]["delta"],
        json!({ "role": "assistant", "content": "" })
    );
    let mut client = gateway.fake.sse().await;
    client.call("release", &json!({ "key": "k" })).await;
    assert_eq!(chunks(events).await.last(), Some(&json!("[DONE]")));
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let turns = [Turn::calls(&[("fake-hold", json!({ "key": "k" }))])];
    let gateway = Gateway::start(turns).await;
    let mut events = gateway.stream(&says("Go!")).await;
    events.message().await;
    // the only thing to wait for is the comment itself
    let frame = crate::harness::within("a comment", events.frame()).await;
    assert_eq!(frame, Some(Frame::Comment("keep-alive".to_owned())));
}
