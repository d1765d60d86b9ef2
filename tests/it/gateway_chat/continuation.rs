//! Turns that call tools of both sides, and what becomes of ours when the client goes on.

use super::*;

/// What a client makes of an answer with calls: it answers each with its id.
fn goes_on(body: &Value, answer: &Value) -> Value {
    let mut body = body.clone();
    let message = answer["choices"][0]["message"].clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(message.clone());
    for call in message["tool_calls"].as_array().unwrap() {
        messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "theirs" }));
    }
    body
}

#[tokio::test]
async fn our_results_of_a_mixed_turn_are_there_when_the_client_goes_on() {
    let turns = [
        Turn::calls(&[("fake-echo", json!({ "n": 0 }))]),
        Turn::calls(&[
            ("fake-echo", json!({ "n": 1 })),
            ("mine", json!({})),
            ("fake-echo", json!({ "n": 2 })),
        ])
        .reasoning("hm"),
        Turn::text("Done."),
        Turn::text("Again."),
    ];
    let gateway = Gateway::start(turns).await;
    let body = with_tools("Go!", &["mine"]);
    let answer = gateway.answer(&body).await;
    let calls = answer["choices"][0]["message"]["tool_calls"]
        .as_array()
        .unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["id"], "call_1_1");

    let mut later = goes_on(&body, &answer);
    for _ in 0..2 {
        let answer = gateway.answer(&later).await;
        let messages = gateway.messages();
        let brief: Vec<_> = messages
            .iter()
            .map(|message| {
                (
                    message["role"].as_str().unwrap(),
                    message["tool_call_id"].as_str(),
                )
            })
            .collect();
        assert_eq!(
            brief[..7],
            [
                ("user", None),
                ("assistant", None),
                ("tool", Some("call_0_0")),
                ("assistant", None),
                ("tool", Some("call_1_0")),
                ("tool", Some("call_1_1")),
                ("tool", Some("call_1_2")),
            ]
        );
        assert_eq!(messages[3]["tool_calls"].as_array().unwrap().len(), 3);
        assert_eq!(messages[3]["reasoning_content"], "hm");
        assert!(
            messages[4]["content"]
                .as_str()
                .unwrap()
                .contains(r#""n":1"#)
        );
        assert_eq!(messages[5]["content"], "theirs");
        let messages = later["messages"].as_array_mut().unwrap();
        messages.push(answer["choices"][0]["message"].clone());
        messages.push(json!({ "role": "user", "content": "And?" }));
    }
}

#[tokio::test]
async fn equal_ids_in_another_conversation_bring_nothing_of_the_first() {
    let mixed =
        || Turn::calls(&[("fake-echo", json!({})), ("mine", json!({}))]).with_call_ids(&["a", "b"]);
    let gateway = Gateway::start([mixed(), Turn::text("x")]).await;
    let body = with_tools("first", &["mine"]);
    let answer = gateway.answer(&body).await;
    let mut other = goes_on(&body, &answer);
    other["messages"][0]["content"] = json!("second");
    gateway.answer(&other).await;
    assert_eq!(gateway.messages().len(), 3);
}

#[tokio::test]
async fn a_streamed_mixed_turn_is_remembered_too() {
    let turns = [
        Turn::calls(&[("fake-echo", json!({ "n": 1 })), ("mine", json!({}))]),
        Turn::text("x"),
    ];
    let gateway = Gateway::start(turns).await;
    let body = with_tools("Go!", &["mine"]);
    chunks(gateway.stream(&body).await).await;
    let call = json!({ "id": "call_0_1", "type": "function", "function": { "name": "mine", "arguments": "{}" } });
    let answer = json!({ "choices": [{ "message": { "role": "assistant", "content": "", "tool_calls": [call] } }] });
    chunks(gateway.stream(&goes_on(&body, &answer)).await).await;
    assert_eq!(gateway.messages().len(), 4);
}
