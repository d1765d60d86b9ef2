//! What would wake an operator at night: ends that go wrong while something else goes on (SUPERVISION §1, §6).

use serde_json::json;

use crate::harness::{fake, within};


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
