//! Calls that are executed, handed back, or can't be made.

use super::*;

#[tokio::test]
async fn a_tool_is_executed_and_its_result_goes_to_the_model() {
    let turns = [
        Turn::calls(&[("fake-echo", json!({ "text": "hällo" }))])
            .with_call_ids(&["call_x"])
            .reasoning("I should look.")
            .signed(json!({ "google": { "thought_signature": "s1" } }))
            .usage(100, 7),
        Turn::text("It said hällo.")
            .with_id("cmpl-last")
            .with("system_fingerprint", "fp")
            .usage(200, 8),
    ];
    let gateway = Gateway::start(turns).await;
    let mut body = with_tools("Look!", &["mine"]);
    body["top_k"] = json!(7);
    body["tool_choice"] = json!("auto");
    let answer = gateway.answer(&body).await;
    assert_eq!(
        answer,
        json!({
            "id": "cmpl-last", "object": "chat.completion", "created": 1_700_000_000, "model": "m", "system_fingerprint": "fp",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "It said hällo." }, "logprobs": null, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 300, "completion_tokens": 15, "total_tokens": 315 },
        })
    );

    let first = gateway.asked(0);
    let names = tools(&first);
    assert_eq!(names[0], "mine");
    assert!(
        names.contains(&"fake-look") && names.contains(&"fake-echo"),
        "{names:?}"
    );
    assert_eq!(first["messages"], body["messages"]);
    for nth in 0..2 {
        let asked = gateway.asked(nth);
        assert_eq!(asked["top_k"], 7);
        assert_eq!(asked["tool_choice"], "auto");
        assert_eq!(asked["tools"], first["tools"]);
    }
    let messages = gateway.messages();
    assert_eq!(messages.len(), 3);
    let said = &messages[1];
    assert_eq!(said["role"], "assistant");
    assert_eq!(said["reasoning_content"], "I should look.");
    assert_eq!(said["tool_calls"][0]["id"], "call_x");
    assert_eq!(
        said["tool_calls"][0]["extra_content"]["google"]["thought_signature"],
        "s1"
    );
    assert_eq!(messages[2]["role"], "tool");
    assert_eq!(messages[2]["tool_call_id"], "call_x");
    let result = messages[2]["content"].as_str().unwrap();
    assert!(
        result.contains(r#""arguments":{"text":"hällo"}"#),
        "{result}"
    );

    let headers = &gateway.model.requests()[0].headers;
    assert_eq!(headers["authorization"], "Bearer upstream-key");
}

#[tokio::test]
async fn calls_of_one_turn_run_at_the_same_time_and_keep_their_order() {
    let turns = [
        Turn::calls(&[
            ("fake-hold", json!({ "key": "k" })),
            ("fake-echo", json!({ "n": 1 })),
            ("fake-release", json!({ "key": "k" })),
        ]),
        Turn::text("done"),
    ];
    let gateway = Gateway::start(turns).await;
    gateway.answer(&says("Go!")).await;
    let messages = gateway.messages();
    let ids: Vec<_> = messages[2..]
        .iter()
        .map(|message| message["tool_call_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["call_0_0", "call_0_1", "call_0_2"]);
    assert!(
        messages[3]["content"]
            .as_str()
            .unwrap()
            .contains(r#""n":1"#)
    );
}

#[tokio::test]
async fn the_clients_own_calls_go_back_to_it() {
    let turn =
        Turn::text_and_calls("Please.", &[("mine", json!({ "a": 1 }))]).signed(json!({ "s": 1 }));
    let gateway = Gateway::start([turn]).await;
    let answer = gateway.answer(&with_tools("Go!", &["mine"])).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        choice["message"],
        json!({
            "role": "assistant", "content": "Please.",
            "tool_calls": [{ "id": "call_0_0", "type": "function", "function": { "name": "mine", "arguments": "{\"a\":1}" }, "extra_content": { "s": 1 } }],
        })
    );
}

#[tokio::test]
async fn on_a_clash_of_names_the_clients_tool_wins() {
    let gateway = Gateway::start([Turn::calls(&[("fake-echo", json!({}))])]).await;
    let answer = gateway.answer(&with_tools("Go!", &["fake-echo"])).await;
    assert_eq!(
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "fake-echo"
    );
    let asked = gateway.asked(0);
    let names = tools(&asked);
    assert_eq!(names.iter().filter(|name| **name == "fake-echo").count(), 1);
}

#[tokio::test]
async fn what_cant_be_called_is_told_to_the_model() {
    let turns = [
        Turn::calls(&[
            ("fake-ecko", json!({})),
            (
                "fake-fail",
                json!({ "code": -32000, "message": "out of order" }),
            ),
            (
                "fake-emit",
                emits(
                    &json!({ "content": [{ "type": "text", "text": "no such table" }], "isError": true }),
                ),
            ),
            ("fake-echo", json!([1])),
            ("fake-hold", json!({ "key": "never" })),
        ]),
        Turn::text("Sorry."),
    ];
    let model = Model::start(turns).await;
    let gateway = Gateway::before(model, "tool_timeout: 1s").await;
    let answer = gateway.answer(&says("Go!")).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "Sorry.");
    let messages = gateway.messages();
    let told = |n: usize| messages[2 + n]["content"].as_str().unwrap().to_owned();
    assert!(
        told(0).starts_with("There is no tool \"fake-ecko\". Tools with similar names: fake-echo"),
        "{}",
        told(0)
    );
    assert!(told(1).contains("out of order"), "{}", told(1));
    assert_eq!(told(2), "The tool reports an error:\nno such table");
    assert!(told(3).contains("no JSON object"), "{}", told(3));
    assert!(told(4).contains("no result within 1s"), "{}", told(4));
}

#[tokio::test]
async fn empty_arguments_are_an_empty_object() {
    let turns = [
        Turn::calls(&[("fake-echo", json!({}))]).odd(Odd::EmptyArguments),
        Turn::text("x"),
    ];
    let gateway = Gateway::start(turns).await;
    gateway.answer(&says("Go!")).await;
    let result = gateway.messages()[2]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(result.contains(r#""arguments":{}"#), "{result}");
}

#[tokio::test]
async fn after_max_rounds_the_model_is_asked_for_an_answer() {
    let call = || Turn::calls(&[("fake-echo", json!({}))]);
    let model = Model::start([call(), call(), Turn::text("That's it.")]).await;
    let gateway = Gateway::before(model, "max_rounds: 2").await;
    let answer = gateway.answer(&says("Go!")).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "That's it.");
    assert_eq!(answer["usage"]["total_tokens"], 45);
    assert_eq!(gateway.asked(1)["tool_choice"], json!(null));
    let last = gateway.asked(2);
    assert_eq!(last["tool_choice"], "none");
    assert_eq!(last["tools"], gateway.asked(0)["tools"]);
}

#[tokio::test]
async fn a_model_that_still_calls_in_the_last_round_is_stopped() {
    let call = || Turn::text_and_calls("Hm.", &[("fake-echo", json!({}))]);
    let model = Model::start([call(), call()]).await;
    let gateway = Gateway::before(model, "max_rounds: 1").await;
    let answer = gateway.answer(&says("Go!")).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(
        choice["message"],
        json!({ "role": "assistant", "content": "Hm." })
    );
}

#[tokio::test]
async fn a_call_is_forced_in_the_first_round_only() {
    let turns = [Turn::calls(&[("fake-echo", json!({}))]), Turn::text("x")];
    let gateway = Gateway::start(turns).await;
    let mut body = says("Go!");
    body["tool_choice"] = json!("required");
    gateway.answer(&body).await;
    assert_eq!(gateway.asked(0)["tool_choice"], "required");
    assert_eq!(gateway.asked(1)["tool_choice"], json!(null));
}

#[tokio::test]
async fn a_long_result_is_cut() {
    let turns = [
        Turn::calls(&[("fake-big", json!({ "bytes": 5000 }))]),
        Turn::text("x"),
    ];
    let gateway = Gateway::before(Model::start(turns).await, "max_result: 1KiB").await;
    gateway.answer(&says("Go!")).await;
    let result = gateway.messages()[2]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        result.ends_with("\n[cut: 3976 of 5000 bytes are left out]"),
        "{result}"
    );
}

#[tokio::test]
async fn thirty_chats_at_once_keep_to_themselves() {
    let model = Model::answering(|body| {
        let messages = body["messages"].as_array().unwrap();
        let who = messages[0]["content"].as_str().unwrap();
        if messages.len() == 1 {
            return Turn::calls(&[
                ("fake-echo", json!({ "who": who })),
                ("fake-echo", json!({ "again": who })),
            ])
            .with_call_ids(&["call_1", "call_2"]);
        }
        let told = messages[2..].iter().all(|message| {
            message["content"]
                .as_str()
                .unwrap()
                .contains(&format!("\"{who}\""))
        });
        Turn::text(&format!("{who} {told}"))
    })
    .await;
    let gateway = Gateway::before(model, "").await;
    let mut chats = tokio::task::JoinSet::new();
    for n in 0..30 {
        let addr = gateway.fake.gateway();
        chats.spawn(async move {
            let who = format!("client {n}");
            let request = Request::post("/v1/chat/completions", says(&who).to_string());
            let answer = exchange(addr, request).await.json();
            assert_eq!(
                answer["choices"][0]["message"]["content"],
                format!("{who} true"),
                "{answer}"
            );
        });
    }
    while let Some(ended) = chats.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn odd_models_are_understood_in_the_loop() {
    let all = [
        Odd::ObjectArguments,
        Odd::EmptyArguments,
        Odd::NoCallIds,
        Odd::NoIndex,
        Odd::SameIndex,
        Odd::EmptyHeads,
        Odd::FinishStop,
        Odd::Nulls,
        Odd::NoContent,
        Odd::NoUsage,
        Odd::UsageWithFinish,
        Odd::NoDone,
    ];
    let turns = all.into_iter().flat_map(|odd| {
        let calls = Turn::calls(&[
            ("fake-echo", json!({ "n": 1 })),
            ("fake-look", json!({ "n": 2 })),
        ]);
        let turns = [calls.odd(odd), Turn::text("Done.").odd(odd)];
        turns.clone().into_iter().chain(turns)
    });
    let gateway = Gateway::start(turns).await;
    for odd in all {
        let answer = gateway.answer(&says("Go!")).await;
        assert_eq!(
            answer["choices"][0]["message"]["content"], "Done.",
            "{odd:?}"
        );
        let whole = gateway.messages();
        let chunks = chunks(gateway.stream(&says("Go!")).await).await;
        assert_eq!(chunks.last(), Some(&json!("[DONE]")), "{odd:?}");
        for messages in [whole, gateway.messages()] {
            assert_eq!(messages.len(), 4, "{odd:?}");
            for (n, (call, name)) in [("1", "echo"), ("2", "look")].into_iter().enumerate() {
                let (made, told) = (&messages[1]["tool_calls"][n], &messages[2 + n]);
                assert_eq!(made["id"], told["tool_call_id"], "{odd:?}");
                assert!(made["id"].is_string() && made["function"]["arguments"].is_string());
                let told = told["content"].as_str().unwrap();
                let sent = format!(r#"{{"name":"{name}","arguments":{{"n":{call}}}"#);
                assert!(told.contains(&sent), "{odd:?}: {told}");
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_may_not_call_is_not_obeyed_when_it_does() {
    let gateway = Gateway::start([Turn::calls(&[("fake-echo", json!({}))])]).await;
    let mut body = says("Look!");
    body["tool_choice"] = json!("none");
    let answer = gateway.answer(&body).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(!gateway.fake.record().join("").contains("tools/call"));
}
