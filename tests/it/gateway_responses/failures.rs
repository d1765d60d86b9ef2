//! What goes wrong, and how the client hears of it.

use super::*;

#[tokio::test]
async fn what_goes_wrong_before_the_stream_has_its_status() {
    let refusal = json!({ "error": { "message": "slow down", "type": "x", "param": null, "code": "rate_limit_exceeded" } });
    for stream in [false, true] {
        let gateway = Gateway::start([
            Turn::status(429, &refusal),
            Turn::status(401, &json!({ "error": { "message": "bad key sk-123" } })),
            Turn::html(503),
        ])
        .await;
        for (status, code) in [(429, "rate_limit_exceeded"), (502, ""), (502, "")] {
            let mut body = asks_alone("go");
            body["stream"] = json!(stream);
            let (got, error) = gateway.error(&body).await;
            assert_eq!(got, status, "{error}");
            if !code.is_empty() {
                assert_eq!(error, refusal["error"]);
            }
            assert!(!error.to_string().contains("sk-123"));
        }
    }
}

#[tokio::test]
async fn a_late_failure_ends_the_stream_with_response_failed() {
    let gateway = Gateway::start([Turn::text("one two three").broken_after(2)]).await;
    let events = all(gateway.stream(&asks_alone("go")).await).await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    let response = &last["response"];
    assert_eq!(response["status"], "failed");
    assert_eq!(response["error"]["code"], "server_error");
    assert_eq!(response["id"], events[0]["response"]["id"]);
    assert_eq!(items(response)[0]["status"], "incomplete");
}

#[tokio::test]
async fn a_deadline_ends_the_response() {
    let model = Model::start([Turn::text("one two").hanging_after(2)]).await;
    let gateway = Gateway::before(model, "deadline: 1s").await;
    let events = all(gateway.stream(&asks_alone("go")).await).await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    let message = last["response"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("`deadline`"), "{message}");
}

#[tokio::test]
async fn a_request_that_cannot_be_served_is_told_why() {
    let keys = "virtual_keys:\n  - { api_key: key, models: [other] }\nmaster_key: master";
    let gateway = Gateway::before(Model::start([]).await, keys).await;
    let post = async |key: &str, body: &str| {
        let request = Request::post("/responses", body);
        let request = request.header("authorization", &format!("Bearer {key}"));
        let response = exchange(gateway.fake.gateway(), request).await;
        (response.status(), response.json()["error"].clone())
    };
    for (body, status, param) in [
        ("{", 400, json!("body")),
        ("[]", 400, json!("body")),
        (r#"{"input":"x"}"#, 400, json!("model")),
        (r#"{"model":"m"}"#, 400, json!("input")),
        (r#"{"model":"m","input":1}"#, 400, json!("input")),
        (
            r#"{"model":"m","input":[{"type":"riddle"}]}"#,
            400,
            json!("input[0].type"),
        ),
        (
            r#"{"model":"m","input":"x","tools":{}}"#,
            400,
            json!("tools"),
        ),
        (
            r#"{"model":"m","input":"x","tools":[{"type":"function"}]}"#,
            400,
            json!("tools[0].name"),
        ),
        (
            r#"{"model":"m","input":"x","background":true}"#,
            400,
            json!("background"),
        ),
        (
            r#"{"model":"m","input":"x","previous_response_id":"resp_1"}"#,
            404,
            json!("previous_response_id"),
        ),
        (r#"{"model":"nobody","input":"x"}"#, 404, json!("model")),
    ] {
        let (got, error) = post("master", body).await;
        assert_eq!((got, &error["param"]), (status, &param), "{body}: {error}");
    }
    let (status, error) = post("key", r#"{"model":"m","input":"x"}"#).await;
    assert_eq!((status, &error["code"]), (403, &json!("model_not_allowed")));
}
