//! `Last-Event-ID`: what a broken stream has missed comes once, in order, and to nobody else.

use serde_json::{Value, json};

use crate::harness::sse::{Event, Events};
use crate::harness::{Fake, Streamable, fake};

/// A call whose answer and notifications the test decides on, by what another session tells the server to write.
struct Puppet<'a> {
    fake: &'a Fake,
    strings: Streamable,
    /// The bridge's id of the call, which is its progress token too.
    k: u64,
}

impl<'a> Puppet<'a> {
    /// Starts the call in `client`; its stream begins with progress 1, whose event comes along.
    async fn start(
        fake: &'a Fake,
        client: &mut Streamable,
        token: &str,
    ) -> (Puppet<'a>, Events, Event) {
        let line = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
        let arguments = json!({"lines": [line], "answer": false, "mark": token});
        let params =
            json!({"name": "emit", "arguments": arguments, "_meta": {"progressToken": token}});
        let (_, reply) = client.start("tools/call", &params).await;
        let mut events = reply.stream();
        let event = message(&mut events).await;
        assert_eq!(event.json()["params"]["progress"], 1);
        let sent = fake.recorded(&format!("\"mark\":\"{token}\"")).await;
        let sent: Value = serde_json::from_str(&sent).unwrap();
        let k = sent["id"].as_u64().unwrap();
        let strings = fake.streamable().await;
        (Puppet { fake, strings, k }, events, event)
    }

    async fn say(&mut self, message: &Value) {
        self.strings
            .call("emit", &json!({"lines": [message.to_string()]}))
            .await;
    }

    async fn progress(&mut self, n: u64) {
        let params = json!({"progressToken": self.k, "progress": n});
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .await;
    }

    async fn answer(&mut self) {
        let k = self.k;
        self.say(&json!({"jsonrpc": "2.0", "id": k, "result": {"content": []}}))
            .await;
        assert_eq!(
            self.fake.events("cancelled").len(),
            0,
            "a cut stream cancels nothing"
        );
    }
}

/// The next event with data.
async fn message(events: &mut Events) -> Event {
    loop {
        let event = events.next().await;
        if !event.data.is_empty() {
            return event;
        }
    }
}

/// What resuming after `id` brings, until the stream's end.
async fn replay(client: &Streamable, id: Option<&str>) -> Vec<Event> {
    let (head, mut events) = client.get(id).await;
    assert_eq!(head.status, 200, "{id:?}");
    let mut all = Vec::new();
    while let Some(event) = events.try_next().await {
        all.push(event);
    }
    all
}

async fn shared() -> Fake {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    fake
}

fn steps(events: &[Event]) -> Vec<Value> {
    let step = |event: &Event| match event.json() {
        answer if answer.get("result").is_some() => json!("answer"),
        progress => progress["params"]["progress"].clone(),
    };
    events.iter().map(step).collect()
}

#[tokio::test]
async fn a_cut_response_is_resumed_without_loss_or_double_up_to_its_answer() {
    let fake = shared().await;
    for version in ["2025-06-18", "2025-11-25"] {
        let mut client = Streamable::new(fake.addr());
        client.initialize(version, &json!({})).await;
        let (mut puppet, mut stream, first) = Puppet::start(&fake, &mut client, version).await;
        puppet.progress(2).await;
        let second = message(&mut stream).await;
        drop(stream);
        for n in [3, 4, 5] {
            puppet.progress(n).await;
        }
        let (head, mut resumed) = client.get(second.id.as_deref()).await;
        assert_eq!(head.status, 200);
        let mut events = Vec::new();
        for n in [3, 4, 5] {
            let event = message(&mut resumed).await;
            assert_eq!(event.json()["params"]["progress"], n);
            events.push(event);
        }
        puppet.progress(6).await;
        events.push(message(&mut resumed).await);
        assert_eq!(events[3].json()["params"]["progress"], 6, "live again");
        puppet.answer().await;
        events.push(message(&mut resumed).await);
        resumed.ended().await;
        let mut ids: Vec<_> = events
            .iter()
            .map(|event| event.id.clone().unwrap())
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), 5, "{ids:?}");

        // the answer is out, and can be had again
        let wants = [
            json!(2),
            json!(3),
            json!(4),
            json!(5),
            json!(6),
            json!("answer"),
        ];
        assert_eq!(steps(&replay(&client, first.id.as_deref()).await), wants);
        for (n, id) in ids.iter().enumerate() {
            let again = replay(&client, Some(id)).await;
            assert_eq!(again, events[n + 1..], "the same events under the same ids");
        }
    }
}

#[tokio::test]
async fn a_response_that_was_never_read_is_there_after_its_priming_event() {
    let fake = shared().await;
    let mut client = fake.streamable().await;
    let params = json!({"name": "progress", "arguments": {"n": 3}, "_meta": {"progressToken": 1}});
    let (_, reply) = client.start("tools/call", &params).await;
    let priming = reply.stream().next().await;
    assert_eq!(priming.data, "");
    let all = replay(&client, priming.id.as_deref()).await;
    assert_eq!(steps(&all), [json!(1), json!(2), json!(3), json!("answer")]);
}

#[tokio::test]
async fn a_session_s_own_stream_is_resumed_too() {
    let fake = shared().await;
    let mut client = fake.streamable().await;
    let uris: Vec<_> = (0..5).map(|n| format!("fake://{n}")).collect();
    for uri in &uris {
        client
            .request("resources/subscribe", &json!({"uri": uri}))
            .await;
    }
    let (_, mut stream) = client.get(None).await;
    let mut events = Vec::new();
    for uri in &uris[..3] {
        client.call("update", &json!({"uri": uri})).await;
        events.push(message(&mut stream).await);
    }
    drop(stream);
    // while nobody listens
    client.call("update", &json!({"uri": uris[3]})).await;
    let (_, mut resumed) = client.get(events[0].id.as_deref()).await;
    assert_eq!(message(&mut resumed).await, events[1]);
    assert_eq!(message(&mut resumed).await, events[2]);
    assert_eq!(
        message(&mut resumed).await.json()["params"]["uri"],
        "fake://3"
    );
    client.call("update", &json!({"uri": uris[4]})).await;
    assert_eq!(
        message(&mut resumed).await.json()["params"]["uri"],
        "fake://4"
    );
    // the newer connection takes the stream over
    let (_, mut newer) = client.get(events[1].id.as_deref()).await;
    assert_eq!(message(&mut newer).await, events[2]);
    for uri in &uris[3..] {
        assert_eq!(
            message(&mut newer).await.json()["params"]["uri"],
            json!(uri)
        );
    }
    client.delete().await;
    resumed.ended().await;
    newer.ended().await;
}

#[tokio::test]
async fn each_stream_brings_only_its_own() {
    let fake = shared().await;
    let mut client = fake.streamable().await;
    let (_, mut own) = client.get(None).await;
    client
        .request("resources/subscribe", &json!({"uri": "fake://a"}))
        .await;
    let (mut one, first_stream, first) = Puppet::start(&fake, &mut client, "one").await;
    let (mut two, second_stream, second) = Puppet::start(&fake, &mut client, "two").await;
    drop((first_stream, second_stream));
    one.progress(11).await;
    two.progress(22).await;
    client.call("update", &json!({"uri": "fake://a"})).await;
    one.answer().await;
    two.answer().await;
    assert_eq!(
        steps(&replay(&client, first.id.as_deref()).await),
        [json!(11), json!("answer")]
    );
    assert_eq!(
        steps(&replay(&client, second.id.as_deref()).await),
        [json!(22), json!("answer")]
    );
    let update = message(&mut own).await;
    assert_eq!(update.json()["params"]["uri"], "fake://a");
}

#[tokio::test]
async fn an_id_that_means_nothing_is_refused() {
    let fake = shared().await;
    let mut client = fake.streamable().await;
    let params = json!({"name": "progress", "arguments": {"n": 1}, "_meta": {"progressToken": 1}});
    client.request("tools/call", &params).await;
    for id in [
        "",
        "x",
        "7",
        "p1",
        "p1-",
        "p1-x",
        "q1-1",
        "p99-1",
        "p1-1-1",
        "p-1",
        "-1",
        "p1-18446744073709551616",
        "p1-18446744073709551615",
        "p1-3",
        "\u{e9}1-1",
    ] {
        let (head, _) = client.get(Some(id)).await;
        assert_eq!(head.status, 400, "{id}");
    }
}

#[tokio::test]
async fn another_session_s_events_can_t_be_had() {
    let fake = shared().await;
    let mut victim = fake.streamable().await;
    let params =
        json!({"name": "progress", "arguments": {"n": 3}, "_meta": {"progressToken": "secret"}});
    let (_, reply) = victim.start("tools/call", &params).await;
    let id = reply.stream().next().await.id.unwrap();
    assert_eq!(replay(&victim, Some(&id)).await.len(), 4);

    let mut thief = fake.streamable().await;
    let (head, _) = thief.get(Some(&id)).await;
    assert_eq!(head.status, 400);
    // also not when it has a stream of that very number itself
    let params =
        json!({"name": "progress", "arguments": {"n": 1}, "_meta": {"progressToken": "own"}});
    let (_, reply) = thief.start("tools/call", &params).await;
    assert_eq!(reply.stream().next().await.id.unwrap(), id);
    let events = replay(&thief, Some(&id)).await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| !event.data.contains("secret")));

    // nor with the victim's events after its end
    assert_eq!(victim.delete().await.status(), 204);
    assert_eq!(victim.get(Some(&id)).await.0.status, 404);
}
