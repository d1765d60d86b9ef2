//! Many chats at the same time over the same bridges: whose results are whose, what waits for what, and how each of them ends.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::behind::Behind;
use crate::harness::chats::{self, Outcome, Way};
use crate::harness::fake::entry;
use crate::harness::model::{Gate, Model};
use crate::harness::within;

mod around;
mod ends;
mod sight;

/// Clients at the same time.
const CROWD: usize = 30;

/// A gateway over the bridges `one` and `two`, before an obedient model.
struct Crowd {
    all: Behind,
    model: Model,
}

impl Crowd {
    async fn start() -> Self {
        Self::with("", chats::obedient().await).await
    }

    /// The same with further lines below `gateway:`, before another model.
    async fn with(settings: &str, model: Model) -> Self {
        let url = json!(model.url());
        let gateway = format!("model_list:\n  - {{ model_name: m, api_base: {url} }}\n{settings}");
        let bridges = [entry("one", "", &[]), entry("two", "", &[])];
        let all = Behind::start(&gateway, &bridges).await;
        Self { all, model }
    }

    fn addr(&self) -> SocketAddr {
        self.all.addr()
    }

    async fn ask(&self, way: Way, turns: &Value) -> Outcome {
        chats::ask(self.addr(), way, turns).await
    }

    /// Has the same chat in all ways at the same time.
    async fn ask_in_all_ways(&self, turns: &Value) -> Vec<(Way, Outcome)> {
        let mut chats = JoinSet::new();
        for way in Way::ALL {
            let (addr, turns) = (self.addr(), turns.clone());
            chats.spawn(async move { (way, chats::ask(addr, way, &turns).await) });
        }
        within("the end of all chats", chats.join_all()).await
    }

    /// Begins a chat whose first call is held until `file` is there; waits until the server `one` has it.
    async fn held(&self, way: Way, file: &str) -> JoinSet<Outcome> {
        let before = self.all.received("one", "tools/call").len();
        let turns = json!([{"calls": [["one-hold", {"file": self.path(file)}]]}]);
        let addr = self.addr();
        let mut chat = JoinSet::new();
        chat.spawn(async move { chats::ask(addr, way, &turns).await });
        self.all
            .until_received("one", "tools/call", before + 1)
            .await;
        chat
    }

    fn path(&self, file: &str) -> String {
        self.all.path(file).to_str().unwrap().to_owned()
    }

    /// Lets those go on that wait for `file`.
    fn release(&self, file: &str) {
        fs::write(self.all.path(file), "").unwrap();
    }
}

/// The outcome of a chat that was begun elsewhere.
async fn outcome(mut chat: JoinSet<Outcome>) -> Outcome {
    let outcome = within("the end of a chat", chat.join_next()).await;
    outcome.unwrap().unwrap()
}

#[tokio::test]
async fn equal_ids_of_thirty_chats_stay_apart() {
    let gate = Gate::new();
    let waiting = gate.clone();
    // nobody is answered before all have asked
    let model = Model::answering(move |request| chats::obey(request).after(&waiting)).await;
    let crowd = Crowd::with("", model).await;
    let mut clients = JoinSet::new();
    for n in 0..CROWD {
        let addr = crowd.addr();
        clients.spawn(async move {
            let who = format!("client-{n}.");
            let turns = json!([
                {"calls": [["one-echo", {"who": who, "n": 1}], ["two-echo", {"who": who, "n": 2}]]},
                {"calls": [["one-echo", {"who": who, "n": 3}], ["one-tool_none", {}], ["two-echo", {"who": who, "n": 4}]]},
            ]);
            let results = chats::ask(addr, Way::ALL[n % 4], &turns).await.results();
            assert_eq!(results.len(), 5, "{results:?}");
            for (at, n) in [(0, 1), (1, 2), (2, 3), (4, 4)] {
                let arguments = format!(r#""arguments":{{"who":"{who}","n":{n}}}"#);
                assert!(results[at].contains(&arguments), "{arguments} in {results:?}");
            }
        });
    }
    let asked = crowd.model.requested(CROWD).await;
    assert!(
        asked
            .iter()
            .all(|asked| asked.body["messages"].as_array().unwrap().len() == 1)
    );
    gate.open_for_good();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    // and no model was told of another client's conversation
    for asked in crowd.model.requests() {
        let mut rest = asked.body["messages"].to_string();
        let (_, from) = rest.split_once("client-").unwrap();
        let who = format!("client-{}", from.split_once('.').unwrap().0);
        rest = rest.replace(&format!("{who}."), "");
        assert!(!rest.contains("client-"), "{who}: {rest}");
    }
    assert_eq!(crowd.all.received("one", "tools/call").len(), 2 * CROWD);
    assert_eq!(crowd.all.received("two", "tools/call").len(), 2 * CROWD);
}

#[tokio::test]
async fn calls_of_one_turn_run_at_the_same_time() {
    let crowd = Crowd::start().await;
    for (n, way) in Way::ALL.into_iter().enumerate() {
        let file = format!("go-{n}");
        let held = json!({"file": crowd.path(&file)});
        let calls = json!([
            ["one-hold", held], ["two-echo", {"n": n}], ["one-hold", held], ["two-hold", held], ["one-echo", {"n": n}],
        ]);
        let addr = crowd.addr();
        let mut chat = JoinSet::new();
        chat.spawn(async move { chats::ask(addr, way, &json!([{"calls": calls}])).await });
        // each is held until the server has all of them
        crowd
            .all
            .until_received("one", "tools/call", 3 * (n + 1))
            .await;
        crowd
            .all
            .until_received("two", "tools/call", 2 * (n + 1))
            .await;
        crowd.release(&file);
        let results = outcome(chat).await.results();
        let is_echo: Vec<_> = results.iter().map(|result| result != "released").collect();
        assert_eq!(is_echo, [false, true, false, false, true], "{results:?}");
    }
    // the model sees the results in the order of its calls
    let last = crowd.model.requests().pop().unwrap();
    let messages = last.body["messages"].as_array().unwrap();
    let ids: Vec<_> = messages[2..]
        .iter()
        .map(|message| message["tool_call_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        ["call_0_0", "call_0_1", "call_0_2", "call_0_3", "call_0_4"]
    );
}

#[tokio::test]
async fn a_slow_tool_holds_up_nobody_else() {
    let crowd = Crowd::start().await;
    let mut slow = Vec::new();
    for way in Way::ALL {
        slow.push(crowd.held(way, "at-last").await);
    }
    let mut others = JoinSet::new();
    for n in 0..CROWD - slow.len() {
        let addr = crowd.addr();
        others.spawn(async move {
            let turns =
                json!([{"calls": [["one-echo", {"n": n}]]}, {"calls": [["two-echo", {"n": n}]]}]);
            chats::ask(addr, Way::ALL[n % 4], &turns)
                .await
                .results()
                .len()
        });
    }
    while let Some(results) = others.join_next().await {
        assert_eq!(results.unwrap(), 2);
    }
    for chat in &mut slow {
        assert!(chat.try_join_next().is_none(), "its tool is held");
    }
    crowd.release("at-last");
    for chat in slow {
        assert_eq!(outcome(chat).await.results(), ["released"]);
    }
}
