//! What a modern server wants to know before it answers, asked of legacy clients.

use std::fs;

use serde_json::{Value, json};

use super::{got, modern, sse};
use crate::harness::raw::raw_at;
use crate::harness::{Fake, Reply, Sse, Streamable};

fn everything() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

fn elicit(message: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": {"type": "object", "properties": {}}}})
}

fn sample() -> Value {
    json!({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
}

fn roots() -> Value {
    json!({"method": "roots/list"})
}

async fn answer(client: &mut Sse, ask: &Value, result: Value) {
    client
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": result}))
        .await;
}

#[tokio::test]
async fn a_client_is_asked_on_its_stream_and_the_server_gets_its_answers() {
    let fake = modern(&[]).await;
    let mut bystander = sse(&fake, &everything()).await;
    let mut client = sse(&fake, &everything()).await;
    let rounds = json!([
        {"requests": {"who": elicit("who?"), "where": roots(), "what": sample()}},
        {"requests": {"sure": elicit("sure?")}},
    ]);
    let arguments = json!({"rounds": rounds, "progress": 1});
    let call = client.start_call("input", &arguments, &json!("mine")).await;
    let mut asked = Vec::new();
    for step in [1, 2] {
        let progress = client.next().await;
        assert_eq!(
            progress["params"],
            json!({"progressToken": "mine", "progress": step})
        );
        if step > 1 {
            break;
        }
        for _ in 0..3 {
            asked.push(client.next().await);
        }
        let methods: Vec<&str> = asked
            .iter()
            .map(|ask| ask["method"].as_str().unwrap())
            .collect();
        // the order in which the server's JSON has them
        assert_eq!(
            methods,
            ["elicitation/create", "roots/list", "sampling/createMessage"]
        );
        assert_eq!(asked[0]["params"], elicit("who?")["params"]);
        let results = [
            json!({"action": "accept", "content": {"n": 1}}),
            json!({"roots": []}),
            json!({"role": "assistant", "content": {"type": "text", "text": "t"}, "model": "m"}),
        ];
        // in any order
        for at in [2, 0, 1] {
            answer(&mut client, &asked[at], results[at].clone()).await;
        }
    }
    let again = client.next().await;
    assert_eq!(again["params"]["message"], "sure?");
    answer(&mut client, &again, json!({"action": "decline"})).await;
    assert_eq!(client.next().await["params"]["progress"], 3);
    let last = client.answer(call).await;
    let seen = got(&last);
    assert_eq!(
        seen["inputResponses"],
        json!({"sure": {"action": "decline"}})
    );
    assert_eq!(seen["requestState"], "opaque 2");
    assert!(last["result"]["resultType"].is_null());
    // under the names that the server gave, whatever the order of the answers
    let sent = fake.recorded("opaque 1").await;
    let given = raw_at(&sent, &["params", "inputResponses"]).unwrap();
    let order = ["who", "where", "what"].map(|name| given.find(&format!("\"{name}\":")).unwrap());
    assert!(order.is_sorted(), "{given}");
    assert!(
        given.contains(r#""who":{"action":"accept","content":{"n":1}}"#),
        "{given}"
    );
    bystander.call("echo", &json!({})).await;
    assert_eq!(bystander.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_streamable_client_is_asked_on_the_stream_of_its_call() {
    let fake = modern(&[]).await;
    let mut client = Streamable::open(fake.addr(), &everything()).await;
    for (method, params) in [
        (
            "tools/call",
            json!({"name": "input", "arguments": {"rounds": [{"requests": {"e": elicit("?")}}]}}),
        ),
        (
            "prompts/get",
            json!({"name": "input", "arguments": {"rounds": [{"requests": {"e": elicit("?")}, "state": false}]}}),
        ),
        (
            "resources/read",
            json!({"uri": format!("run:{}", json!({"name": "input", "arguments": {"rounds": [{"requests": {"e": elicit("?")}}]}}))}),
        ),
    ] {
        let (id, reply) = client.start(method, &params).await;
        let mut events = reply.stream();
        let ask = events.message().await;
        assert_eq!(ask["method"], "elicitation/create", "{ask}");
        client
            .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"action": "accept"}}))
            .await;
        let answer = events.message().await;
        assert_eq!(answer["id"], id);
        let seen = got(&answer);
        assert_eq!(seen["inputResponses"], json!({"e": {"action": "accept"}}));
        assert_eq!(seen["requestState"].is_null(), method == "prompts/get");
        events.ended().await;
    }
}

#[tokio::test]
async fn a_refusal_is_told_or_ends_the_call() {
    let fake = modern(&[]).await;
    let mut client = sse(&fake, &everything()).await;
    for (ask, ends) in [(elicit("?"), false), (sample(), true), (roots(), true)] {
        let rounds = json!({"rounds": [{"requests": {"a": ask, "b": elicit("b")}}]});
        let call = client.start_call("input", &rounds, &json!(1)).await;
        let (first, second) = (client.next().await, client.next().await);
        let (refused, other) = if first["params"]["message"] == "b" {
            (second, first)
        } else {
            (first, second)
        };
        let error = json!({"code": -7, "message": "no", "data": [1.5]});
        client
            .send(&json!({"jsonrpc": "2.0", "id": refused["id"], "error": error}))
            .await;
        if ends {
            let taken_back = client.next().await;
            assert_eq!(taken_back["method"], "notifications/cancelled");
            assert_eq!(taken_back["params"]["requestId"], other["id"]);
            assert_eq!(client.answer(call).await["error"], error);
        } else {
            answer(&mut client, &other, json!({"action": "accept"})).await;
            let seen = got(&client.answer(call).await);
            assert_eq!(seen["inputResponses"]["a"], json!({"action": "cancel"}));
        }
    }
}

#[tokio::test]
async fn a_client_that_can_not_be_asked_is_told_what_it_lacks() {
    let fake = modern(&[]).await;
    let mut plain = fake.sse().await;
    for (ask, capability) in [
        (elicit("?"), "elicitation"),
        (sample(), "sampling"),
        (roots(), "roots"),
    ] {
        let answer = plain
            .call("input", &json!({"rounds": [{"requests": {"a": ask}}]}))
            .await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("capability {capability}")),
            "{message}"
        );
        assert_eq!(answer["error"]["code"], -32602);
    }
    assert_eq!(plain.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_server_may_come_back_but_not_for_ever() {
    let fake = modern(&[]).await;
    let mut client = sse(&fake, &everything()).await;
    let seen = got(&client.call("input", &json!({"rounds": [{}, {}]})).await);
    assert_eq!(seen["requestState"], "opaque 2");
    assert!(seen.get("inputResponses").is_none());
    let answer = client
        .call("input", &json!({"rounds": [{}], "endless": true}))
        .await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    let calls = fake.record().concat().matches(r#""endless":true"#).count();
    assert_eq!(calls, 11, "the call, and ten more times");
}

/// A call that waits for the answer to an elicitation.
async fn waiting(fake: &Fake) -> (Sse, u64, Value) {
    let mut client = sse(fake, &everything()).await;
    let rounds = json!({"rounds": [{"requests": {"e": elicit("?")}}], "hold": fake.path("go")});
    let call = client.start_call("input", &rounds, &json!(1)).await;
    let ask = client.next().await;
    (client, call, ask)
}

#[tokio::test]
async fn a_call_whose_client_is_asked_can_be_cancelled_and_ends_with_its_session() {
    let fake = modern(&[]).await;
    let (mut client, call, ask) = waiting(&fake).await;
    client
        .notify("notifications/cancelled", &json!({"requestId": call}))
        .await;
    let taken_back = client.next().await;
    assert_eq!(taken_back["params"]["requestId"], ask["id"], "{taken_back}");
    answer(&mut client, &ask, json!({"action": "accept"})).await;
    client.call("echo", &json!({})).await;
    assert!(!fake.record().concat().contains("inputResponses"));
    // once it is sent again, the server hears of the end
    let (mut client, _, ask) = waiting(&fake).await;
    answer(&mut client, &ask, json!({"action": "accept"})).await;
    let line = fake.recorded("inputResponses").await;
    drop(client);
    let cancelled = fake.journaled("cancelled", 1).await;
    let id = raw_at(&line, &["id"]);
    assert_eq!(cancelled["id"].as_str(), id.as_deref());
    // what ends before leaves nothing behind
    let (client, _, _) = waiting(&fake).await;
    drop(client);
    let mut other = fake.sse().await;
    other.call("echo", &json!({})).await;
    assert_eq!(fake.events("cancelled").len(), 1);
}

#[tokio::test]
async fn a_server_that_ends_between_two_rounds_ends_the_call() {
    let fake = modern(&[]).await;
    let (mut client, call, ask) = waiting(&fake).await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(fake.pids()[0]),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let taken_back = client.next().await;
    assert_eq!(taken_back["params"]["requestId"], ask["id"]);
    let error = client.answer(call).await;
    assert_eq!(error["error"]["code"], -31001, "{error}");
    assert_eq!(error["error"]["data"]["delivered"], true);
    answer(&mut client, &ask, json!({"action": "accept"})).await;
    fs::write(fake.path("go"), "").unwrap();
    client.call("echo", &json!({})).await;
    assert!(!fake.record().concat().contains("inputResponses"));
}

#[tokio::test]
async fn a_streamable_client_may_leave_its_call_and_come_back_for_it() {
    let fake = modern(&[]).await;
    let mut client = Streamable::open(fake.addr(), &everything()).await;
    let params =
        json!({"name": "input", "arguments": {"rounds": [{"requests": {"e": elicit("?")}}]}});
    let (id, reply) = client.start("tools/call", &params).await;
    let Reply::Stream(_, mut events) = reply else {
        panic!("the ask comes first");
    };
    let event = events.next().await;
    let ask = events.message().await;
    drop(events);
    client
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"action": "accept"}}))
        .await;
    fake.recorded("inputResponses").await;
    let (_, mut events) = client.get(event.id.as_deref()).await;
    assert_eq!(events.message().await["id"], ask["id"]);
    assert_eq!(events.message().await["id"], id);
}
