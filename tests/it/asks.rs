//! What a server asks its client goes to the owner of the only live call, or is refused; answers count once.
//!
//! `isolation: shared` throughout, where the bridge has to find out whom the server means; `isolation.rs` has the rest.

use serde_json::{Value, json};

use crate::harness::raw::{is_answer, raw_at};
use crate::harness::sse::Events;
use crate::harness::{Fake, Reply, Sse, Streamable, fake, until};

/// Every method that a server may ask a client, with the capability that allows it.
const ASKS: [(&str, &str); 3] = [
    ("roots", "roots/list"),
    ("sampling", "sampling/createMessage"),
    ("elicitation", "elicitation/create"),
];

fn everything() -> Value {
    json!({"roots": {}, "sampling": {}, "elicitation": {}})
}

async fn sse(fake: &Fake, capabilities: &Value) -> Sse {
    let mut client = Sse::connect(fake.addr()).await;
    client.initialize(capabilities).await;
    client
}

/// The server's text of the answer that it got to what it asked.
fn heard(answer: &Value) -> &str {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no answer in {answer}"))
}

fn code(heard: &str) -> Option<String> {
    raw_at(heard, &["error", "code"])
}

#[tokio::test]
async fn the_owner_of_the_only_live_call_is_asked_byte_for_byte() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut bystander = sse(&fake, &everything()).await;
    let mut client = sse(&fake, &everything()).await;
    for (number, (_, method)) in ASKS.iter().enumerate() {
        let ask = r#"{ "params":{"n":12345678901234567890,"s":"\ud800"},"jsonrpc":"2.0", "x":1e400,"method":"METHOD","id":"\u0061sk"}"#
            .replace("METHOD", method);
        let id = client
            .start_call("emit", &json!({"lines": [ask], "answer": false}), &json!(0))
            .await;
        let asked = client.events().next().await.data;
        let minted = raw_at(&asked, &["id"]).unwrap();
        assert_eq!(asked, ask.replace(r#""\u0061sk""#, &minted));
        let answer = format!(
            r#"{{"result":{{"f":1.0,"big":1e400,"s":"\ud800"}} ,"y":[],"id":{minted},"jsonrpc":"2.0"}}"#
        );
        assert_eq!(client.post(answer.clone()).await.status(), 202);
        let expected = answer.replace(&format!(r#""id":{minted}"#), r#""id":"\u0061sk""#);
        until("the answer", async || {
            let record = fake.record();
            (record
                .iter()
                .filter(|line| line.trim_end() == expected)
                .count()
                == number + 1)
                .then_some(())
        })
        .await;
        client
            .notify("notifications/cancelled", &json!({"requestId": id}))
            .await;
    }
    bystander.call("echo", &json!({})).await;
    assert_eq!(bystander.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn tools_prompts_and_resources_may_ask() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = sse(&fake, &everything()).await;
    let resource = json!({"uri": format!("run:{}", json!({"name": "ask", "arguments": {}}))});
    for (method, params) in [
        ("tools/call", json!({"name": "ask", "arguments": {}})),
        ("prompts/get", json!({"name": "ask", "arguments": {}})),
        ("resources/read", resource),
    ] {
        let id = client.start(method, &params).await;
        let ask = client.next().await;
        assert_eq!(ask["method"], "roots/list", "{method}: {ask}");
        client.send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"roots": [{"uri": format!("file:///{method}")}]}})).await;
        let answer = client.answer(id).await;
        assert!(heard(&answer).contains(method), "{answer}");
    }
}

#[tokio::test]
async fn a_streamable_client_is_asked_on_the_stream_of_its_call() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = Streamable::open(fake.addr(), &everything()).await;
    let (_, mut own) = client.get(None).await;
    let params = json!({"name": "ask", "arguments": {"method": "elicitation/create", "params": {"message": "well?"}}});
    let (id, reply) = client.start("tools/call", &params).await;
    let mut events = reply.stream();
    let ask = events.message().await;
    assert_eq!(ask["method"], "elicitation/create");
    assert_eq!(ask["params"], json!({"message": "well?"}));
    client
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"action": "decline"}}))
        .await;
    let answer = answer_on(&mut events).await;
    assert_eq!(answer["id"], id);
    assert!(heard(&answer).contains("decline"), "{answer}");
    events.ended().await;
    // nothing of it went to the session's own stream
    client.call("list_changed", &json!({})).await;
    assert_eq!(
        own.message().await["method"],
        "notifications/tools/list_changed"
    );
}

async fn answer_on(events: &mut Events) -> Value {
    loop {
        let message = events.message().await;
        if is_answer(&message.to_string()) {
            return message;
        }
    }
}

#[tokio::test]
async fn a_client_that_did_not_declare_it_is_not_asked() {
    let fake = fake::settled("isolation: shared", &[]).await;
    for (declared, _) in ASKS {
        let mut client = sse(&fake, &json!({declared: {}})).await;
        for (capability, method) in ASKS {
            let id = client
                .start_call("ask", &json!({"method": method}), &json!(1))
                .await;
            if capability == declared {
                let ask = client.next().await;
                assert_eq!(ask["method"], method);
                client
                    .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {}}))
                    .await;
                client.answer(id).await;
            } else {
                let answer = client.answer(id).await;
                assert_eq!(
                    code(heard(&answer)).as_deref(),
                    Some("-32601"),
                    "{method} {answer}"
                );
            }
        }
        assert_eq!(client.seen(), Vec::<Value>::new());
    }
    let mut plain = sse(&fake, &json!({})).await;
    let answer = plain.call("ask", &json!({"method": "vendor/ask"})).await;
    assert_eq!(code(heard(&answer)).as_deref(), Some("-32601"), "{answer}");
}

#[tokio::test]
async fn an_ask_that_could_be_anybodys_is_refused() {
    let line = r#"{"jsonrpc":"2.0","id":900,"method":"roots/list"}"#;
    let fake = fake::settled("isolation: shared", &["--on-initialized", line]).await;
    fake.ready().await;
    // outside of any call
    let refusal = fake.recorded("\"id\":900").await;
    assert_eq!(code(&refusal).as_deref(), Some("-32601"));
    // two live calls of two sessions
    let mut one = sse(&fake, &everything()).await;
    let mut two = sse(&fake, &everything()).await;
    let held = one
        .start_call("hold", &json!({"key": "k"}), &json!(1))
        .await;
    fake.recorded("\"hold\"").await;
    let answer = two.call("ask", &json!({})).await;
    assert_eq!(code(heard(&answer)).as_deref(), Some("-32601"), "{answer}");
    two.call("release", &json!({"key": "k"})).await;
    one.answer(held).await;
    // a call that can't make a server ask is no owner
    let listed = one.start("test/x", &json!({})).await;
    one.answer(listed).await;
    let id = two.start_call("ask", &json!({}), &json!(1)).await;
    let ask = two.next().await;
    assert_eq!(ask["method"], "roots/list", "alone again: {ask}");
    two.send(&json!({"jsonrpc": "2.0", "id": ask["id"], "error": {"code": -1, "message": "no"}}))
        .await;
    let answer = two.answer(id).await;
    assert_eq!(code(heard(&answer)).as_deref(), Some("-1"));
    assert_eq!(one.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn what_a_cancelled_call_may_have_asked_is_nobodys() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut one = sse(&fake, &everything()).await;
    let mut two = sse(&fake, &everything()).await;
    let held = one
        .start_call(
            "hold",
            &json!({"key": "k", "ignore_cancel": true}),
            &json!(1),
        )
        .await;
    fake.recorded("\"hold\"").await;
    one.notify("notifications/cancelled", &json!({"requestId": held}))
        .await;
    fake.recorded("notifications/cancelled").await;
    let answer = two.call("ask", &json!({})).await;
    assert_eq!(code(heard(&answer)).as_deref(), Some("-32601"), "{answer}");
}

#[tokio::test]
async fn an_answer_counts_once_and_only_from_who_was_asked() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = sse(&fake, &everything()).await;
    let mut sse_thief = sse(&fake, &everything()).await;
    let thief = Streamable::open(fake.addr(), &everything()).await;
    let answer_of =
        |id: &Value, who: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"of": who}});
    let call = client
        .start_call("ask", &json!({"id": "77"}), &json!(1))
        .await;
    let ask = client.next().await;
    for id in [
        &ask["id"],
        &json!(77),
        &json!("77"),
        &json!(1.5),
        &json!(999),
    ] {
        sse_thief.send(&answer_of(id, "thief")).await;
        thief.send(&answer_of(id, "thief")).await;
    }
    for id in [json!("1"), json!(1.5), json!(-1), json!(999)] {
        client.send(&answer_of(&id, "wrong id")).await;
    }
    client.send(&answer_of(&ask["id"], "owner")).await;
    client.send(&answer_of(&ask["id"], "again")).await;
    let answer = client.answer(call).await;
    assert_eq!(
        heard(&answer),
        r#"{"jsonrpc":"2.0","id":77,"result":{"of":"owner"}}"#
    );
    client.call("echo", &json!({})).await;
    let record = fake.record().concat();
    for nobody in ["thief", "wrong id", "again"] {
        assert!(!record.contains(nobody), "{record}");
    }
}

#[tokio::test]
async fn the_end_of_the_one_who_was_asked_answers_the_server() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = sse(&fake, &everything()).await;
    client
        .start_call("ask", &json!({"id": "\"lost\""}), &json!(1))
        .await;
    assert_eq!(client.next().await["method"], "roots/list");
    drop(client);
    let line = fake.recorded("\"id\":\"lost\"").await;
    assert!(code(&line).is_some(), "{line}");
    // a Streamable client that leaves its POST has not left its session
    let mut client = Streamable::open(fake.addr(), &everything()).await;
    let params = json!({"name": "ask", "arguments": {"id": "\"kept\""}});
    let (_, reply) = client.start("tools/call", &params).await;
    let Reply::Stream(_, mut events) = reply else {
        panic!("the ask comes first");
    };
    let event = events.next().await;
    let ask = events.message().await;
    drop(events);
    client
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"roots": []}}))
        .await;
    let line = fake.recorded("\"id\":\"kept\"").await;
    assert!(line.contains("roots"), "{line}");
    let (head, mut events) = client.get(event.id.as_deref()).await;
    assert_eq!(head.status, 200);
    assert_eq!(events.message().await["id"], ask["id"]);
    assert!(heard(&answer_on(&mut events).await).contains("roots"));
}

#[tokio::test]
async fn a_shared_instance_says_what_it_can_route() {
    let shared = fake::settled("isolation: shared", &[]).await;
    let line = shared.recorded("\"initialize\"").await;
    let told = raw_at(&line, &["params", "capabilities"]);
    assert_eq!(
        told.as_deref(),
        Some(r#"{"roots":{},"sampling":{},"elicitation":{}}"#)
    );
    let auto = fake::settled("isolation: auto", &[]).await;
    let line = auto.recorded("\"initialize\"").await;
    assert_eq!(
        raw_at(&line, &["params", "capabilities"]).as_deref(),
        Some("{}")
    );
    // and so it is not to ask
    let mut plain = auto.sse().await;
    let answer = plain.call("ask", &json!({})).await;
    assert_eq!(code(heard(&answer)).as_deref(), Some("-32601"), "{answer}");
}
