//! What happens around chats: reloads, processes of their own, clients that don't read; and what is left of them all.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{CROWD, Crowd, outcome};
use crate::harness::behind::{Behind, config};
use crate::harness::chats::{self, Way};
use crate::harness::fake::entry;
use crate::harness::http::{Connection, Request, exchange};
use crate::harness::until;
use crate::supervision::kill;

/// What the admin listener says of a bridge.
async fn bridge(all: &Behind, name: &str) -> Value {
    let request = Request::get(&format!("/bridges/{name}"));
    exchange(all.admin(), request).await.json()
}

#[tokio::test]
async fn nothing_is_left_of_a_crowd_that_was_disturbed() {
    let crowd = Crowd::start().await;
    let quiet = bridge(&crowd.all, "one").await["sessions"].clone();
    let turns = json!([
        {"calls": [["one-echo", {}], ["two-echo", {}]]},
        {"calls": [["one-hold", {"file": crowd.path("go")}], ["two-hold", {"file": crowd.path("go")}]]},
        {"calls": [["two-echo", {}]]},
    ]);
    let mut leaving = JoinSet::new();
    let mut staying = JoinSet::new();
    for n in 0..CROWD {
        let (addr, turns) = (crowd.addr(), turns.clone());
        let chat = async move { chats::ask(addr, Way::ALL[n % 4], &turns).await };
        if n % 3 == 0 {
            leaving.spawn(chat);
        } else {
            staying.spawn(chat);
        }
    }
    // everybody is held by both servers
    crowd
        .all
        .until_received("one", "tools/call", 2 * CROWD)
        .await;
    crowd
        .all
        .until_received("two", "tools/call", 2 * CROWD)
        .await;
    drop(leaving);
    crowd
        .all
        .until_received("two", "notifications/cancelled", CROWD / 3)
        .await;
    let pid = bridge(&crowd.all, "one").await["pid"].as_i64().unwrap();
    kill(i32::try_from(pid).unwrap());
    crowd.release("go");
    while let Some(outcome) = staying.join_next().await {
        let results = outcome.unwrap().results();
        assert!(results[2].contains("killed by signal 9"), "{results:?}");
        assert_eq!(results[3], "released");
        assert!(results[4].contains("tools/call"), "{results:?}");
    }
    assert_eq!(
        crowd.all.received("two", "notifications/cancelled").len(),
        CROWD / 3
    );
    until("the end of all sessions", async || {
        let one = bridge(&crowd.all, "one").await;
        let two = bridge(&crowd.all, "two").await;
        (one["sessions"] == quiet && two["sessions"] == quiet).then_some(())
    })
    .await;
    let numbers = exchange(crowd.addr(), Request::get("/metrics"))
        .await
        .text();
    assert!(
        numbers.contains("mcp_bridged_gateway_requests_in_progress 0\n"),
        "{numbers}"
    );
}

#[tokio::test]
async fn a_reload_changes_nothing_for_chats_under_way() {
    let crowd = Crowd::start().await;
    let mut chats = Vec::new();
    for way in Way::ALL {
        chats.push(crowd.held(way, "go").await);
    }
    let other = chats::obedient().await;
    let url = json!(other.url());
    let gateway = format!("model_list:\n  - {{ model_name: m, api_base: {url} }}\nmax_rounds: 1");
    crowd
        .all
        .reload(&config(&gateway, &[entry("one", "", &[])]));
    until("the end of a bridge", async || {
        let standing = crowd.all.standing().await;
        (standing.as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    crowd.release("go");
    for chat in chats {
        assert_eq!(outcome(chat).await.results(), ["released"]);
    }
    assert_eq!(crowd.model.requests().len(), 8);
    let turns =
        json!([{"calls": [["one-echo", {}], ["two-echo", {}]]}, {"calls": [["one-echo", {}]]}]);
    let results = crowd.ask(Way::Chat, &turns).await.results();
    assert_eq!(results.len(), 2);
    assert!(
        results[1].contains(r#"There is no tool "two-echo""#),
        "{results:?}"
    );
    assert_eq!(
        (crowd.model.requests().len(), other.requests().len()),
        (8, 2)
    );
}

#[tokio::test]
async fn chats_have_processes_of_their_own_where_the_bridge_says_so() {
    let model = chats::obedient().await;
    let url = json!(model.url());
    let gateway = format!("model_list:\n  - {{ model_name: m, api_base: {url} }}");
    let own = entry("own", "isolation: session\nmax_instances: 4", &[]);
    let all = Behind::start(&gateway, &[own]).await;
    let pid = |result: &String| {
        let facts: Value = serde_json::from_str(result).unwrap();
        facts["pid"].as_i64().unwrap()
    };
    let mut pids = Vec::new();
    for round in 0..3 {
        let go = all.path(&format!("go-{round}"));
        let turns = json!([
            {"calls": [["own-info", {}], ["own-hold", {"file": go}]]},
            {"calls": [["own-info", {}]]},
        ]);
        let mut chats = JoinSet::new();
        for way in [Way::ChatStream, Way::Responses] {
            let (addr, turns) = (all.addr(), turns.clone());
            chats.spawn(async move { chats::ask(addr, way, &turns).await });
        }
        all.until_received("own", "tools/call", 6 * round + 4).await;
        std::fs::write(go, "").unwrap();
        while let Some(outcome) = chats.join_next().await {
            let results = outcome.unwrap().results();
            assert_eq!(pid(&results[0]), pid(&results[2]));
            pids.push(pid(&results[0]));
        }
    }
    let chats = pids.len();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!((pids.len(), chats), (6, 6));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let crowd = Crowd::start().await;
    let big: Vec<_> = (0..60)
        .map(|_| json!(["one-big", {"bytes": 250_000}]))
        .collect();
    let turns = json!([{"calls": big}]);
    let mut lazy = Vec::new();
    for way in [Way::ChatStream, Way::ResponsesStream] {
        let mut connection = Connection::open(crowd.addr()).await;
        let head = connection.request(&way.request(&turns)).await;
        assert_eq!(head.status, 200);
        lazy.push(connection);
    }
    // where results are told, the loop waits for whoever doesn't read them
    crowd.all.until_received("one", "tools/call", 61).await;
    let turns = json!([{"calls": [["one-echo", {}], ["two-echo", {}]]}]);
    for way in Way::ALL {
        assert_eq!(crowd.ask(way, &turns).await.results().len(), 2);
    }
    let series = "mcp_bridged_gateway_requests_in_progress";
    let numbers = async || {
        exchange(crowd.addr(), Request::get("/metrics"))
            .await
            .text()
    };
    assert!(numbers().await.contains(&format!("{series} 2\n")));
    // they leave what they didn't read
    drop(lazy);
    until("the end of both", async || {
        let over = numbers().await.contains(&format!("{series} 0\n"));
        over.then_some(())
    })
    .await;
}
