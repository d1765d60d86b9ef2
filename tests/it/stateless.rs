//! The stateless revision on `/mcp` before a server with a handshake: what is checked, what passes, what is answered.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::http::exchange;
use crate::harness::raw::raw_at;
use crate::harness::stateless::{REVISION, send};
use crate::harness::{Connection, Fake, Request, Stateless, Streamable, fake, until};

async fn plain(fake: &Fake) -> Stateless {
    fake.ready().await;
    Stateless::new(fake.addr(), &json!({}))
}

#[tokio::test]
async fn a_request_and_its_answer_pass_but_for_what_the_revision_says() {
    let fake = fake::fake("", &[]).await;
    let client = plain(&fake).await;
    let call = r#"{"params":{"name":"echo","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01","io.modelcontextprotocol/clientCapabilities":{},"vendor/x":1e400 ,"progressToken":"\u0074"},"arguments":{"n":12345678901234567890,"s":"\ud800"}},"jsonrpc":"2.0","x":1.0,"method":"tools/call","id":"\u0069"}"#;
    let body: Value = json!({"method": "tools/call", "params": {"name": "echo"}});
    let request = client
        .prepare_raw(&body, call)
        .header("mcp-session-id", "0123456789abcdef0123456789abcdef")
        .header("last-event-id", "1-1");
    let response = send(fake.addr(), &request).await.whole();
    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(response.header("mcp-session-id"), None);
    let line = fake.recorded("\"s\":").await;
    let k = raw_at(&line, &["id"]).unwrap();
    let meta = format!(
        r#"{{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01","vendor/x":1e400,"progressToken":{k}}}"#
    );
    let arguments = r#""arguments":{"n":12345678901234567890,"s":"\ud800"}"#;
    assert_eq!(
        line.trim_end(),
        format!(
            r#"{{"params":{{"name":"echo","_meta":{meta},{arguments}}},"jsonrpc":"2.0","x":1.0,"method":"tools/call","id":{k}}}"#
        )
    );
    let answer = response.text();
    assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some(r#""\u0069""#));
    let result = raw_at(&answer, &["result"]).unwrap();
    assert!(
        result.starts_with(r#"{"resultType":"complete","content":["#),
        "{result}"
    );
    assert_eq!(raw_at(&answer, &["result", "params", "_meta"]), Some(meta));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_has_its_status_and_its_code() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    let body = client.body("tools/call", &json!({"name": "echo", "arguments": {}}));
    let good = client.prepare(&body);
    let without = |key: &str| {
        let mut body = body.clone();
        body["params"]["_meta"].as_object_mut().unwrap().remove(key);
        client.prepare(&body)
    };
    let mut bare = body.clone();
    bare["params"].as_object_mut().unwrap().remove("_meta");
    let mut newer = body.clone();
    newer["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    let mut loud = body.clone();
    loud["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("loud");
    for (what, request, status, code) in [
        ("no _meta", client.prepare(&bare), 400, -32602),
        (
            "no revision",
            without("io.modelcontextprotocol/protocolVersion"),
            400,
            -32602,
        ),
        (
            "no capabilities",
            without("io.modelcontextprotocol/clientCapabilities"),
            400,
            -32602,
        ),
        ("log level", client.prepare(&loud), 400, -32602),
        (
            "no version header",
            good.clone().without("mcp-protocol-version"),
            400,
            -32020,
        ),
        (
            "another version header",
            good.clone().header("mcp-protocol-version", "2025-11-25"),
            400,
            -32020,
        ),
        ("revisions differ", client.prepare(&newer), 400, -32020),
        (
            "unknown revision",
            client
                .prepare(&newer)
                .header("mcp-protocol-version", "2031-01-01"),
            400,
            -32022,
        ),
        (
            "no method header",
            good.clone().without("mcp-method"),
            400,
            -32020,
        ),
        (
            "another method",
            good.clone().header("mcp-method", "Tools/Call"),
            400,
            -32020,
        ),
        (
            "no name header",
            good.clone().without("mcp-name"),
            400,
            -32020,
        ),
        (
            "another name",
            good.clone().header("mcp-name", "other"),
            400,
            -32020,
        ),
        (
            "broken name",
            good.clone().header("mcp-name", "=?base64?ZWNobw?="),
            400,
            -32020,
        ),
        (
            "content type",
            good.clone().header("content-type", "text/plain"),
            415,
            -32600,
        ),
        (
            "accept",
            good.clone().header("accept", "application/json"),
            406,
            -32600,
        ),
        (
            "origin",
            good.clone().header("origin", "http://evil.example"),
            403,
            -32600,
        ),
        (
            "host",
            good.clone().header("host", "evil.example"),
            403,
            -32600,
        ),
        (
            "batch",
            client.prepare_raw(&body, format!("[{body}]")),
            400,
            -32600,
        ),
        (
            "an answer",
            client.prepare_raw(&body, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            400,
            -32600,
        ),
        ("no JSON", client.prepare_raw(&body, "{"), 400, -32700),
    ] {
        let response = exchange(fake.addr(), request).await;
        let error = response.json();
        assert_eq!(
            (response.status(), error["error"]["code"].as_i64()),
            (status, Some(code)),
            "{what}: {error}"
        );
        if code != -32600 && code != -32700 {
            assert_eq!(error["id"], body["id"], "{what}");
        }
    }
    let request = client
        .prepare(&newer)
        .header("mcp-protocol-version", "2031-01-01");
    let error = exchange(fake.addr(), request).await.json()["error"].clone();
    assert_eq!(error["data"]["requested"], "2031-01-01");
    assert_eq!(error["data"]["supported"][0], REVISION);
    let encoded = good.header("mcp-name", "=?base64?ZWNobw==?=");
    assert_eq!(exchange(fake.addr(), encoded).await.status(), 200);
    for method in ["GET", "DELETE"] {
        let request = Request::new(method, "/mcp")
            .header("accept", "text/event-stream")
            .header("mcp-protocol-version", REVISION);
        let response = exchange(fake.addr(), request).await;
        assert_eq!(
            (response.status(), response.header("allow")),
            (405, Some("POST"))
        );
    }
}

#[tokio::test]
async fn what_the_revision_took_away_and_what_no_server_knows_is_not_found() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "notifications/initialized",
        "unknown/method",
    ] {
        let (id, reply) = client
            .start(method, &json!({"level": "debug", "uri": "fake://a"}))
            .await;
        let response = reply.whole();
        let error = response.json();
        assert_eq!(
            (response.status(), &error["error"]["code"]),
            (404, &json!(-32601)),
            "{method}: {error}"
        );
        assert_eq!(error["id"], id);
    }
    let record = fake.record().concat();
    assert!(
        !record.contains("setLevel") && !record.contains("subscribe"),
        "{record}"
    );
    assert!(
        record.contains("unknown/method"),
        "the server itself said no"
    );
}

#[tokio::test]
async fn the_server_is_discovered_from_its_handshake() {
    let fake = fake::fake("", &["--instructions", "use it well"]).await;
    let mut client = plain(&fake).await;
    let requests = || {
        fake.record()
            .iter()
            .filter(|line| line.contains("\"id\""))
            .count()
    };
    let before = requests();
    let result = client.request("server/discover", &Value::Null).await["result"].clone();
    assert_eq!(result["supportedVersions"][0], REVISION);
    assert_eq!(result["instructions"], "use it well");
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "fake"
    );
    assert_eq!(result["resultType"], "complete");
    assert_eq!(
        (&result["ttlMs"], &result["cacheScope"]),
        (&json!(0), &json!("private"))
    );
    assert_eq!(result.get("protocolVersion"), None);
    assert_eq!(requests(), before, "nobody had to be asked");
}

#[tokio::test]
async fn lists_and_reads_say_how_long_they_are_fresh_and_errors_have_codes_of_the_revision() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    for (method, params, fresh) in [
        ("tools/list", json!({}), true),
        ("prompts/list", json!({}), true),
        ("resources/list", json!({}), true),
        ("resources/templates/list", json!({}), true),
        ("resources/read", json!({"uri": "fake://a"}), true),
        ("prompts/get", json!({"name": "echo"}), false),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "echo"}, "argument": {"name": "a", "value": ""}}),
            false,
        ),
        ("test/anything", json!({}), false),
    ] {
        let answer = client.request(method, &params).await;
        let result = &answer["result"];
        assert_eq!(result["resultType"], "complete", "{method}: {answer}");
        assert_eq!(
            result["ttlMs"].is_number() && result["cacheScope"] == "private",
            fresh,
            "{method}: {answer}"
        );
    }
    let (id, reply) = client
        .start("resources/read", &json!({"uri": "none://x"}))
        .await;
    assert_eq!(reply.status(), 200);
    let error = reply.answer(id).await.0["error"].clone();
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!(-32602), &json!("no such resource"))
    );
    let answer = client.call("fail", &json!({"code": -32021})).await;
    assert_eq!(
        answer["error"]["code"], -32603,
        "a legacy server means nothing by it"
    );
}

#[tokio::test]
async fn progress_and_logs_come_on_the_requests_own_stream() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    let mut other = Streamable::open(fake.addr(), &json!({})).await;
    other
        .request("logging/setLevel", &json!({"level": "debug"}))
        .await;
    let params =
        json!({"name": "progress", "arguments": {"n": 3}, "_meta": {"progressToken": "mine"}});
    let (answer, before) = client.request_all("tools/call", &params).await;
    assert_eq!(answer["result"]["resultType"], "complete");
    let tokens: Vec<&Value> = before
        .iter()
        .map(|message| &message["params"]["progressToken"])
        .collect();
    assert_eq!(tokens, [&json!("mine"), &json!("mine"), &json!("mine")]);
    let log = json!({"name": "log", "arguments": {"level": "info", "n": 2}});
    assert_eq!(
        client.request_all("tools/call", &log).await.1,
        Vec::<Value>::new(),
        "none was asked for"
    );
    client.level = Some("warning");
    assert_eq!(
        client.request_all("tools/call", &log).await.1,
        Vec::<Value>::new()
    );
    client.level = Some("info");
    let (_, before) = client.request_all("tools/call", &log).await;
    let levels: Vec<&Value> = before
        .iter()
        .map(|message| &message["params"]["level"])
        .collect();
    assert_eq!(levels, [&json!("info"), &json!("info")]);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let fake = fake::fake("", &[]).await;
    let mut client = plain(&fake).await;
    // before and after the response has begun
    for (number, arguments) in [json!({"key": "a"}), json!({"key": "b"})]
        .iter()
        .enumerate()
    {
        let streams = number == 1;
        let mut params = json!({"name": "hold", "arguments": arguments});
        if streams {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
            params = json!({"name": "emit", "arguments": {"lines": [progress], "answer": false}, "_meta": {"progressToken": 1}});
        }
        let body = client.body("tools/call", &params);
        let mut connection = Connection::open(fake.addr()).await;
        let request = client.prepare(&body);
        if streams {
            let head = connection.request(&request).await;
            assert_eq!(head.content_type(), "text/event-stream");
            connection.piece().await.unwrap();
        } else {
            let sent = async { connection.request(&request).await };
            tokio::select! {
                _ = sent => panic!("nothing is answered"),
                _ = fake.recorded(r#""key":"a""#) => {}
            }
        }
        drop(connection);
        fake.journaled("cancelled", number + 1).await;
    }
}

#[tokio::test]
async fn parameters_that_are_mirrored_into_headers_are_compared() {
    let tools = r#"{"tools":[{"name":"echo","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#;
    let fake = fake::fake("", &["--tools-result", tools]).await;
    let mut client = plain(&fake).await;
    let mut call = async |arguments: Value, header: Option<&str>| {
        client.headers = header
            .map(|value| ("Mcp-Param-Region".to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let (_, reply) = client
            .start(
                "tools/call",
                &json!({"name": "echo", "arguments": arguments}),
            )
            .await;
        (
            reply.status(),
            reply.whole().json()["error"]["code"].clone(),
        )
    };
    let bad = (400, json!(-32020));
    let good = (200, Value::Null);
    assert_eq!(call(json!({"region": "eu"}), Some("eu")).await, good);
    assert_eq!(
        call(json!({"region": "eu"}), Some("=?base64?ZXU=?=")).await,
        good
    );
    assert_eq!(call(json!({}), None).await, good);
    assert_eq!(call(json!({"region": "eu"}), None).await, bad);
    assert_eq!(call(json!({"region": "eu"}), Some("us")).await, bad);
    assert_eq!(call(json!({}), Some("eu")).await, bad);
}

#[tokio::test]
async fn a_notification_is_accepted_and_one_of_a_vendor_passed_on() {
    let fake = fake::fake("", &[]).await;
    let client = plain(&fake).await;
    for (method, passes) in [
        ("notifications/cancelled", false),
        ("notifications/vendor", true),
    ] {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": {"requestId": 1, "_meta": client.meta()}});
        let response = exchange(fake.addr(), client.prepare(&body)).await;
        assert_eq!((response.status(), response.body.len()), (202, 0));
        if passes {
            let line = fake.recorded(method).await;
            assert!(!line.contains("modelcontextprotocol"), "{line}");
        }
    }
    assert!(!fake.record().concat().contains("notifications/cancelled"));
}

#[tokio::test]
async fn both_eras_use_one_process_through_one_port() {
    let fake = fake::fake("", &[]).await;
    let mut modern = plain(&fake).await;
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    // the same id in all of them, in flight at the same time
    let hold = json!({"name": "hold", "arguments": {"key": "k"}});
    let held = modern.clone().body("tools/call", &hold);
    let mut waiting = JoinSet::new();
    let (addr, request) = (fake.addr(), modern.prepare(&held));
    waiting.spawn(async move { send(addr, &request).await.whole().json() });
    fake.recorded(r#""key":"k""#).await;
    let a = modern.call("info", &json!({})).await["result"]["structuredContent"]["pid"].clone();
    let b = sse.call("info", &json!({})).await["result"]["structuredContent"]["pid"].clone();
    let c = streamable.call("info", &json!({})).await["result"]["structuredContent"]["pid"].clone();
    assert!(a.is_number() && a == b && b == c);
    sse.call("release", &json!({"key": "k"})).await;
    let held_answer = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(held_answer["id"], held["id"]);
    assert_eq!(held_answer["result"]["content"][0]["text"], "released");
    let metrics = fake.metrics("fake").await;
    assert!(
        metrics.contains(r#"transport="stateless"} 0"#),
        "nothing of it is kept: {metrics}"
    );
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_by_status_and_one_that_goes_by_an_error() {
    let fake = fake::fake("start_wait: 1ms", &[]).await;
    let mut client = plain(&fake).await;
    let (id, reply) = client
        .start(
            "tools/call",
            &json!({"name": "crash", "arguments": {"signal": 9}}),
        )
        .await;
    assert_eq!(reply.status(), 200);
    let error = reply.answer(id).await.0["error"].clone();
    assert_eq!(
        (&error["code"], &error["data"]["delivered"]),
        (&json!(-31001), &json!(true)),
        "{error}"
    );
    let broken = fake::fake("", &["--exit-at-start", "3"]).await;
    let mut client = Stateless::new(broken.addr(), &json!({}));
    broken.until_health("fake", 503).await;
    for method in ["tools/list", "server/discover", "subscriptions/listen"] {
        // quarantined sooner or later; until then a request waits its time
        let answer = until(format!("503 for {method}"), async || {
            let (_, reply) = client.start(method, &json!({"notifications": {}})).await;
            (reply.status() == 503).then_some(reply)
        })
        .await;
        assert!(answer.head().header("retry-after").is_some());
        let error = answer.whole().json();
        assert_eq!(error["error"]["code"], -31001, "{method}: {error}");
    }
}
