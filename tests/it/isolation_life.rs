//! The life of dedicated instances: spares, limits, crashes, reload and stop (CONTRACT §4, Isolation).

use serde_json::{Value, json};

use crate::harness::{Fake, Reply, Sse, Streamable, fake, proc, until, within};
use crate::supervision::{kill, shown};

async fn pid_of(client: &mut Sse) -> i32 {
    let info = client.call("info", &json!({})).await;
    i32::try_from(info["result"]["structuredContent"]["pid"].as_i64().unwrap()).unwrap()
}

async fn own(fake: &Fake) -> Sse {
    let mut client = Sse::connect(fake.addr()).await;
    client.initialize(&json!({"roots": {}})).await;
    client
}

/// Waits until so many servers run.
async fn running(fake: &Fake, count: usize) {
    until(format!("{count} servers"), async || {
        (proc::children(fake.pid()).len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_spare_is_warm_taken_and_replaced() {
    let fake = fake::fake("isolation: session", &[]).await;
    fake.ready().await;
    // the shared one, which answers for the bridge, and the spare
    fake.journaled("start", 2).await;
    let spare = fake.pids()[1];
    let mut first = own(&fake).await;
    assert_eq!(pid_of(&mut first).await, spare);
    fake.journaled("start", 3).await;
    let next = fake.pids()[2];
    let mut second = own(&fake).await;
    assert_eq!(pid_of(&mut second).await, next);
    running(&fake, 4).await;
    drop(first);
    running(&fake, 3).await;
    assert!(proc::Process::find(spare).is_none());
    second.call("echo", &json!({})).await;
}

#[tokio::test]
async fn a_crash_of_one_session_s_server_is_nobody_else_s() {
    let fake = fake::fake("isolation: auto", &[]).await;
    fake.ready().await;
    let mut plain = fake.sse().await;
    let mut hurt = own(&fake).await;
    let mut well = own(&fake).await;
    let mut streamable = Streamable::open(fake.addr(), &json!({"roots": {}})).await;
    let call = hurt
        .start(
            "tools/call",
            &json!({"name": "hold", "arguments": {"key": "never"}}),
        )
        .await;
    let pid = pid_of(&mut hurt).await;
    kill(pid);
    let answer = hurt.answer(call).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    within("the end of its stream", async {
        while hurt.events().try_next().await.is_some() {}
    })
    .await;
    plain.call("echo", &json!({})).await;
    well.call("echo", &json!({})).await;
    assert_eq!(fake.health("fake").await.1["generation"], 1);
    // over Streamable HTTP the session is unknown from then on
    let answer = streamable.call("crash", &json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    until("the session's end", async || {
        let (_, reply) = streamable.start("tools/list", &json!({})).await;
        (reply.status() == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_more_instances_run_than_allowed() {
    let fake = fake::fake("isolation: session\nmax_instances: 2", &[]).await;
    fake.ready().await;
    running(&fake, 2).await;
    let mut first = own(&fake).await;
    running(&fake, 3).await;
    let mut second = own(&fake).await;
    let mut third = Streamable::new(fake.addr());
    let params: Value = json!({"protocolVersion": "2025-06-18", "capabilities": {"roots": {}}, "clientInfo": {"name": "t", "version": "1"}});
    let (_, reply) = third.start("initialize", &params).await;
    let Reply::Whole(refused) = reply else {
        panic!("a stream");
    };
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    first.call("echo", &json!({})).await;
    second.call("echo", &json!({})).await;
    drop(first);
    // its place is free again
    until("a place", async || {
        let (_, reply) = third.start("initialize", &params).await;
        (reply.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_and_a_stop_end_them_all() {
    let mut fake = fake::fake("isolation: auto", &[]).await;
    fake.ready().await;
    let mut own_one = own(&fake).await;
    let mut plain = fake.sse().await;
    fake.journaled("start", 3).await;
    let old = fake.pids();
    fake.reload(&fake::config("isolation: auto", &["--tool", "fresh"]));
    // the session whose server ends, ends; the other goes on
    within("the end of its stream", async {
        while own_one.events().try_next().await.is_some() {}
    })
    .await;
    until("the new server", async || {
        let (status, body) = fake.health("fake").await;
        (status == 200 && body["generation"] == 2).then_some(())
    })
    .await;
    assert!(plain.call("fresh", &json!({})).await["result"].is_object());
    // nobody gets the old spare
    let mut new = own(&fake).await;
    assert!(!old.contains(&pid_of(&mut new).await));
    assert!(new.call("fresh", &json!({})).await["result"].is_object());
    for pid in old {
        until("its end", async || {
            proc::Process::find(pid).is_none().then_some(())
        })
        .await;
    }
    assert!(
        !shown(&fake, "fake").await["instances"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let processes = proc::descendants(fake.pid());
    assert_eq!(fake.stop().await, Some(0));
    new.events().ended().await;
    for process in processes {
        process.gone().await;
    }
}
