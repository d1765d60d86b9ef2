//! Which sessions share a process, and what those get that have one of their own.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::proc::Process;
use crate::harness::raw::raw_at;
use crate::harness::sse::initialize_params;
use crate::harness::{Fake, Sse, Streamable, fake, until};

/// The pid of the process that answers this session.
fn pid(initialized: &Value) -> i32 {
    let pid = initialized["result"]["_meta"]["fake/pid"].as_i64();
    i32::try_from(pid.unwrap_or_else(|| panic!("no pid in {initialized}"))).unwrap()
}

async fn process(fake: &Fake, nth: usize) -> Process {
    let start = fake.journaled("start", nth).await;
    let pid = i32::try_from(start["pid"].as_i64().unwrap()).unwrap();
    Process::find(pid).unwrap()
}

#[tokio::test]
async fn plain_clients_share_one_process() {
    for isolation in ["auto", "shared"] {
        let fake = fake::fake(&format!("isolation: {isolation}"), &[]).await;
        let shared = process(&fake, 1).await;
        for number in 0..4 {
            let mut sse = Sse::connect(fake.addr()).await;
            let own = json!({"experimental": {"n": number}, "extensions": {}});
            assert_eq!(pid(&sse.initialize(&own).await), shared.pid);
            let streamable = Streamable::open(fake.addr(), &own).await;
            assert_eq!(pid(&streamable.initialized), shared.pid);
        }
        let interactive = Streamable::open(fake.addr(), &json!({"roots": {}})).await;
        let apart = pid(&interactive.initialized) != shared.pid;
        assert_eq!(apart, isolation == "auto");
    }
}

#[tokio::test]
async fn an_interactive_client_gets_the_warm_spare_with_its_own_words() {
    let capabilities = r#"{"tools":{},"tasks":{"list":{}}}"#;
    let fake = fake::fake("isolation: auto", &["--capabilities", capabilities]).await;
    let shared = process(&fake, 1).await;
    let mut started = 2;
    for declared in ["roots", "sampling", "elicitation", "tasks"] {
        for sse in [true, false] {
            // a process that runs before the client comes, and that nobody has spoken to
            let spare = process(&fake, started).await;
            let before = fake.record().len();
            let words = format!(
                r#"{{"jsonrpc":"2.0", "id":"\u0069","method":"initialize","x":1.0,"params":{{"protocolVersion":"2025-06-18","capabilities":{{"{declared}":{{"n":12345678901234567890}}}},"clientInfo":{{"name":"own \ud800","version":"1e400"}},"_meta":{{"v":1e400}}}}}}"#
            );
            let mut stream = Sse::connect(fake.addr()).await;
            let client = Streamable::new(fake.addr());
            let (answer, session) = if sse {
                assert_eq!(stream.post(words.clone()).await.status(), 202);
                (stream.events().next().await.data, None)
            } else {
                let reply = client.post(words.clone()).await.whole();
                (
                    reply.text(),
                    reply.header("mcp-session-id").map(str::to_owned),
                )
            };
            assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some(r#""\u0069""#));
            let told = raw_at(&answer, &["result", "capabilities"]);
            assert_eq!(told.as_deref(), Some(capabilities), "tasks are not hidden");
            assert_eq!(pid(&serde_json::from_str(&answer).unwrap()), spare.pid);
            assert_eq!(sse, session.is_none());
            let line = fake.record()[before..].concat();
            let k = raw_at(&line, &["id"]).unwrap();
            assert_eq!(
                line,
                format!("{}\n", words.replace(r#""\u0069""#, &k)),
                "exactly its initialize"
            );
            // the process ends with its session
            drop(stream);
            if let Some(session) = session {
                let mut client = client;
                client.session = Some(session);
                assert_eq!(client.delete().await.status(), 204);
            }
            spare.gone().await;
            started += 1;
        }
    }
    assert!(shared.exists());
    fake.ready().await;
}

#[tokio::test]
async fn an_own_process_takes_everything() {
    let fake = fake::fake("isolation: auto", &[]).await;
    let mut client = Sse::connect(fake.addr()).await;
    client
        .initialize(&json!({"roots": {"listChanged": true}, "tasks": {}}))
        .await;
    fake.recorded("notifications/initialized").await;
    client
        .notify("notifications/roots/list_changed", &json!({}))
        .await;
    fake.recorded("notifications/roots/list_changed").await;
    let answer = client.request("tasks/get", &json!({"taskId": "t"})).await;
    assert_eq!(answer["result"]["params"]["taskId"], "t");
    client
        .request("logging/setLevel", &json!({"level": "alert"}))
        .await;
    // no level is kept for it, so the server decides; and an ask needs no attribution
    client.call("log", &json!({"level": "debug"})).await;
    assert_eq!(client.next().await["method"], "notifications/message");
    let held = client
        .start_call("hold", &json!({"key": "k"}), &json!("h"))
        .await;
    fake.recorded("\"hold\"").await;
    let asking = client
        .start_call("ask", &json!({"method": "vendor/ask"}), &json!("a"))
        .await;
    let ask = client.next().await;
    assert_eq!(ask["method"], "vendor/ask");
    client
        .send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"ok": 1}}))
        .await;
    let answer = client.answer(asking).await;
    assert!(answer.to_string().contains("ok"), "{answer}");
    let line = r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t"}}"#;
    client.call("emit", &json!({"lines": [line]})).await;
    assert_eq!(client.next().await["method"], "notifications/tasks/status");
    client.call("release", &json!({"key": "k"})).await;
    client.answer(held).await;
}

#[tokio::test]
async fn two_interactive_clients_never_see_each_other() {
    let fake = fake::fake("isolation: auto\nmax_instances: 4", &[]).await;
    let (mut one, mut two) = (
        Sse::connect(fake.addr()).await,
        Sse::connect(fake.addr()).await,
    );
    let first = pid(&one.initialize(&json!({"elicitation": {}})).await);
    let second = pid(&two.initialize(&json!({"elicitation": {}})).await);
    assert_ne!(first, second);
    let ask = json!({"method": "elicitation/create", "id": "5"});
    let calls = (
        one.start_call("ask", &ask, &json!(1)).await,
        two.start_call("ask", &ask, &json!(1)).await,
    );
    let asked = (one.next().await, two.next().await);
    assert_eq!(asked.0, asked.1, "the same id in both");
    two.send(&json!({"jsonrpc": "2.0", "id": asked.1["id"], "result": {"of": "two"}}))
        .await;
    let answer = two.answer(calls.1).await;
    assert!(answer.to_string().contains("two"), "{answer}");
    one.send(&json!({"jsonrpc": "2.0", "id": asked.0["id"], "result": {"of": "one"}}))
        .await;
    let answer = one.answer(calls.0).await;
    assert!(answer.to_string().contains("one"), "{answer}");
    two.call("log", &json!({"level": "error"})).await;
    two.call("list_changed", &json!({})).await;
    one.call("echo", &json!({})).await;
    assert_eq!(one.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn every_session_has_its_own_under_session() {
    let fake = fake::fake("isolation: session", &[]).await;
    // else the first session's process may be there before it
    fake.ready().await;
    let mut pids = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = fake.streamable().await;
        pids.push(pid(&client.initialized));
        clients.push(client);
    }
    pids.push(process(&fake, 1).await.pid);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(
        pids.len(),
        4,
        "three, and the one that the bridge itself asks"
    );
    // who says something else first, is told
    let mut early = Sse::connect(fake.addr()).await;
    let answer = early.request("tools/list", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    early.initialize(&json!({})).await;
    early.call("echo", &json!({})).await;
}

#[tokio::test]
async fn an_idle_session_gives_its_process_back() {
    let fake = fake::fake("isolation: auto\nsession_idle: 300ms", &[]).await;
    let client = Streamable::open(fake.addr(), &json!({"roots": {}})).await;
    let own = Process::find(pid(&client.initialized)).unwrap();
    own.gone().await;
    let reply = client
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"test/x"}"#)
        .await;
    assert_eq!(reply.status(), 404);
}

#[tokio::test]
async fn a_session_ends_with_its_own_process() {
    let fake = fake::fake("isolation: auto", &[]).await;
    let mut client = Streamable::open(fake.addr(), &json!({"roots": {}})).await;
    let mut plain = fake.streamable().await;
    let answer = client.call("crash", &json!({"signal": 9})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let reply = client
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"test/x"}"#)
        .await;
    assert_eq!(reply.status(), 404);
    plain.call("echo", &json!({})).await;
    let mut again = Streamable::open(fake.addr(), &json!({"roots": {}})).await;
    again.call("echo", &json!({})).await;
    fake.ready().await;
}

#[tokio::test]
async fn interactive_clients_beyond_the_limit_are_refused_and_get_room_when_one_ends() {
    let fake = fake::fake("isolation: auto\nmax_instances: 4", &[]).await;
    let addr = fake.addr();
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        clients.spawn(async move {
            let mut client = Streamable::new(addr);
            let params = initialize_params("2025-11-25", &json!({"roots": {}}));
            let (_, reply) = client.start("initialize", &params).await;
            let status = reply.status();
            let retry = reply.head().header("retry-after").map(str::to_owned);
            client.session = reply.head().header("mcp-session-id").map(str::to_owned);
            let answer = reply.whole().json();
            if status == 503 {
                assert_eq!(answer["error"]["code"], -31004, "{answer}");
                assert!(retry.unwrap().parse::<u64>().unwrap() > 0);
                return None;
            }
            assert_eq!(status, 200, "{answer}");
            let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
            client.send(&initialized).await;
            Some((client, pid(&answer)))
        });
    }
    let mut served: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(served.len(), 4);
    // also by the other transport, and plain clients don't mind
    let mut sse = Sse::connect(addr).await;
    let params = initialize_params("2025-11-25", &json!({"sampling": {}}));
    let answer = sse.request("initialize", &params).await;
    assert_eq!(answer["error"]["code"], -31004, "{answer}");
    fake.streamable().await.call("echo", &json!({})).await;
    for (client, _) in &mut served {
        client.call("echo", &json!({})).await;
    }
    let (client, own) = served.pop().unwrap();
    let own = Process::find(own).unwrap();
    assert_eq!(client.delete().await.status(), 204);
    own.gone().await;
    let answer = until("room", async || {
        let answer = sse.request("initialize", &params).await;
        answer["result"].is_object().then_some(answer)
    })
    .await;
    assert!(!served.iter().any(|(_, other)| *other == pid(&answer)));
    // all of them at once
    let alive = |fake: &Fake| {
        fake.pids()
            .into_iter()
            .filter(|pid| Process::find(*pid).is_some())
            .count()
    };
    assert_eq!(alive(&fake), 5, "four and the shared one");
    drop((sse, served));
}

#[tokio::test]
async fn what_an_own_server_says_outside_of_calls_reaches_its_session() {
    let lines = [
        r#"{"jsonrpc":"2.0","id":"early \u0031","method":"roots/list"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug","data":"hello"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"fake://x"}}"#,
    ];
    let flags: Vec<_> = lines
        .iter()
        .flat_map(|line| ["--on-initialized", line])
        .collect();
    let fake = fake::fake("isolation: auto", &flags).await;
    let mut plain = fake.sse().await;
    let capabilities = json!({"roots": {}});
    let mut sse = Sse::connect(fake.addr()).await;
    sse.initialize(&capabilities).await;
    let streamable = Streamable::open(fake.addr(), &capabilities).await;
    let (_, mut stream) = streamable.get(None).await;
    for line in lines {
        let expected: Value = serde_json::from_str(line).unwrap();
        let mut got = [sse.next().await, stream.message().await];
        for (number, message) in got.iter_mut().enumerate() {
            assert_eq!(message["method"], expected["method"]);
            assert_eq!(message["params"], expected["params"]);
            if expected["id"].is_null() {
                continue;
            }
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"roots": [], "of": number}});
            match number {
                0 => sse.send(&answer).await,
                _ => streamable.send(&answer).await,
            }
            let heard = fake.recorded(&format!("\"of\":{number}")).await;
            let id = raw_at(&heard, &["id"]);
            assert_eq!(id.as_deref(), Some(r#""early \u0031""#));
        }
    }
    plain.call("echo", &json!({})).await;
    assert_eq!(plain.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_client_that_never_spoke_again_gives_its_place_to_the_next() {
    let fake = fake::fake("isolation: auto\nmax_instances: 1", &[]).await;
    let params = initialize_params("2025-11-25", &json!({"roots": {}}));
    let mut silent = Streamable::new(fake.addr());
    let (id, reply) = silent.start("initialize", &params).await;
    silent.session = reply.head().header("mcp-session-id").map(str::to_owned);
    let first = Process::find(pid(&reply.answer(id).await.0)).unwrap();
    // not at once: it may be about to speak
    let mut next = Streamable::new(fake.addr());
    let refused = next.start("initialize", &params).await.1;
    assert_eq!(refused.status(), 503);
    assert!(first.exists());
    let answer = until("its place", async || {
        let (id, reply) = next.start("initialize", &params).await;
        next.session = reply.head().header("mcp-session-id").map(str::to_owned);
        next.session.as_ref()?;
        Some(reply.answer(id).await.0)
    })
    .await;
    assert_ne!(pid(&answer), first.pid);
    first.gone().await;
    next.call("echo", &json!({})).await;
    let reply = silent
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"test/x"}"#)
        .await;
    assert_eq!(reply.status(), 404);
}
