//! A server with a handshake asks, and a client of the stateless revision answers with its retry.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::http::exchange;
use crate::harness::raw::raw_at;
use crate::harness::stateless::send;
use crate::harness::{Connection, Fake, Launch, Request, Stateless, fake, until};

fn everything() -> Value {
    json!({"roots": {}, "sampling": {}, "elicitation": {}})
}

async fn asked(fake: &Fake) -> Stateless {
    fake.ready().await;
    Stateless::new(fake.addr(), &everything())
}

fn ask(method: &str) -> Value {
    json!({"name": "ask", "arguments": {"method": method, "params": {"message": "well?"}}})
}

/// What a client has to send back: the state, and the keys of what was asked.
fn required(answer: &Value) -> (Value, Vec<String>) {
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let requests = result["inputRequests"].as_object().unwrap();
    (
        result["requestState"].clone(),
        requests.keys().cloned().collect(),
    )
}

/// The same request with what was asked for.
fn retry(params: &Value, state: &Value, responses: &Value) -> Value {
    let mut params = params.clone();
    params["requestState"] = state.clone();
    params["inputResponses"] = responses.clone();
    params
}

fn text(answer: &Value) -> &str {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text in {answer}"))
}

#[tokio::test]
async fn each_kind_of_question_ends_the_request_and_the_retry_gives_its_result() {
    for isolation in ["auto", "shared", "session"] {
        let fake = fake::settled(&format!("isolation: {isolation}"), &[]).await;
        let mut client = asked(&fake).await;
        for (method, response) in [
            (
                "elicitation/create",
                json!({"action": "accept", "content": {"n": 1.0}}),
            ),
            (
                "sampling/createMessage",
                json!({"role": "assistant", "content": {"type": "text", "text": "hm"}, "model": "m"}),
            ),
            ("roots/list", json!({"roots": [{"uri": "file:///x"}]})),
        ] {
            let params = ask(method);
            let first = client.request("tools/call", &params).await;
            let (state, keys) = required(&first);
            assert_eq!(
                first["result"]["inputRequests"][&keys[0]],
                json!({"method": method, "params": {"message": "well?"}})
            );
            let second = client
                .request(
                    "tools/call",
                    &retry(&params, &state, &json!({&keys[0]: response, "more": {}})),
                )
                .await;
            assert_eq!(second["result"]["resultType"], "complete", "{second}");
            let heard = raw_at(text(&second), &["result"]).unwrap();
            assert_eq!(
                serde_json::from_str::<Value>(&heard).unwrap(),
                response,
                "{isolation} {method}"
            );
        }
        assert_eq!(fake.events("cancelled"), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn prompts_and_resources_may_ask_too() {
    let fake = fake::settled("", &[]).await;
    let mut client = asked(&fake).await;
    let resource = json!({"uri": format!("run:{}", json!({"name": "ask", "arguments": {}}))});
    for (method, params) in [
        ("prompts/get", json!({"name": "ask", "arguments": {}})),
        ("resources/read", resource),
    ] {
        let (state, keys) = required(&client.request(method, &params).await);
        let answer = client
            .request(
                method,
                &retry(&params, &state, &json!({&keys[0]: {"roots": []}})),
            )
            .await;
        assert!(text(&answer).contains("roots"), "{answer}");
    }
}

#[tokio::test]
async fn questions_in_a_row_are_asked_together_and_again_until_all_are_answered() {
    let fake = fake::settled("", &[]).await;
    let mut client = asked(&fake).await;
    let line = |id: u32| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"message":"{id}"}}}}"#
        )
    };
    let params = json!({"name": "emit", "arguments": {"lines": [line(1), line(2), line(3)], "answer": false}});
    let first = client.request("tools/call", &params).await;
    let (state, keys) = required(&first);
    assert_eq!(keys.len(), 3, "{first}");
    let some = json!({&keys[0]: {"action": "decline"}, &keys[2]: {"action": "accept"}});
    let second = client
        .request("tools/call", &retry(&params, &state, &some))
        .await;
    let (next, left) = required(&second);
    assert_eq!(left, [keys[1].clone()]);
    assert_ne!(next, state);
    fake.recorded(r#"{"jsonrpc":"2.0","id":1,"result":{"action":"decline"}}"#)
        .await;
    fake.recorded(r#"{"jsonrpc":"2.0","id":3,"result":{"action":"accept"}}"#)
        .await;
    // what was used up says the same again, and nothing is said twice to the server
    let again = client
        .request("tools/call", &retry(&params, &state, &some))
        .await;
    assert_eq!(required(&again), (next, left));
    let said = fake.record().concat().matches(r#""id":3,"result""#).count();
    assert_eq!(said, 1);
}

#[tokio::test]
async fn a_state_is_good_for_its_own_request_and_for_one_use() {
    let keys = "api_keys: [one, two]";
    let fake = fake::settled(keys, &[]).await;
    fake.ready().await;
    let with = |key: &str| {
        let mut client = Stateless::new(fake.addr(), &everything());
        client
            .headers
            .push(("authorization".to_owned(), format!("Bearer {key}")));
        client
    };
    let (mut one, mut two) = (with("one"), with("two"));
    let params = ask("elicitation/create");
    let (state, names) = required(&one.request("tools/call", &params).await);
    let accept = json!({&names[0]: {"action": "accept"}});
    let good = retry(&params, &state, &accept);
    let mut other = good.clone();
    other["arguments"]["params"] = json!({"message": "other?"});
    let mut forged = good.clone();
    forged["requestState"] = json!("0123456789abcdef0123456789abcdef");
    let mut broken = good.clone();
    broken["inputResponses"][&names[0]] = json!("yes");
    let prompt = good.clone();
    for (what, client, method, params) in [
        ("another key", &mut two, "tools/call", &good),
        ("other parameters", &mut one.clone(), "tools/call", &other),
        ("another method", &mut one.clone(), "prompts/get", &prompt),
        (
            "a state that never was",
            &mut one.clone(),
            "tools/call",
            &forged,
        ),
        ("no response", &mut one.clone(), "tools/call", &broken),
    ] {
        let (_, reply) = client.start(method, params).await;
        assert_eq!(reply.status(), 400, "{what}");
        let error = reply.whole().json();
        assert_eq!(error["error"]["code"], -32602, "{what}: {error}");
    }
    let answer = one.request("tools/call", &good).await;
    assert!(text(&answer).contains("accept"), "{answer}");
    // the same once more is answered and not executed
    let again = one.request("tools/call", &good).await;
    assert_ne!(again["id"], answer["id"]);
    assert_eq!(again["result"], answer["result"]);
    let different = retry(&params, &state, &json!({&names[0]: {"action": "decline"}}));
    assert_eq!(
        one.request("tools/call", &different).await["error"]["code"],
        -32602
    );
    assert_eq!(
        two.request("tools/call", &good).await["error"]["code"],
        -32602
    );
    let calls = fake
        .record()
        .concat()
        .matches(r#""method":"tools/call""#)
        .count();
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn a_question_that_nobody_answers_in_time_is_cancelled_and_the_outcome_kept() {
    let fake = fake::settled("input_timeout: 100ms\nrequest_timeout: 1m", &[]).await;
    let mut client = asked(&fake).await;
    let params = ask("elicitation/create");
    let (state, keys) = required(&client.request("tools/call", &params).await);
    fake.recorded(r#""result":{"action":"cancel"}"#).await;
    let late = retry(&params, &state, &json!({&keys[0]: {"action": "accept"}}));
    let answer = client.request("tools/call", &late).await;
    assert!(text(&answer).contains("cancel"), "{answer}");
    let params = ask("sampling/createMessage");
    let (state, keys) = required(&client.request("tools/call", &params).await);
    fake.recorded("did not answer in time").await;
    let late = retry(&params, &state, &json!({&keys[0]: {}}));
    assert!(text(&client.request("tools/call", &late).await).contains("-32603"));
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_outlasts_the_servers_own_time() {
    let fake = fake::settled("request_timeout: 200ms\nisolation: shared", &[]).await;
    let mut client = asked(&fake).await;
    let params = ask("elicitation/create");
    let (state, keys) = required(&client.request("tools/call", &params).await);
    // another call's time is over meanwhile, so the first one's would be
    let other = client.call("hold", &json!({"key": "never"})).await;
    assert_eq!(other["error"]["code"], -31002, "{other}");
    let answer = client
        .request(
            "tools/call",
            &retry(&params, &state, &json!({&keys[0]: {"action": "accept"}})),
        )
        .await;
    assert!(text(&answer).contains("accept"), "{answer}");
}

#[tokio::test]
async fn a_server_that_ends_or_gives_up_meanwhile_is_told_at_the_retry() {
    let fake = fake::settled("", &[]).await;
    let mut client = asked(&fake).await;
    let params = ask("elicitation/create");
    let (state, keys) = required(&client.request("tools/call", &params).await);
    for pid in fake.pids() {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .ok();
    }
    let answer = client
        .request(
            "tools/call",
            &retry(&params, &state, &json!({&keys[0]: {"action": "accept"}})),
        )
        .await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    fake.ready().await;
    // it asks and answers without waiting; processes whose end is not known yet may be met first
    let params =
        json!({"name": "ask", "arguments": {"method": "elicitation/create", "wait": false}});
    let answer = until("a server that lives", async || {
        let answer = client.request("tools/call", &params).await;
        answer["result"].is_object().then_some(answer)
    })
    .await;
    assert_eq!(text(&answer), "asked");
}

#[tokio::test]
async fn a_question_that_the_server_takes_back_needs_no_answer() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = asked(&fake).await;
    let params =
        json!({"name": "ask", "arguments": {"method": "elicitation/create", "id": "\"q\""}});
    let (state, keys) = required(&client.request("tools/call", &params).await);
    let line = fake.recorded(r#""name":"ask""#).await;
    let k = raw_at(&line, &["id"]).unwrap();
    let mut stranger = Stateless::new(fake.addr(), &json!({}));
    let taken_back =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#;
    let result = format!(r#"{{"jsonrpc":"2.0","id":{k},"result":{{"content":[]}}}}"#);
    stranger
        .call("emit", &json!({"lines": [taken_back, result]}))
        .await;
    let accept = json!({&keys[0]: {"action": "accept"}});
    let answer = client
        .request("tools/call", &retry(&params, &state, &accept))
        .await;
    assert_eq!(
        answer["result"],
        json!({"resultType": "complete", "content": []})
    );
    assert!(!fake.record().concat().contains("accept"));
}

#[tokio::test]
async fn a_retry_whose_client_goes_away_is_cancelled_and_not_executed_again() {
    let fake = fake::settled("", &[]).await;
    let mut client = asked(&fake).await;
    let question =
        r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;
    let params = json!({"name": "emit", "arguments": {"lines": [question], "answer": false}});
    let (state, keys) = required(&client.request("tools/call", &params).await);
    let again = retry(&params, &state, &json!({&keys[0]: {"action": "accept"}}));
    let body = client.body("tools/call", &again);
    let mut connection = Connection::open(fake.addr()).await;
    let request = client.prepare(&body);
    tokio::select! {
        _ = async { connection.request(&request).await } => panic!("it is not answered"),
        _ = fake.recorded(r#""id":"q","result""#) => {}
    }
    drop(connection);
    fake.journaled("cancelled", 1).await;
    let error = client.request("tools/call", &again).await;
    assert_eq!(error["error"]["code"], -32602, "{error}");
}

#[tokio::test]
async fn a_question_that_the_client_did_not_allow_ends_the_request() {
    let fake = fake::settled("isolation: shared", &[]).await;
    fake.ready().await;
    let mut client = Stateless::new(fake.addr(), &json!({"roots": {}}));
    let (id, reply) = client
        .start("tools/call", &ask("sampling/createMessage"))
        .await;
    assert_eq!(reply.status(), 400);
    let error = reply.answer(id).await.0["error"].clone();
    assert_eq!(error["code"], -32021);
    assert_eq!(
        error["data"]["requiredCapabilities"],
        json!({"sampling": {}})
    );
    // the server can end the call, and nobody else is in doubt about what it asks next
    fake.recorded("has not declared the capability sampling")
        .await;
    until("the end of the call", async || {
        let bridge = exchange(fake.admin(), Request::get("/bridges/fake")).await;
        (bridge.json()["in_flight"] == 0).then_some(())
    })
    .await;
    let mut other = asked(&fake).await;
    required(
        &other
            .request("tools/call", &ask("elicitation/create"))
            .await,
    );
    assert_eq!(fake.events("cancelled").len(), 0);
    // a server that was told of nobody who can be asked is told so
    let fake = fake::settled("isolation: auto", &[]).await;
    fake.ready().await;
    let mut plain = Stateless::new(fake.addr(), &json!({}));
    let answer = plain.request("tools/call", &ask("roots/list")).await;
    assert!(text(&answer).contains("-32601"), "{answer}");
}

#[tokio::test]
async fn progress_goes_on_under_the_name_of_the_retry() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = asked(&fake).await;
    let question =
        r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;
    let progress = |n: u32| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":{n}}}}}"#
        )
    };
    let mut params = json!({"name": "emit", "arguments": {"lines": [progress(1), question, progress(2)], "answer": false}});
    params["_meta"] = json!({"progressToken": "first"});
    let (answer, before) = client.request_all("tools/call", &params).await;
    let (state, keys) = required(&answer);
    let told = |message: &Value| {
        json!([
            message["params"]["progressToken"],
            message["params"]["progress"]
        ])
    };
    let before: Vec<Value> = before.iter().map(told).collect();
    assert_eq!(before, [json!(["first", 1]), json!(["first", 2])]);
    let line = fake.recorded(r#""name":"emit""#).await;
    let token = raw_at(&line, &["params", "_meta", "progressToken"]).unwrap();
    let mut again = retry(&params, &state, &json!({&keys[0]: {"action": "accept"}}));
    again["_meta"] = json!({"progressToken": "second"});
    let body = client.body("tools/call", &again);
    let request = client.prepare(&body);
    let addr = fake.addr();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { send(addr, &request).await.stream().message().await });
    fake.recorded(r#""id":"q","result""#).await;
    let mut stranger = Stateless::new(fake.addr(), &json!({}));
    let more = progress(3).replace("$TOKEN", &token);
    stranger.call("emit", &json!({"lines": [more]})).await;
    assert_eq!(
        told(&waiting.join_next().await.unwrap().unwrap()),
        json!(["second", 3])
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients_that_may_never_come_back() {
    let config = fake::config("isolation: shared", &[]).replace("admin:", "drain: 1h\nadmin:");
    let mut fake = Fake::launch(Launch {
        config,
        ..Launch::default()
    })
    .await;
    let mut client = asked(&fake).await;
    required(
        &client
            .request("tools/call", &ask("elicitation/create"))
            .await,
    );
    assert_eq!(fake.stop().await, Some(0));
}

#[tokio::test]
async fn calls_that_wait_do_not_hold_up_a_restart() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = asked(&fake).await;
    let params = ask("elicitation/create");
    let (state, keys) = required(&client.request("tools/call", &params).await);
    let admin = fake.admin();
    crate::harness::http::exchange(
        admin,
        crate::harness::Request::new("POST", "/bridges/fake/restart"),
    )
    .await;
    until("the second server", async || {
        (fake.pids().len() >= 2).then_some(())
    })
    .await;
    let answer = client
        .request(
            "tools/call",
            &retry(&params, &state, &json!({&keys[0]: {"action": "accept"}})),
        )
        .await;
    assert!(answer["error"]["code"].is_number(), "{answer}");
}
