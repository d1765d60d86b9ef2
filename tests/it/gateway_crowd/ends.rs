//! How a chat ends that doesn't end by itself, and that it ends for nobody else.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Crowd, outcome};
use crate::harness::behind::Behind;
use crate::harness::chats::{self, Way};
use crate::harness::fake::entry;
use crate::harness::http::{Connection, Request, attempt, exchange};
use crate::harness::sse::Events;
use crate::harness::{until, within};
use crate::supervision::kill;

#[tokio::test]
async fn a_client_that_leaves_takes_its_call_along() {
    let crowd = Crowd::start().await;
    let stays = crowd.held(Way::Chat, "stays").await;
    for (n, way) in Way::ALL.into_iter().enumerate() {
        let leaves = crowd.held(way, "never").await;
        drop(leaves);
        let cancelled = crowd
            .all
            .until_received("one", "notifications/cancelled", n + 1)
            .await;
        let calls = crowd.all.received("one", "tools/call");
        assert_eq!(cancelled["params"]["requestId"], calls[n + 1]["id"]);
    }
    assert_eq!(
        crowd
            .ask(Way::Responses, &json!([{"calls": [["one-echo", {}]]}]))
            .await
            .results()
            .len(),
        1
    );
    crowd.release("stays");
    assert_eq!(outcome(stays).await.results(), ["released"]);
    assert_eq!(
        crowd.all.received("one", "notifications/cancelled").len(),
        4
    );
    // those that left were answered by the model once
    assert_eq!(crowd.model.requests().len(), 2 + 4 + 2);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_model_along() {
    let crowd = Crowd::start().await;
    let mut left = 0;
    for way in Way::ALL {
        for events in [0, 2] {
            if events > 0 && !way.streams() {
                continue;
            }
            let asked = crowd.model.requests().len();
            // in the second round, so that a session with a bridge is there
            let turns = json!([{"calls": [["one-echo", {}]]}, {"hang": events}]);
            let request = way.request(&turns);
            let addr = crowd.addr();
            let mut client = JoinSet::new();
            client.spawn(async move {
                let mut connection = Connection::open(addr).await;
                connection.request(&request).await;
                // only a stream has a head by now
                let mut events = Events::new(connection);
                while events.try_next().await.is_some() {}
            });
            crowd.model.requested(asked + 2).await;
            drop(client);
            left += 1;
            crowd.model.disconnects(left).await;
        }
    }
    assert_eq!(left, 6);
    let turns = json!([{"calls": [["one-echo", {}]]}]);
    assert_eq!(crowd.ask(Way::ChatStream, &turns).await.results().len(), 1);
    assert!(
        crowd
            .all
            .received("one", "notifications/cancelled")
            .is_empty()
    );
}

#[tokio::test]
async fn the_model_hears_that_a_server_died() {
    let crowd = Crowd::start().await;
    for (before, way) in Way::ALL.into_iter().enumerate() {
        let chat = crowd.held(way, "never").await;
        let bridge = exchange(crowd.all.admin(), Request::get("/bridges/one"))
            .await
            .json();
        kill(i32::try_from(bridge["pid"].as_i64().unwrap()).unwrap());
        let results = outcome(chat).await.results();
        assert_eq!(results.len(), 1);
        assert!(results[0].contains("killed by signal 9"), "{results:?}");
        until("the server's next life", async || {
            let servers = crowd.all.standing().await;
            let alive = servers[0]["note"].is_null() && restarts(&crowd).await > before;
            alive.then_some(())
        })
        .await;
    }
    let results = crowd
        .ask(
            Way::Chat,
            &json!([{"calls": [["one-echo", {}], ["two-echo", {}]]}]),
        )
        .await
        .results();
    assert!(
        results.iter().all(|result| result.contains("tools/call")),
        "{results:?}"
    );
}

async fn restarts(crowd: &Crowd) -> usize {
    let bridge = exchange(crowd.all.admin(), Request::get("/bridges/one"))
        .await
        .json();
    bridge["restarts"].as_u64().unwrap().try_into().unwrap()
}

#[tokio::test]
async fn a_tool_that_takes_too_long_is_cancelled_and_the_model_told() {
    let crowd = Crowd::with("tool_timeout: 1s", chats::obedient().await).await;
    let turns = json!([{"calls": [["one-hold", {"key": "never"}], ["two-echo", {}]]}]);
    for (way, outcome) in crowd.ask_in_all_ways(&turns).await {
        let results = outcome.results();
        assert!(
            results[0].contains("no result within 1s"),
            "{way:?} {results:?}"
        );
        assert!(results[1].contains("tools/call"), "{way:?} {results:?}");
    }
    crowd
        .all
        .until_received("one", "notifications/cancelled", 4)
        .await;
    let ids = |method: &str, pointer: &str| {
        let messages = crowd.all.received("one", method);
        let ids = messages
            .iter()
            .map(|message| message.pointer(pointer).cloned().unwrap());
        let mut ids: Vec<_> = ids.map(|id| id.as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let cancelled = ids("notifications/cancelled", "/params/requestId");
    assert_eq!(cancelled, ids("tools/call", "/id"));
}

#[tokio::test]
async fn the_deadline_ends_model_and_tools() {
    let crowd = Crowd::with("deadline: 2s", chats::obedient().await).await;
    // words first, so that a stream has begun
    let held = json!([{"text": "Wait.", "calls": [["one-hold", {"key": "never"}]]}]);
    let hanging = json!([{"hang": 0}]);
    for turns in [held, hanging] {
        for (way, outcome) in crowd.ask_in_all_ways(&turns).await {
            let begins = way.streams() && turns[0]["hang"].is_null();
            let message = outcome.error["message"].as_str();
            assert!(
                message.is_some_and(|it| it.contains("`deadline`")),
                "{way:?} {outcome:?}"
            );
            assert!(
                outcome.status == 504 || way.streams(),
                "{way:?} {outcome:?}"
            );
            assert!(outcome.status == 200 || !begins, "{way:?} {outcome:?}");
        }
    }
    crowd
        .all
        .until_received("one", "notifications/cancelled", 4)
        .await;
    crowd.model.disconnects(4).await;
}

#[tokio::test]
async fn after_the_last_round_nothing_may_be_called() {
    let crowd = Crowd::with("max_rounds: 2", chats::obedient().await).await;
    for way in Way::ALL {
        let before = crowd.model.requests().len();
        let calls = json!({"calls": [["one-echo", {}]]});
        let results = crowd
            .ask(way, &json!([calls, calls, calls, calls]))
            .await
            .results();
        assert_eq!(results.len(), 2);
        let asked = crowd.model.requests().split_off(before);
        let choices: Vec<_> = asked
            .iter()
            .map(|asked| &asked.body["tool_choice"])
            .collect();
        assert_eq!(choices, [&Value::Null, &Value::Null, &json!("none")]);
        assert_eq!(asked[2].body["tools"], asked[0].body["tools"]);
    }
}

#[tokio::test]
async fn chats_under_way_finish_when_the_daemon_stops() {
    let mut crowd = Crowd::start().await;
    // further calls come when nobody else's are taken any more
    let turns = json!([
        {"calls": [["one-hold", {"file": crowd.path("go-on")}]]},
        {"calls": [["one-echo", {}], ["two-echo", {}]]},
    ]);
    let mut chats = JoinSet::new();
    for way in Way::ALL {
        let (addr, turns) = (crowd.addr(), turns.clone());
        chats.spawn(async move { chats::ask(addr, way, &turns).await });
    }
    crowd.all.until_received("one", "tools/call", 4).await;
    crowd.all.signal(Signal::SIGTERM);
    until("the gateway to refuse new chats", async || {
        match attempt(crowd.addr(), Way::Chat.request(&json!([]))).await {
            None => Some(()),
            Some(response) => (response.status() == 503).then_some(()),
        }
    })
    .await;
    crowd.release("go-on");
    while let Some(outcome) = within("the end of a chat", chats.join_next()).await {
        let results = outcome.unwrap().results();
        assert_eq!(results[0], "released");
        let others = &results[1..];
        assert!(
            others.iter().all(|result| result.contains("tools/call")),
            "{others:?}"
        );
    }
    assert_eq!(crowd.all.exit().await.code(), Some(0));
}

#[tokio::test]
async fn chats_that_outlast_the_drain_are_told() {
    let model = chats::obedient().await;
    let gateway = format!(
        "model_list:\n  - {{ model_name: m, api_base: {} }}",
        json!(model.url())
    );
    let further = "drain: 1s\n".to_owned();
    let mut all = Behind::start(&gateway, &[entry("one", "", &[]), further]).await;
    let mut chats = JoinSet::new();
    for way in Way::ALL {
        let addr = all.addr();
        chats.spawn(async move { (way, chats::ask(addr, way, &json!([{"hang": 2}])).await) });
    }
    model.requested(4).await;
    all.signal(Signal::SIGTERM);
    while let Some(chat) = within("the end of a chat", chats.join_next()).await {
        let (way, outcome) = chat.unwrap();
        let message = outcome.error["message"].as_str();
        assert!(
            message.is_some_and(|it| it.contains("stopping")),
            "{way:?} {outcome:?}"
        );
        assert_eq!(
            outcome.status,
            if way.streams() { 200 } else { 503 },
            "{way:?} {outcome:?}"
        );
    }
    model.disconnects(4).await;
    assert_eq!(all.exit().await.code(), Some(0));
}
