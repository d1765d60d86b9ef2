//! The client against a server that says what a script tells it to, one connection a request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each request with the next of `answers`, and gives back the requests: their heads, in lower case, and bodies.
async fn serve(listener: TcpListener, answers: &[&str]) -> Vec<(String, String)> {
    let mut requests = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        let (head, body) = loop {
            assert_ne!(
                stream.read_buf(&mut text).await.unwrap(),
                0,
                "whole requests"
            );
            let text = String::from_utf8_lossy(&text);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            if body.len() == length {
                break (head, body.to_owned());
            }
        };
        let answer = answer
            .replace("HTTP", "HTTP/1.1")
            .replace(" | ", "\r\n\r\n");
        let answer = answer.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        stream.write_all(answer.as_bytes()).await.unwrap();
        requests.push((head, body));
    }
    requests
}

const HELLO: &str = "HTTP 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s-1 | \
    {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{}}}";
const ACCEPTED: &str = "HTTP 202 Accepted\r\nContent-Length: 0 | ";

fn address(listener: &TcpListener) -> Url {
    let address = listener.local_addr().unwrap();
    Url::parse(&format!("http://user:secret@{address}/mcp?key=secret")).unwrap()
}

async fn client(url: Url) -> Result<Client, ClientError> {
    Client::connect(url, Transport::Streamable, None, Duration::from_secs(20)).await
}

#[tokio::test]
async fn what_the_server_asks_is_answered_while_a_call_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = address(&listener);
    let call = "HTTP 200 OK\r\nContent-Type: text/event-stream | \
        data: {\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n\n\
        data: {\"jsonrpc\":\"2.0\",\"id\":7.0,\"method\":\"roots/list\"}\n\n\
        data: {\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{\"not\":\"ours\"}}\n\n\
        data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1e400}}\n\n\
        data: {\"jsonrpc\":\"2.0\",\"id\":2,\ndata: \"result\":{\"n\":1e400}}\n\n";
    let answers = [
        HELLO,
        ACCEPTED,
        call,
        ACCEPTED,
        ACCEPTED,
        "HTTP 204 No Content | ",
    ];
    let talk = async {
        let mut client = client(url).await.unwrap();
        let mut seen = Vec::new();
        let mut progress = |params: &[u8]| seen.push(params.to_vec());
        let result = client.call("t", r#"{"a": 1e400}"#, &mut progress).await;
        client.close().await;
        (result.unwrap(), seen)
    };
    let (requests, (result, seen)) = tokio::join!(serve(listener, &answers), talk);
    assert_eq!(result, r#"{"n":1e400}"#);
    assert_eq!(seen, [br#"{"progress":1e400}"#]);
    let bodies: Vec<&str> = requests.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(
        bodies[2..],
        [
            r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","arguments":{"a": 1e400},"_meta":{"progressToken":2}}}"#,
            r#"{"jsonrpc":"2.0","id":"p","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7.0,"error":{"code":-32601,"message":"this client has no roots/list"}}"#,
            "",
        ]
    );
    for (head, _) in &requests[1..] {
        assert!(head.contains("mcp-session-id: s-1"), "{head}");
        assert!(head.contains("mcp-protocol-version: 2025-06-18"), "{head}");
    }
    assert!(requests[5].0.starts_with("delete "), "{requests:?}");
}

#[tokio::test]
async fn a_broken_stream_is_resumed_after_its_last_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = address(&listener);
    let answers = [
        HELLO,
        ACCEPTED,
        "HTTP 200 OK\r\nContent-Type: text/event-stream | id: p1-0\nretry: 1\ndata: \n\n",
        "HTTP 200 OK\r\nContent-Type: text/event-stream | : nothing yet\n\n",
        "HTTP 200 OK\r\nContent-Type: text/event-stream | id: p1-1\n\
            data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\nid: p1-2\ndata: {\"cut",
        "HTTP 200 OK\r\nContent-Type: text/event-stream | id: p1-2\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n",
        "HTTP 200 OK\r\nContent-Type: text/event-stream | id: p2-0\nretry: 1\ndata: \n\n",
        "HTTP 405 Method Not Allowed\r\nContent-Length: 0 | ",
    ];
    let talk = async {
        let mut client = client(url).await.unwrap();
        let mut seen = 0;
        let result = client.call("t", "{}", &mut |_| seen += 1).await;
        assert_eq!((result.unwrap(), seen), (Bytes::from_static(b"{}"), 1));
        client.tools().await.unwrap_err().to_string()
    };
    let (requests, lost) = tokio::join!(serve(listener, &answers), talk);
    for (request, last) in [(3, "p1-0"), (4, "p1-0"), (5, "p1-1"), (7, "p2-0")] {
        let head = &requests[request].0;
        assert!(
            head.starts_with("get ") && head.contains("mcp-session-id: s-1"),
            "{head}"
        );
        assert!(head.contains(&format!("last-event-id: {last}")), "{head}");
    }
    assert!(lost.contains("ended before `tools/list`"), "{lost}");
}

#[tokio::test]
async fn what_is_no_mcp_server_is_named_without_secrets() {
    for (answer, part, status) in [
        (
            "HTTP 200 OK\r\nContent-Type: text/html | <p>",
            "answers with text/html",
            69,
        ),
        (
            "HTTP 200 OK\r\nContent-Type: application/json | {}",
            "it sends",
            69,
        ),
        (
            "HTTP 200 OK\r\nContent-Type: text/event-stream | ",
            "ended before `initialize`",
            69,
        ),
        (
            "HTTP 202 Accepted\r\nContent-Length: 0 | ",
            "answers nothing",
            69,
        ),
        ("HTTP 302 Found\r\nLocation: / | ", "302", 69),
        ("HTTP 401 Unauthorized | ", "wants a key", 1),
        (
            "HTTP 503 Service Unavailable | {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-31001,\"message\":\"starting\"}}",
            "starting (code -31001)",
            1,
        ),
        (
            "HTTP 503 Service Unavailable | {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-31001,\"message\":\"exit code 3\",\
             \"data\":{\"source\":\"bridge\",\"kind\":\"server_unavailable\",\"bridge\":\"db\",\"state\":\"backoff\"}}}",
            "exit code 3 (code -31001); `mcp-bridged logs db` tells more",
            1,
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = address(&listener);
        let answers = [answer];
        let (_, outcome) = tokio::join!(serve(listener, &answers), client(url));
        let error = outcome.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains("secret"), "{text}");
        assert_eq!(error.status(), status, "{text}");
    }
}

#[tokio::test]
async fn an_endpoint_on_another_origin_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = address(&listener);
    let answers = [
        "HTTP 200 OK\r\nContent-Type: text/event-stream | event: endpoint\ndata: http://127.0.0.1:1/messages\n\n",
    ];
    let limit = Duration::from_secs(20);
    let client = Client::connect(url, Transport::Sse, None, limit);
    let (_, outcome) = tokio::join!(serve(listener, &answers), client);
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("another origin"), "{text}");
}
