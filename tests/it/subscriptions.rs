//! Subscriptions are counted per URI, updates go to subscribers, changed lists to everybody.

use serde_json::{Value, json};

use crate::harness::{Fake, Sse, fake, until};

/// What the server holds by its own count.
async fn held(client: &mut Sse) -> Value {
    let answer = client.call("state", &json!({})).await;
    answer["result"]["structuredContent"]["subscriptions"].clone()
}

async fn change(client: &mut Sse, what: &str, uri: &str) {
    let answer = client
        .request(&format!("resources/{what}"), &json!({"uri": uri}))
        .await;
    assert_eq!(answer["result"], json!({}), "{answer}");
}

fn times(fake: &Fake, method: &str) -> usize {
    let method = format!("\"method\":\"resources/{method}\"");
    fake.record()
        .iter()
        .filter(|line| line.contains(&method))
        .count()
}

/// Makes the server say that `uri` was updated.
async fn update(client: &mut Sse, uri: &str) {
    client.call("update", &json!({"uri": uri})).await;
}

#[tokio::test]
async fn the_server_hears_of_the_first_subscription_and_of_the_end_of_the_last() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let (mut one, mut two, mut three) = (fake.sse().await, fake.sse().await, fake.sse().await);
    change(&mut one, "subscribe", "fake://a").await;
    change(&mut one, "subscribe", "fake://a").await;
    change(&mut two, "subscribe", "fake://a").await;
    change(&mut two, "subscribe", "fake://b").await;
    assert_eq!(times(&fake, "subscribe"), 2);
    assert_eq!(
        held(&mut three).await,
        json!({"fake://a": 1, "fake://b": 1})
    );

    update(&mut three, "fake://a").await;
    for client in [&mut one, &mut two] {
        let message = client.next().await;
        assert_eq!(message["method"], "notifications/resources/updated");
        assert_eq!(message["params"]["uri"], "fake://a");
    }
    update(&mut three, "fake://b").await;
    assert_eq!(two.next().await["params"]["uri"], "fake://b");
    update(&mut three, "fake://c").await;

    change(&mut one, "unsubscribe", "fake://a").await;
    assert_eq!(times(&fake, "unsubscribe"), 0);
    update(&mut three, "fake://a").await;
    assert_eq!(two.next().await["params"]["uri"], "fake://a");
    change(&mut two, "unsubscribe", "fake://a").await;
    assert_eq!(
        held(&mut three).await,
        json!({"fake://a": 0, "fake://b": 1})
    );
    // the end of a session is the end of its subscriptions
    drop(two);
    until("the last unsubscription", async || {
        (times(&fake, "unsubscribe") == 2).then_some(())
    })
    .await;
    assert_eq!(
        held(&mut three).await,
        json!({"fake://a": 0, "fake://b": 0})
    );
    for mut client in [one, three] {
        client.call("echo", &json!({})).await;
        assert_eq!(client.seen(), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_not_recorded() {
    let fake = fake::fake("isolation: shared", &["--refuse-subscribe"]).await;
    let mut client = fake.sse().await;
    for _ in 0..2 {
        let answer = client
            .request("resources/subscribe", &json!({"uri": "fake://a"}))
            .await;
        assert_eq!(answer["error"]["code"], -32002, "{answer}");
    }
    assert_eq!(times(&fake, "subscribe"), 2, "it is asked anew");
    update(&mut client, "fake://a").await;
    client.call("echo", &json!({})).await;
    assert_eq!(client.seen(), Vec::<Value>::new());
    drop(client);
    let mut other = fake.sse().await;
    other.call("echo", &json!({})).await;
    assert_eq!(times(&fake, "unsubscribe"), 0, "there was nothing to end");
}

#[tokio::test]
async fn a_streamable_session_hears_on_its_own_stream() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = fake.streamable().await;
    let (head, mut events) = client.get(None).await;
    assert_eq!(head.status, 200);
    let mut other = fake.streamable().await;
    let (_, mut others) = other.get(None).await;
    client
        .request("resources/subscribe", &json!({"uri": "fake://a"}))
        .await;
    let params = json!({"name": "update", "arguments": {"uri": "fake://a"}});
    let (_, before) = client.request_all("tools/call", &params).await;
    assert_eq!(before, Vec::<Value>::new(), "it belongs to no call");
    assert_eq!(events.message().await["params"]["uri"], "fake://a");
    client
        .call("list_changed", &json!({"kind": "prompts"}))
        .await;
    assert_eq!(
        events.message().await["method"],
        "notifications/prompts/list_changed"
    );
    assert_eq!(
        others.message().await["method"],
        "notifications/prompts/list_changed"
    );
    assert_eq!(client.delete().await.status(), 204);
    until("the unsubscription", async || {
        (times(&fake, "unsubscribe") == 1).then_some(())
    })
    .await;
    other.call("echo", &json!({})).await;
}

#[tokio::test]
async fn changed_lists_are_told_to_everybody_once() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut one = fake.sse().await;
    let mut two = fake.sse().await;
    one.call("list_changed", &json!({"n": 500})).await;
    for client in [&mut one, &mut two] {
        let message = client.next().await;
        assert_eq!(
            message,
            json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        );
    }
    // another list is another message
    one.call("list_changed", &json!({"kind": "resources", "n": 3}))
        .await;
    for client in [&mut one, &mut two] {
        let message = client.next().await;
        assert_eq!(message["method"], "notifications/resources/list_changed");
        client.call("echo", &json!({})).await;
        assert_eq!(client.seen(), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_session_that_comes_and_goes_leaves_another_ones_subscription_alone() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut stays = fake.sse().await;
    change(&mut stays, "subscribe", "fake://a").await;
    for _ in 0..5 {
        let mut guest = fake.sse().await;
        change(&mut guest, "subscribe", "fake://a").await;
        // an unsubscription without a subscription takes nothing from the others
        change(&mut guest, "unsubscribe", "fake://a").await;
        change(&mut guest, "unsubscribe", "fake://a").await;
        drop(guest);
    }
    assert_eq!(held(&mut stays).await, json!({"fake://a": 1}));
    update(&mut stays, "fake://a").await;
    assert_eq!(stays.next().await["params"]["uri"], "fake://a");
}
