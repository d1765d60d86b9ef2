//! Subscriptions of legacy clients, and changes of lists, on a modern server.

use serde_json::{Value, json};

use super::modern;
use crate::harness::{Fake, Sse, Stateless, fake, until};
use crate::supervision::restart;

async fn change(client: &mut Sse, what: &str, uri: &str) -> Value {
    client
        .request(&format!("resources/{what}"), &json!({"uri": uri}))
        .await
}

/// What the server's streams ask for.
async fn streams(client: &mut Sse) -> Vec<Value> {
    let answer = client.call("state", &json!({})).await;
    let streams = &answer["result"]["structuredContent"]["streams"];
    streams.as_array().unwrap().clone()
}

/// Waits until there is one stream, for these URIs.
async fn held(client: &mut Sse, uris: &[&str]) {
    let mut last = Vec::new();
    until(format!("one stream for {uris:?}"), async || {
        last = streams(client).await;
        let [stream] = &last[..] else { return None };
        let listed = stream.get("resourceSubscriptions").cloned();
        (listed.unwrap_or(json!([])) == json!(uris)).then_some(())
    })
    .await;
}

async fn updated(client: &mut Sse) -> Value {
    let message = client.next().await;
    assert_eq!(message["method"], "notifications/resources/updated");
    assert!(!message.to_string().contains("subscriptionId"), "{message}");
    message["params"]["uri"].clone()
}

#[tokio::test]
async fn subscriptions_of_all_sessions_are_one_stream() {
    let fake = modern(&[]).await;
    let (mut one, mut two, mut three) = (fake.sse().await, fake.sse().await, fake.sse().await);
    held(&mut three, &[]).await;
    change(&mut one, "subscribe", "fake://a").await;
    change(&mut two, "subscribe", "fake://a").await;
    let answer = change(&mut two, "subscribe", "fake://b").await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    held(&mut three, &["fake://a", "fake://b"]).await;
    three.call("update", &json!({"uri": "fake://a"})).await;
    assert_eq!(updated(&mut one).await, "fake://a");
    assert_eq!(updated(&mut two).await, "fake://a");
    three.call("update", &json!({"uri": "fake://b"})).await;
    assert_eq!(updated(&mut two).await, "fake://b");
    // the last one's end, and the end of a session
    change(&mut two, "unsubscribe", "fake://a").await;
    change(&mut one, "unsubscribe", "fake://a").await;
    held(&mut three, &["fake://b"]).await;
    drop(two);
    held(&mut three, &[]).await;
    for mut client in [one, three] {
        client.call("echo", &json!({})).await;
        assert_eq!(client.seen(), Vec::<Value>::new());
    }
    assert!(!fake.record().concat().contains("resources/subscribe"));
}

#[tokio::test]
async fn what_the_server_does_not_agree_to_is_refused() {
    let fake = modern(&["--refuse-uri", "fake://b"]).await;
    let mut client = fake.sse().await;
    assert_eq!(
        change(&mut client, "subscribe", "fake://a").await["result"],
        json!({})
    );
    let answer = change(&mut client, "subscribe", "fake://b").await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    held(&mut client, &["fake://a"]).await;
    client.call("update", &json!({"uri": "fake://a"})).await;
    assert_eq!(updated(&mut client).await, "fake://a");

    let fake = modern(&["--refuse-listen"]).await;
    let mut client = fake.sse().await;
    let answer = change(&mut client, "subscribe", "fake://a").await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("streams are refused"), "{message}");
}

#[tokio::test]
async fn changed_lists_are_told_to_every_session() {
    let fake = modern(&[]).await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    held(&mut one, &[]).await;
    two.call("echo", &json!({})).await;
    for kind in ["tools", "prompts", "resources"] {
        one.call("list_changed", &json!({"kind": kind})).await;
        for client in [&mut one, &mut two] {
            let message = client.next().await;
            let want =
                json!({"jsonrpc": "2.0", "method": format!("notifications/{kind}/list_changed")});
            assert_eq!(message, want);
        }
    }
    // only what it declared is asked for
    let capabilities =
        r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":false}}"#;
    let fake = modern(&["--capabilities", capabilities]).await;
    let line = fake.recorded("subscriptions/listen").await;
    assert!(
        line.contains(r#""notifications":{"toolsListChanged":true}"#),
        "{line}"
    );
}

#[tokio::test]
async fn streams_are_opened_again_by_the_next_server_and_when_this_one_ends_them() {
    let fake = modern(&[]).await;
    let mut client = fake.sse().await;
    change(&mut client, "subscribe", "fake://a").await;
    client.call("crash", &json!({})).await;
    fake.journaled("start", 2).await;
    held(&mut client, &["fake://a"]).await;
    client.seen();
    for how in ["result", "cancelled"] {
        client.call("end_streams", &json!({"how": how})).await;
        held(&mut client, &["fake://a"]).await;
        update(&fake, &mut client).await;
    }
}

async fn update(fake: &Fake, client: &mut Sse) {
    let mut other = fake.sse().await;
    other.call("update", &json!({"uri": "fake://a"})).await;
    loop {
        let message = client.next().await;
        if message["method"] == "notifications/resources/updated" {
            return;
        }
    }
}

#[tokio::test]
async fn what_a_server_says_in_no_stream_is_taken_for_what_it_is() {
    let fake = fake::fake("", &["--modern"]).await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    change(&mut one, "subscribe", "fake://a").await;
    two.call("update", &json!({"uri": "fake://a", "loose": true}))
        .await;
    assert_eq!(updated(&mut one).await, "fake://a");
    // a stream that is none of the bridge's
    let line = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"fake://a","_meta":{"io.modelcontextprotocol/subscriptionId":99}}}"#;
    two.call("emit", &json!({"lines": [line]})).await;
    for mut client in [one, two] {
        client.call("echo", &json!({})).await;
        assert_eq!(client.seen(), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_modern_clients_stream_holds_up_no_stop_and_ends_in_good_order() {
    let fake = modern(&[]).await;
    let mut client = Stateless::new(fake.addr(), &json!({}));
    let (id, _, mut events) = client.listen(&json!({"toolsListChanged": true})).await;
    restart(&fake, "fake").await;
    let end = events.message().await;
    let want = json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "_meta": {"io.modelcontextprotocol/subscriptionId": id}}});
    assert_eq!(end, want);
    events.ended().await;
    fake.journaled("start", 2).await;
    // and a server that dies leaves an error
    until("the next server", async || {
        (fake.health("fake").await.0 == 200).then_some(())
    })
    .await;
    let (id, _, mut events) = client.listen(&json!({"toolsListChanged": true})).await;
    client.call("crash", &json!({})).await;
    let end = events.message().await;
    assert_eq!(
        (&end["id"], &end["error"]["code"]),
        (&json!(id), &json!(-31001))
    );
    events.ended().await;
}
