//! The scripted model on the wire: what a gateway will see is what providers send.

use serde_json::{Value, json};

use super::{Gate, Model, Odd, Turn};
use crate::harness::http::{Connection, Request, Response, exchange};
use crate::harness::sse::Events;

/// Chunks of a whole stream, `[DONE]` as a string.
async fn streamed(model: &Model, request: &Value) -> Vec<Value> {
    let mut events = stream(model, request).await;
    let mut chunks = Vec::new();
    while let Some(event) = events.try_next().await {
        let is_done = event.data == "[DONE]";
        chunks.push(if is_done {
            json!("[DONE]")
        } else {
            event.json()
        });
    }
    chunks
}

async fn stream(model: &Model, request: &Value) -> Events {
    let mut request = request.clone();
    request["stream"] = json!(true);
    let mut connection = Connection::open(model.addr).await;
    let head = connection.request(&post(&request)).await;
    assert_eq!(
        (head.status, head.content_type()),
        (200, "text/event-stream")
    );
    Events::new(connection)
}

async fn asked(model: &Model, request: &Value) -> Response {
    exchange(model.addr, post(request)).await
}

fn post(request: &Value) -> Request {
    Request::post("/v1/chat/completions", request.to_string())
}

fn deltas(chunks: &[Value]) -> Vec<&Value> {
    let chunks = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0].is_object());
    chunks.map(|chunk| &chunk["choices"][0]["delta"]).collect()
}

/// The deltas of a turn, streamed.
async fn deltas_of(turn: Turn) -> Value {
    let model = Model::start([turn]).await;
    let chunks = streamed(&model, &json!({})).await;
    json!(deltas(&chunks))
}

/// The message of a turn, not streamed, with its finish reason.
async fn message_of(turn: Turn) -> (Value, Value) {
    let model = Model::start([turn]).await;
    let completion = asked(&model, &json!({})).await.json();
    let choice = &completion["choices"][0];
    (choice["message"].clone(), choice["finish_reason"].clone())
}

#[tokio::test]
async fn a_text_is_one_body_or_a_stream() {
    let turn = Turn::text("to be or")
        .with_id("cmpl-1")
        .usage(3, 2)
        .with("system_fingerprint", "fp")
        .reasoning("hm");
    let model = Model::start([turn.clone(), turn.clone(), turn]).await;
    let frame = |object: &str| json!({"id": "cmpl-1", "object": object, "created": 1_700_000_000, "model": "m", "system_fingerprint": "fp"});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});

    let mut expected = frame("chat.completion");
    expected["choices"] = json!([{"index": 0, "message": {"role": "assistant", "content": "to be or", "reasoning_content": "hm"}, "logprobs": null, "finish_reason": "stop"}]);
    expected["usage"] = usage.clone();
    assert_eq!(asked(&model, &json!({"model": "m"})).await.json(), expected);

    let chunks = streamed(
        &model,
        &json!({"model": "m", "stream_options": {"include_usage": true}}),
    )
    .await;
    let mut deltas = vec![
        (json!({"role": "assistant", "content": ""}), Value::Null),
        (json!({"reasoning_content": "h"}), Value::Null),
        (json!({"reasoning_content": "m"}), Value::Null),
        (json!({"content": "to "}), Value::Null),
        (json!({"content": "be "}), Value::Null),
        (json!({"content": "or"}), Value::Null),
        (json!({}), json!("stop")),
    ];
    let mut expected: Vec<Value> = deltas.drain(..).map(|(delta, finish_reason)| {
        let mut chunk = frame("chat.completion.chunk");
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        chunk["usage"] = Value::Null;
        chunk
    }).collect();
    let mut last = frame("chat.completion.chunk");
    last["choices"] = json!([]);
    last["usage"] = usage;
    expected.extend([last, json!("[DONE]")]);
    assert_eq!(chunks, expected);

    let chunks = streamed(&model, &json!({"model": "m"})).await;
    assert!(
        chunks.iter().all(|chunk| chunk.get("usage").is_none()),
        "{chunks:?}"
    );
}

#[tokio::test]
async fn calls_come_whole_or_in_fragments() {
    let turn = Turn::text_and_calls("Look:", &[("a-b", json!({"x": 1})), ("c", json!({}))])
        .with_call_ids(&["one"])
        .signed(json!({"s": 1}));
    let (message, finish_reason) = message_of(turn.clone()).await;
    assert_eq!(finish_reason, "tool_calls");
    assert_eq!(
        message,
        json!({"role": "assistant", "content": "Look:", "tool_calls": [
            {"type": "function", "function": {"name": "a-b", "arguments": "{\"x\":1}"}, "id": "one", "extra_content": {"s": 1}},
            {"type": "function", "function": {"name": "c", "arguments": "{}"}, "id": "call_0_1", "extra_content": {"s": 1}},
        ]})
    );
    let fragment = |index: usize, text: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]});
    assert_eq!(
        deltas_of(turn).await,
        json!([
            {"role": "assistant", "content": ""},
            {"content": "Loo"}, {"content": "k:"},
            {"tool_calls": [{"index": 0, "type": "function", "function": {"name": "a-b", "arguments": ""}, "id": "one", "extra_content": {"s": 1}}]},
            fragment(0, "{\"x"), fragment(0, "\":1"), fragment(0, "}"),
            {"tool_calls": [{"index": 1, "type": "function", "function": {"name": "c", "arguments": ""}, "id": "call_0_1", "extra_content": {"s": 1}}]},
            fragment(1, "{"), fragment(1, "}"),
            {},
        ])
    );
}

#[tokio::test]
async fn odd_models_differ_where_they_are_told_to() {
    let call = || Turn::calls(&[("f", json!({"x": 1})), ("g", json!({}))]);

    let (message, _) = message_of(call().odd(Odd::ObjectArguments)).await;
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        json!({"x": 1})
    );
    let deltas = deltas_of(call().odd(Odd::ObjectArguments)).await;
    assert_eq!(
        deltas[1]["tool_calls"][0]["function"]["arguments"],
        json!({"x": 1})
    );

    let (message, _) = message_of(call().odd(Odd::EmptyArguments)).await;
    assert_eq!(message["tool_calls"][1]["function"]["arguments"], "");
    let (message, _) = message_of(call().odd(Odd::NoCallIds)).await;
    assert_eq!(message["tool_calls"][0].get("id"), None);
    assert_eq!(message["content"], Value::Null);

    let deltas = deltas_of(call().odd(Odd::NoIndex)).await;
    let whole = json!({"type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}, "id": "call_0_0"});
    assert_eq!(deltas[1]["tool_calls"], json!([whole]));
    let deltas = deltas_of(call().odd(Odd::SameIndex)).await;
    assert_eq!(deltas[2]["tool_calls"][0]["index"], 0);
    assert_eq!(deltas[2]["tool_calls"][0]["id"], "call_0_1");
    let deltas = deltas_of(call().odd(Odd::EmptyHeads)).await;
    assert_eq!(deltas[2]["tool_calls"][0]["id"], "");
    assert_eq!(deltas[2]["tool_calls"][0]["function"]["name"], "");

    let (_, finish_reason) = message_of(call().odd(Odd::FinishStop)).await;
    assert_eq!(finish_reason, "stop");
    let (message, _) = message_of(call().odd(Odd::NoContent)).await;
    assert_eq!(message.get("content"), None);
    assert_eq!(
        deltas_of(call().odd(Odd::NoContent)).await[0],
        json!({"role": "assistant"})
    );

    let (message, _) = message_of(Turn::text("x").odd(Odd::Nulls)).await;
    assert_eq!(message["tool_calls"], Value::Null);
    let deltas = deltas_of(Turn::text("x y").odd(Odd::Nulls)).await;
    assert_eq!(deltas[1], json!({"content": "x ", "tool_calls": null}));
}

#[tokio::test]
async fn usage_and_done_can_be_missing_or_elsewhere() {
    let turn = || Turn::text("x");
    let model = Model::start([
        turn().odd(Odd::NoUsage),
        turn().odd(Odd::NoUsage).odd(Odd::NoDone),
        turn().odd(Odd::UsageWithFinish),
        turn().odd(Odd::UsageWithChoice),
    ])
    .await;
    let request = json!({"stream_options": {"include_usage": true}});
    let completion = asked(&model, &request).await.json();
    assert_eq!(completion.get("usage"), None);
    let chunks = streamed(&model, &request).await;
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last.get("usage"), None);
    let chunks = streamed(&model, &json!({})).await;
    let [.., last, done] = &chunks[..] else {
        panic!("{chunks:?}");
    };
    assert_eq!(last["usage"]["total_tokens"], 15);
    assert_eq!(done, "[DONE]");
    let chunks = streamed(&model, &request).await;
    let [.., finish, last, _done] = &chunks[..] else {
        panic!("{chunks:?}");
    };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["choices"], json!([{"index": 0, "delta": {}}]));
    assert_eq!(last["usage"]["total_tokens"], 15);
}

#[tokio::test]
async fn exact_answers_pass_whatever_was_asked_for() {
    let limited = json!({"error": {"message": "slow down"}});
    let model = Model::start([
        Turn::status(429, &limited).header("retry-after", "7"),
        Turn::html(502),
        Turn::raw(&json!({"choices": []})),
        Turn::chunks([json!({"error": {"message": "late"}})]),
        Turn::event_stream(": hello\n\ndata:{}\n\n"),
    ])
    .await;
    let stream = json!({"stream": true});
    let response = asked(&model, &stream).await;
    assert_eq!((response.status(), response.json()), (429, limited));
    assert_eq!(response.header("retry-after"), Some("7"));
    let response = asked(&model, &stream).await;
    assert_eq!(
        (response.status(), response.head.content_type()),
        (502, "text/html")
    );
    assert!(response.text().starts_with("<html>"));
    assert_eq!(asked(&model, &stream).await.json(), json!({"choices": []}));
    let response = asked(&model, &json!({})).await;
    assert_eq!(
        response.text(),
        "data: {\"error\":{\"message\":\"late\"}}\n\ndata: [DONE]\n\n"
    );
    assert_eq!(
        asked(&model, &json!({})).await.text(),
        ": hello\n\ndata:{}\n\n"
    );
}

#[tokio::test]
async fn a_request_beyond_the_script_is_told_so() {
    let model = Model::start([]).await;
    let response = asked(&model, &json!({"model": "m"})).await;
    assert_eq!(response.status(), 500);
    assert_eq!(
        response.json()["error"]["message"],
        "request 1 is beyond the model's script"
    );
    let broken = exchange(model.addr, Request::post("/v1/chat/completions", "{")).await;
    assert_eq!(broken.status(), 400);
}

#[tokio::test]
#[should_panic(expected = "turns of the model nobody asked for")]
async fn a_turn_that_is_left_over_fails_the_test() {
    drop(Model::start([Turn::text("never asked for")]).await);
}

#[tokio::test]
async fn requests_and_listings_are_recorded() {
    let model = Model::answering(|request| Turn::text(request["model"].as_str().unwrap())).await;
    assert_eq!(model.url(), format!("http://{}/v1", model.addr));
    for name in ["a", "b"] {
        let request = post(&json!({"model": name})).header("authorization", "Bearer k");
        let completion = exchange(model.addr, request).await.json();
        assert_eq!(completion["choices"][0]["message"]["content"], name);
    }
    let requests = model.requested(2).await;
    assert_eq!(requests[1].body["model"], "b");
    assert_eq!(requests[1].headers["authorization"], "Bearer k");
    assert_eq!(model.requests().len(), 2);

    model.lists(&["a", "b"]);
    let listing = Request::get("/v1/models").header("authorization", "Bearer l");
    let list = exchange(model.addr, listing).await.json();
    assert_eq!(list["data"][1]["id"], "b");
    assert_eq!(model.listings()[0]["authorization"], "Bearer l");
}

#[tokio::test]
async fn a_gate_lets_an_answer_and_each_event_go_when_the_test_says() {
    let (head, pace) = (Gate::new(), Gate::new());
    let model = Model::start([Turn::text("a b").after(&head).paced(&pace)]).await;
    let request = json!({});
    let opening = async {
        model.requested(1).await;
        head.open();
        pace.open();
    };
    let (mut events, ()) = tokio::join!(stream(&model, &request), opening);
    assert_eq!(
        events.message().await["choices"][0]["delta"]["role"],
        "assistant"
    );
    tokio::select! {
        biased;
        event = events.try_next() => panic!("the gate is closed, but {event:?} came"),
        () = tokio::task::yield_now() => {}
    }
    pace.open();
    assert_eq!(
        events.message().await["choices"][0]["delta"]["content"],
        "a "
    );
    pace.open_for_good();
    assert_eq!(
        events.message().await["choices"][0]["delta"]["content"],
        "b"
    );
    assert_eq!(
        events.message().await["choices"][0]["finish_reason"],
        "stop"
    );
    assert_eq!(events.next().await.data, "[DONE]");
    events.ended().await;
}

#[tokio::test]
async fn an_answer_can_break_or_hang_and_a_client_that_leaves_is_seen() {
    let model = Model::start([
        Turn::text("a b").broken_after(2),
        Turn::text("a b").broken_after(0),
        Turn::text("a b").hanging_after(1),
        Turn::hang(),
        Turn::text("never").after(&Gate::new()),
    ])
    .await;
    let mut connection = Connection::open(model.addr).await;
    connection.request(&post(&json!({"stream": true}))).await;
    let cut = String::from_utf8(connection.closed().await).unwrap();
    assert_eq!(cut.matches("data: ").count(), 2, "{cut}");
    assert!(!cut.ends_with("0\r\n\r\n"), "{cut}");

    let mut connection = Connection::open(model.addr).await;
    connection.request(&post(&json!({}))).await;
    let cut = String::from_utf8(connection.closed().await).unwrap();
    assert!(
        cut.contains("chatcmpl-1") && !cut.contains("usage"),
        "{cut}"
    );

    let mut events = stream(&model, &json!({})).await;
    assert_eq!(
        events.message().await["choices"][0]["delta"]["role"],
        "assistant"
    );
    drop(events);
    model.disconnects(1).await;

    for left in [2, 3] {
        let mut connection = Connection::open(model.addr).await;
        let bytes = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        connection.send(bytes).await;
        model.requested(left + 2).await;
        drop(connection);
        model.disconnects(left).await;
    }
}
