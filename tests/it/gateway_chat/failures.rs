//! What goes wrong, and how the client hears of it.

use super::*;

fn error(response: &Response) -> Value {
    response.json()["error"].clone()
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_its_place() {
    let gateway = Gateway::start([]).await;
    let check = async |body: Value, param: &str| {
        let response = gateway.post(&body).await;
        let error = error(&response);
        assert_eq!(
            (response.status(), error["param"].as_str()),
            (400, Some(param)),
            "{error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    };
    check(json!([]), "body").await;
    check(
        json!({ "messages": [{ "role": "user", "content": "x" }] }),
        "model",
    )
    .await;
    check(json!({ "model": "m", "messages": [] }), "messages").await;
    let mut several = says("x");
    several["n"] = json!(2);
    check(several, "n").await;
    let response = gateway
        .post(&json!({ "model": "nobody", "messages": [{ "role": "user", "content": "x" }] }))
        .await;
    assert_eq!(
        (response.status(), error(&response)["code"].as_str()),
        (404, Some("model_not_found"))
    );
}

#[tokio::test]
async fn a_providers_error_before_the_answer_has_a_status() {
    let wrong = json!({ "error": { "message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded" } });
    for stream in [false, true] {
        let gateway = Gateway::start([
            Turn::status(400, &wrong),
            Turn::status(
                401,
                &json!({ "error": { "message": "bad key upstream-key" } }),
            ),
            Turn::html(500),
        ])
        .await;
        let mut body = says("Go!");
        body["stream"] = json!(stream);
        let response = gateway.post(&body).await;
        assert_eq!(response.status(), 400);
        assert_eq!(error(&response), wrong["error"]);
        for _ in 0..2 {
            let response = gateway.post(&body).await;
            assert_eq!(response.status(), 502, "{}", response.text());
            assert!(!response.text().contains("upstream-key"));
        }
    }
}

#[tokio::test]
async fn an_error_after_the_first_piece_is_in_the_stream() {
    let turns = [
        Turn::text("to be or not to be").broken_after(3),
        Turn::calls(&[("fake-echo", json!({}))]),
        Turn::status(500, &json!({ "error": { "message": "broken" } })),
    ];
    let gateway = Gateway::start(turns).await;
    for _ in 0..2 {
        let chunks = chunks(gateway.stream(&says("Go!")).await).await;
        let (error, before) = chunks.split_last().unwrap();
        assert!(error["error"]["message"].is_string(), "{error}");
        assert!(!before.is_empty());
        assert!(
            before
                .iter()
                .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
        );
    }
}

#[tokio::test]
async fn a_deadline_ends_model_and_tools() {
    for turn in [
        Turn::hang(),
        Turn::calls(&[("fake-hold", json!({ "key": "never" }))]),
    ] {
        let gateway = Gateway::before(Model::start([turn]).await, "deadline: 1s").await;
        let response = gateway.post(&says("Go!")).await;
        assert_eq!(response.status(), 504);
        let error = error(&response);
        assert_eq!(error["code"], "deadline_exceeded");
        assert!(
            error["message"].as_str().unwrap().contains("`deadline`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_model() {
    let gateway = Gateway::start([Turn::text("to be or not").hanging_after(2), Turn::hang()]).await;
    let mut events = gateway.stream(&says("Go!")).await;
    events.message().await;
    drop(events);
    gateway.model.disconnects(1).await;

    let mut connection = Connection::open(gateway.fake.gateway()).await;
    let body = says("Go!").to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        gateway.fake.gateway(),
        body.len()
    );
    connection.send(head.as_bytes()).await;
    gateway.model.requested(2).await;
    drop(connection);
    gateway.model.disconnects(2).await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_tools() {
    let gateway = Gateway::start([Turn::calls(&[("fake-hold", json!({ "key": "never" }))])]).await;
    let mut events = gateway.stream(&says("Go!")).await;
    events.message().await;
    gateway.fake.recorded("\"never\"").await;
    drop(events);
    gateway.fake.journaled("cancelled", 1).await;
}

#[tokio::test]
async fn names_that_clients_make_up_are_not_counted() {
    let gateway = Gateway::start([Turn::text("hi")]).await;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        for body in [
            r#"{"model":"made-up-1"}"#,
            r#"{"model":"made-up-2","messages":[{}],"input":"x"}"#,
            r#"{"model":"made-up-3","messages":[{}],"background":true}"#,
        ] {
            let response = exchange(gateway.fake.gateway(), Request::post(path, body)).await;
            assert!(matches!(response.status(), 400 | 404), "{body}");
        }
    }
    // of two equal members the last one counts, everywhere
    let twice = r#"{"model":"made-up-4","model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let request = Request::post("/v1/chat/completions", twice);
    let response = exchange(gateway.fake.gateway(), request).await;
    assert_eq!(response.status(), 200);
    let metrics = exchange(gateway.fake.gateway(), Request::get("/metrics")).await;
    let metrics = metrics.text();
    assert!(metrics.contains(r#"model="m""#), "{metrics}");
    assert!(!metrics.contains("made-up"), "{metrics}");
}
