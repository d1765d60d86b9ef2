//! What a listener turns away, and what it puts up with: hosts, origins, keys, methods, media types, odd HTTP.

use serde_json::json;

use crate::harness::sse::initialize_params;
use crate::harness::{Connection, Fake, Launch, Request, Streamable, fake, http};

/// A daemon whose log shows everything that it ever says.
async fn talkative(extra: &str) -> Fake {
    let config = format!(
        "log: {{ level: trace, format: json }}\n{}",
        fake::config(extra, &[])
    );
    let fake = Fake::launch(Launch {
        config,
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    fake
}

async fn ready(extra: &str) -> Fake {
    let fake = fake::fake(extra, &[]).await;
    fake.ready().await;
    fake
}

/// Sends these very bytes, and returns all that comes until the connection is closed.
async fn raw(fake: &Fake, text: &str) -> String {
    let mut connection = Connection::open(fake.addr()).await;
    connection.send(text.as_bytes()).await;
    String::from_utf8_lossy(&connection.closed().await).into_owned()
}

fn initialize(version: &str) -> String {
    let params = initialize_params(version, &json!({}));
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

#[tokio::test]
async fn a_loopback_listener_answers_only_to_names_of_this_machine() {
    let fake = ready(
        "allowed_hosts: [mcp.internal, 'proxy:8443']\npublic_url: https://mcp.example.org/db",
    )
    .await;
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:48010", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:48010", 200),
        ("mcp.internal", 200),
        ("mcp.internal:81", 200),
        ("proxy:8443", 200),
        ("mcp.example.org", 200),
        ("proxy:8444", 403),
        ("evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("127.0.0.1.evil.example", 403),
        ("mcp-postgres:8080", 403),
    ] {
        for path in ["/health", "/mcp", "/nowhere"] {
            let request = Request::get(path).header("host", host);
            let response = http::exchange(fake.addr(), request).await;
            match (path, status) {
                (_, 403) => assert_eq!(response.status(), 403, "{host} {path}"),
                ("/health", _) => assert_eq!(response.status(), 200, "{host}"),
                _ => assert_ne!(response.status(), 403, "{host} {path}"),
            }
        }
    }
    for head in ["GET /health HTTP/1.1\r\n", "GET /health HTTP/1.0\r\n"] {
        for hosts in ["", "Host: localhost\r\nHost: evil.example\r\n"] {
            let answer = raw(&fake, &format!("{head}{hosts}Connection: close\r\n\r\n")).await;
            assert!(
                answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
                "{answer}"
            );
        }
    }
    let metrics = fake.metrics("fake").await;
    assert!(metrics.contains("mcp_bridged_refused_total{bridge=\"fake\",reason=\"host\"}"));
    assert!(!metrics.contains("reason=\"host\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_page_speaks_only_from_a_known_origin() {
    let fake = ready("allowed_origins: ['https://chat.example.org']").await;
    let own = format!("http://{}", fake.addr());
    for (origin, allowed) in [
        (own.as_str(), true),
        ("http://localhost:3000", true),
        ("http://127.0.0.1:6274", true),
        ("https://chat.example.org", true),
        ("https://chat.example.org:444", false),
        ("http://evil.example", false),
        ("http://localhost.evil.example", false),
        ("null", false),
    ] {
        let status = if allowed { 200 } else { 403 };
        for request in [
            Request::get("/health"),
            Request::post("/mcp", initialize("2025-06-18")),
        ] {
            let request = request.header("origin", origin);
            let response = http::exchange(fake.addr(), request).await;
            assert_eq!(response.status(), status, "{origin}: {}", response.text());
            if !allowed {
                assert_eq!(response.json()["jsonrpc"], "2.0");
            }
        }
    }
}

#[tokio::test]
async fn a_public_listener_takes_the_names_of_services_and_says_that_it_is_open() {
    let fake = talkative("host: 0.0.0.0").await;
    let place = |request: Request| request.header("host", "mcp-postgres:8080");
    let health = http::exchange(fake.addr(), place(Request::get("/health"))).await;
    assert_eq!(health.status(), 200);
    let mut client = Streamable::new(fake.addr());
    client.headers = vec![("host".to_owned(), "mcp-postgres:8080".to_owned())];
    client.initialize("2025-06-18", &json!({})).await;
    client.call("echo", &json!({})).await;
    for (origin, status) in [
        ("http://mcp-postgres:8080", 200),
        ("http://localhost:8080", 403),
        ("http://evil.example", 403),
    ] {
        let request = place(Request::get("/health")).header("origin", origin);
        let response = http::exchange(fake.addr(), request).await;
        assert_eq!(response.status(), status, "{origin}");
    }
    let rebound = Request::post("/mcp", initialize("2025-06-18"))
        .header("host", "rebound.example:8080")
        .header("origin", "http://rebound.example:8080");
    let response = http::exchange(fake.addr(), rebound).await;
    assert_eq!(response.status(), 403, "anybody's name can point here");
    let log = fake.log();
    let warned = log
        .lines()
        .any(|line| line.contains("WARN") && line.contains("0.0.0.0"));
    assert!(warned, "an open bind without keys is said loudly");
}

#[tokio::test]
async fn a_key_is_asked_for_and_never_repeated() {
    const KEY: &str = "sesame-8d1f0c";
    const WRONG: &str = "mellon-77ab31";
    let fake = talkative(&format!("api_keys: [other, {KEY}]")).await;
    let (bearer, lower) = (format!("Bearer {KEY}"), format!("bearer {KEY}"));
    let (wrong, longer) = (format!("Bearer {WRONG}"), format!("Bearer {KEY}{WRONG}"));
    for (headers, status, says) in [
        (&[("authorization", bearer.as_str())][..], 200, ""),
        (&[("authorization", &lower)], 200, ""),
        (&[("x-api-key", KEY)], 200, ""),
        (
            &[("authorization", "Basic eDp5"), ("x-api-key", KEY)],
            200,
            "",
        ),
        (&[], 401, "Authorization: Bearer"),
        (&[("authorization", KEY)], 401, "Authorization: Bearer"),
        (&[("authorization", "Bearer")], 401, ""),
        (&[("authorization", &wrong)], 401, "not valid"),
        (&[("authorization", &longer)], 401, "not valid"),
        (&[("x-api-key", WRONG)], 401, "not valid"),
    ] {
        for request in [
            Request::post("/mcp", initialize("2025-06-18")),
            Request::get("/mcp/tools"),
            Request::get("/metrics"),
        ] {
            let with = |request: Request, (name, value): &(&str, &str)| request.header(name, value);
            let request = headers.iter().fold(request, with);
            let response = http::exchange(fake.addr(), request).await;
            assert_eq!(
                response.status(),
                status,
                "{headers:?}: {}",
                response.text()
            );
            if status == 401 {
                let challenge = response.header("www-authenticate").unwrap();
                assert!(challenge.starts_with("Bearer"), "{challenge}");
                let text = response.json()["error"]["message"].to_string();
                assert!(text.contains(says), "{text}");
                for secret in [KEY, WRONG] {
                    assert!(!response.text().contains(secret), "{}", response.text());
                }
            }
        }
    }
    for path in ["/health", "/ready", "/live"] {
        let response = fake.get("fake", path).await;
        assert_eq!(
            response.status(),
            200,
            "{path} is for probes, which have no keys"
        );
    }
    let mut session = Streamable::new(fake.addr());
    session.headers = vec![("x-api-key".to_owned(), KEY.to_owned())];
    session.initialize("2025-11-25", &json!({})).await;
    session.call("echo", &json!({})).await;
    session.headers.clear();
    let stolen = session
        .post(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#)
        .await;
    assert_eq!(stolen.status(), 401, "a session is no key");
    let sse = http::exchange(fake.addr(), Request::get("/sse")).await;
    assert_eq!(sse.status(), 401);
    fake.until_logged("refused").await;
    for secret in [KEY, WRONG] {
        assert!(!fake.log().contains(secret), "the log holds {secret}");
    }
    for line in fake.record() {
        assert!(!line.contains(KEY), "{line}");
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served_are_named_as_such() {
    let fake = ready("").await;
    for (method, path, status, allow) in [
        ("POST", "/sse", 405, Some("GET")),
        ("OPTIONS", "/sse", 405, Some("GET")),
        ("HEAD", "/sse", 405, Some("GET")),
        ("POST", "/", 405, Some("GET")),
        ("GET", "/messages", 405, Some("POST")),
        ("PUT", "/mcp", 405, Some("GET, POST, DELETE")),
        ("PATCH", "/mcp", 405, Some("GET, POST, DELETE")),
        ("OPTIONS", "/mcp", 405, Some("GET, POST, DELETE")),
        ("POST", "/mcp/tools", 405, Some("GET, HEAD")),
        ("DELETE", "/health", 405, Some("GET, HEAD")),
        ("POST", "/metrics", 405, Some("GET, HEAD")),
        ("HEAD", "/health", 200, None),
        ("HEAD", "/metrics", 200, None),
        ("GET", "/", 404, None),
        ("GET", "/sse/", 404, None),
        ("GET", "/.well-known/oauth-protected-resource", 404, None),
        (
            "GET",
            "/.well-known/oauth-protected-resource/mcp",
            404,
            None,
        ),
        ("GET", "/.well-known/oauth-authorization-server", 404, None),
        ("GET", "/.well-known/openid-configuration", 404, None),
        ("POST", "/register", 404, None),
        ("GET", "/mcp/../health", 404, None),
    ] {
        let request = Request::new(method, path).header("connection", "close");
        let mut connection = Connection::open(fake.addr()).await;
        let head = connection.request(&request).await;
        let place = format!("{method} {path}");
        assert_eq!(head.status, status, "{place}");
        assert_eq!(head.header("allow"), allow, "{place}");
        let body = connection.closed().await;
        if method == "HEAD" {
            assert!(body.is_empty(), "{place}");
        } else if status != 200 {
            assert_eq!(head.content_type(), "application/json", "{place}");
            let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(error["error"]["message"].is_string(), "{place}: {error}");
        }
    }
}

#[tokio::test]
async fn media_types_are_checked_and_wildcards_are_taken() {
    let fake = ready("").await;
    for (content, accept, status) in [
        (
            Some("application/json"),
            Some("application/json, text/event-stream"),
            200,
        ),
        (
            Some("application/json; charset=utf-8"),
            Some("text/event-stream,application/json;q=0.5"),
            200,
        ),
        (Some("application/json"), Some("*/*"), 200),
        (Some("application/json"), Some("application/*, text/*"), 200),
        (Some("application/json"), Some("application/json"), 406),
        (Some("application/json"), Some("text/event-stream"), 406),
        (Some("application/json"), Some("text/html"), 406),
        (Some("application/json"), None, 406),
        (Some("text/plain"), Some("*/*"), 415),
        (Some("application/x-www-form-urlencoded"), Some("*/*"), 415),
        (None, Some("*/*"), 415),
    ] {
        let mut request = Request::post("/mcp", initialize("2025-06-18"));
        for (name, value) in [("content-type", content), ("accept", accept)] {
            request = request.without(name);
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = http::exchange(fake.addr(), request).await;
        assert_eq!(response.status(), status, "{content:?} {accept:?}");
    }
    let client = fake.streamable().await;
    for (accept, status) in [
        (Some("text/event-stream"), 200),
        (Some("*/*"), 200),
        (Some("application/json"), 406),
        (None, 406),
    ] {
        let mut request = client.prepare(Request::get("/mcp"));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let mut connection = Connection::open(fake.addr()).await;
        assert_eq!(
            connection.request(&request).await.status,
            status,
            "{accept:?}"
        );
    }
    let page = Request::get("/sse").header("accept", "text/html");
    assert_eq!(http::exchange(fake.addr(), page).await.status(), 406);
}

#[tokio::test]
async fn odd_but_valid_http_is_served() {
    let fake = ready("").await;
    let addr = fake.addr();

    let mut connection = Connection::open(addr).await;
    let body = initialize("2025-06-18");
    let post = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let live = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection
        .send(format!("{live}{post}{live}{post}").as_bytes())
        .await;
    for is_post in [false, true, false, true] {
        assert_eq!(connection.head().await.status, 200, "pipelined");
        let body: serde_json::Value = serde_json::from_slice(&connection.rest().await).unwrap();
        assert_eq!(body.get("result").is_some(), is_post, "in order: {body}");
    }

    let mut connection = Connection::open(addr).await;
    let (head, _) = post.split_once("\r\n\r\n").unwrap();
    connection
        .send(format!("{head}\r\nExpect: 100-continue\r\n\r\n").as_bytes())
        .await;
    assert_eq!(connection.head().await.status, 100);
    connection.send(body.as_bytes()).await;
    assert_eq!(connection.head().await.status, 200);

    let answer = raw(&fake, "GET /live HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.ends_with('}'), "{answer}");
    let answer = raw(
        &fake,
        &format!("GET http://{addr}/live HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "absolute form: {answer}"
    );

    let split = body.len() / 2;
    let chunks = format!(
        "{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        split,
        &body[..split],
        body.len() - split,
        &body[split..]
    );
    let head = head.split("\r\nContent-Length").next().unwrap();
    let mut connection = Connection::open(addr).await;
    connection
        .send(format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes())
        .await;
    assert_eq!(connection.head().await.status, 200, "a chunked body");

    // an HTTP/1.0 client knows no chunks, yet gets its stream
    let mut connection = Connection::open(addr).await;
    connection
        .send(b"GET /sse HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    let head = connection.head().await;
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    let first = String::from_utf8(connection.piece().await.unwrap()).unwrap();
    assert!(first.starts_with("event: endpoint\n"), "{first}");
}

#[tokio::test]
async fn what_is_no_message_is_a_parse_error_or_an_invalid_request() {
    let fake = ready("isolation: shared").await;
    let client = fake.streamable().await;
    let mut sse = fake.sse().await;
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("nonsense", -32700),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} x",
            -32700,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}",
            -32600,
        ),
        ("[]", -32600),
        ("7", -32600),
        ("{\"jsonrpc\":\"2.0\"}", -32600),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}",
            -32600,
        ),
    ] {
        let response = client.post(body).await.whole();
        assert_eq!(
            (response.status(), &response.json()["error"]["code"]),
            (400, &json!(code)),
            "{body:?}"
        );
        let response = sse.post(body).await;
        assert_eq!(
            (response.status(), &response.json()["error"]["code"]),
            (400, &json!(code)),
            "{body:?}"
        );
    }
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{}{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert_eq!(client.post(deep).await.status(), 400);
    sse.call("echo", &json!({})).await;
    assert_eq!(fake.pids().len(), 1);
}
