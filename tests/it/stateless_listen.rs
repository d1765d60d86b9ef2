//! `subscriptions/listen` before a server with a handshake.

use serde_json::{Value, json};

use crate::harness::stateless::subscription;
use crate::harness::{Fake, Stateless, fake, until};

async fn plain(fake: &Fake) -> Stateless {
    fake.ready().await;
    Stateless::new(fake.addr(), &json!({}))
}

/// Who is subscribed, as the server counts.
async fn subscriptions(client: &mut Stateless) -> Value {
    client.call("state", &json!({})).await["result"]["structuredContent"]["subscriptions"].clone()
}

#[tokio::test]
async fn a_stream_brings_what_was_asked_for_and_honoured_and_nothing_else() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    let wish = json!({"toolsListChanged": true, "promptsListChanged": false, "resourceSubscriptions": ["fake://a", "fake://b"]});
    let (id, honoured, mut events) = client.listen(&wish).await;
    assert_eq!(
        honoured,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["fake://a", "fake://b"]})
    );
    let mut other = client.clone();
    other.call("log", &json!({})).await;
    other.call("update", &json!({"uri": "fake://c"})).await;
    other.call("update", &json!({"uri": "fake://b"})).await;
    let message = events.message().await;
    assert_eq!(message["method"], "notifications/resources/updated");
    assert_eq!(message["params"]["uri"], "fake://b");
    assert_eq!(subscription(&message), json!(id));
    other
        .call("list_changed", &json!({"kind": "prompts"}))
        .await;
    other.call("list_changed", &json!({"kind": "tools"})).await;
    let message = events.message().await;
    assert_eq!(message["method"], "notifications/tools/list_changed");
    assert_eq!(subscription(&message), json!(id));
}

#[tokio::test]
async fn what_the_server_does_not_have_is_not_honoured() {
    let fake = fake::fake(
        "",
        &[
            "--capabilities",
            r#"{"tools":{"listChanged":true},"resources":{}}"#,
        ],
    )
    .await;
    let mut client = plain(&fake).await;
    let wish = json!({"toolsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["fake://a"]});
    let (_, honoured, _events) = client.listen(&wish).await;
    assert_eq!(honoured, json!({"toolsListChanged": true}));
    let refusing = fake::fake("", &["--refuse-subscribe"]).await;
    let mut client = plain(&refusing).await;
    let (_, honoured, _events) = client.listen(&wish).await;
    assert_eq!(
        honoured,
        json!({"toolsListChanged": true, "resourcesListChanged": true})
    );
    let nothing = fake::fake("", &["--capabilities", r#"{"tools":{}}"#]).await;
    let mut client = plain(&nothing).await;
    let (_, reply) = client
        .start("subscriptions/listen", &json!({"notifications": wish}))
        .await;
    assert_eq!(
        reply.status(),
        404,
        "a server that never changes has no such method"
    );
    let (_, reply) = client.start("subscriptions/listen", &json!({})).await;
    assert_eq!(
        (
            reply.status(),
            reply.whole().json()["error"]["code"].clone()
        ),
        (400, json!(-32602))
    );
}

#[tokio::test]
async fn the_server_hears_of_the_first_subscriber_and_the_last_of_either_era() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    let mut sse = fake.sse().await;
    sse.request("resources/subscribe", &json!({"uri": "fake://a"}))
        .await;
    let wish = json!({"resourceSubscriptions": ["fake://a"]});
    let (_, _, mut one) = client.listen(&wish).await;
    let (_, _, mut two) = client.listen(&wish).await;
    assert_eq!(subscriptions(&mut client).await, json!({"fake://a": 1}));
    client.call("update", &json!({"uri": "fake://a"})).await;
    for events in [&mut one, &mut two] {
        assert_eq!(events.message().await["params"]["uri"], "fake://a");
    }
    let told = sse.next().await;
    assert_eq!(
        told,
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "fake://a"}})
    );
    sse.request("resources/unsubscribe", &json!({"uri": "fake://a"}))
        .await;
    drop(one);
    assert_eq!(subscriptions(&mut client).await, json!({"fake://a": 1}));
    drop(two);
    until("the end of the subscription", async || {
        (subscriptions(&mut client).await == json!({"fake://a": 0})).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_outlives_its_server_and_ends_with_the_bridge() {
    let mut fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    let (id, _, mut events) = client
        .listen(&json!({"toolsListChanged": true, "resourceSubscriptions": ["fake://a"]}))
        .await;
    client.call("crash", &json!({"code": 1})).await;
    let message = events.message().await;
    assert_eq!(
        message["method"], "notifications/tools/list_changed",
        "another server may have others"
    );
    until("the subscription at the new server", async || {
        (subscriptions(&mut client).await == json!({"fake://a": 1})).then_some(())
    })
    .await;
    client.call("update", &json!({"uri": "fake://a"})).await;
    assert_eq!(
        events.message().await["method"],
        "notifications/resources/updated"
    );
    fake.signal(nix::sys::signal::Signal::SIGTERM);
    let end = events.message().await;
    assert_eq!(end["id"], id);
    assert_eq!(end["result"]["resultType"], "complete");
    assert_eq!(
        end["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        id
    );
    events.ended().await;
    assert_eq!(fake.exit().await.code(), Some(0));
}
