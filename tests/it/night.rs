//! What would wake an operator at night: ends that go wrong while something else goes on (SUPERVISION §1, §6).

use serde_json::json;

use crate::harness::{Sse, fake, proc, within};
use crate::supervision::kill;

/// Clock ticks (100 a second) that the process has computed for.
fn busy(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn waiting_for_a_server_to_end_costs_no_time() {
    let fake = fake::fake("isolation: session", &["--ignore-eof"]).await;
    fake.ready().await;
    let mut client = Sse::connect(fake.addr()).await;
    client.initialize(&json!({})).await;
    let info = client.call("info", &json!({})).await;
    let pid = info["result"]["structuredContent"]["pid"].as_i64().unwrap();
    let server = proc::Process::find(i32::try_from(pid).unwrap()).unwrap();
    let before = busy(fake.pid());
    drop(client);
    // it ends with SIGTERM, two seconds after its session
    server.gone().await;
    let took = busy(fake.pid()) - before;
    assert!(took < 60, "{took} ticks");
}

#[tokio::test]
async fn who_wants_an_instance_of_an_unavailable_server_hears_of_the_cure() {
    let extra = "optional: true\nisolation: session";
    let config = fake::config(extra, &[]).replace("fake_server", "not_there");
    let fake = fake::Fake::launch(crate::harness::Launch {
        config,
        ..Default::default()
    })
    .await;
    let mut client = Sse::connect(fake.addr()).await;
    let params = crate::harness::sse::initialize_params("2025-11-25", &json!({}));
    let answer = client.request("initialize", &params).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("unavailable: "), "{text}");
}

#[tokio::test]
async fn requests_that_wait_for_initialize_are_answered_when_the_server_dies() {
    let fake = fake::fake("isolation: session", &["--init-hold", "{dir}/never"]).await;
    let mut client = Sse::connect(fake.addr()).await;
    let params = crate::harness::sse::initialize_params("2025-11-25", &json!({}));
    let initialize = client.start("initialize", &params).await;
    let list = client.start("tools/list", &json!({})).await;
    // the shared server has got the bridge's own
    let record = || {
        fake.record()
            .iter()
            .filter(|line| line.contains("initialize"))
            .count()
    };
    crate::harness::until("both", async || (record() == 2).then_some(())).await;
    for pid in fake.pids() {
        kill(pid);
    }
    let answer = client.answer(initialize).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let answer = client.answer(list).await;
    assert!(answer["error"]["code"].is_i64(), "{answer}");
}

#[tokio::test]
async fn what_a_server_says_in_refusing_initialize_is_cut_and_cleaned() {
    let message = format!("no access with hunter2secret {}", "x".repeat(50_000));
    let fake = fake::fake(
        "isolation: shared\nenv: { DB_PASSWORD: hunter2secret }",
        &["--init-error", &message],
    )
    .await;
    let last = crate::harness::until("its failure", async || {
        let (_, body) = fake.health("fake").await;
        (!body["last_exit"].is_null()).then_some(body)
    })
    .await;
    let text = last.to_string();
    assert!(text.contains("no access with ***"), "{text}");
    assert!(text.len() < 2000, "{}", text.len());
    assert!(!fake.log().contains("hunter2secret"));
}

#[tokio::test]
async fn the_error_of_a_crash_shows_the_end_of_stderr_and_no_more() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = fake.sse().await;
    let stderr = format!("{}the end", "x".repeat(50_000));
    let answer = within(
        "the answer",
        client.call("crash", &json!({"code": 3, "stderr": stderr})),
    )
    .await;
    let lines = answer["error"]["data"]["stderr"].as_array().unwrap();
    assert!(lines[0].as_str().unwrap().ends_with("the end"), "{answer}");
    assert!(
        answer.to_string().len() < 6000,
        "{}",
        answer.to_string().len()
    );
}
