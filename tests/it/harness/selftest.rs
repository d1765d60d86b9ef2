//! The harness against a canned server: what it reads must be what was sent.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::http::{Connection, Request, exchange};
use super::sse::{Events, Frame};
use super::{proc, within};

/// Answers each connection with the next of `answers`, then closes it; returns what each had sent.
async fn canned(answers: Vec<&'static str>) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test awaits its handle")]
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    (addr, server)
}

#[tokio::test]
async fn bodies_of_every_framing_are_read_whole() {
    let (addr, server) = canned(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-A: b\r\n\r\n{\"a\":1}tail",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}",
    ])
    .await;
    for _ in 0..3 {
        let response = exchange(addr, Request::post("/x", "{}").header("x-k", "v")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.json(), json!({"a": 1}));
    }
    let requests = within("the canned server", server).await.unwrap();
    let expected = format!(
        "POST /x HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 2\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nx-k: v\r\nconnection: close\r\n\r\n{{}}"
    );
    assert_eq!(requests[0], expected);
}

#[tokio::test]
async fn event_streams_are_read_frame_by_frame() {
    let (addr, server) = canned(vec![
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: keep-alive\n\nid: 1-1\nevent: message\ndata: {\"a\":\ndata: 1}\n\nid: 1-2\ndata: \n\ndata: {}\n\n",
    ])
    .await;
    let mut connection = Connection::open(addr).await;
    let head = connection.request(&Request::get("/sse")).await;
    assert_eq!(head.content_type(), "text/event-stream");
    let mut events = Events::new(connection);
    let comment = events.frame().await;
    assert_eq!(comment, Some(Frame::Comment("keep-alive".to_owned())));
    let event = events.next().await;
    assert_eq!(event.id.as_deref(), Some("1-1"));
    assert_eq!(event.event.as_deref(), Some("message"));
    assert_eq!(event.data, "{\"a\":\n1}");
    assert_eq!(event.json(), json!({"a": 1}));
    assert_eq!(
        events.message().await,
        json!({}),
        "empty data is no message"
    );
    events.ended().await;
    within("the canned server", server).await.unwrap();
}

#[tokio::test]
async fn processes_are_found_and_their_end_is_seen() {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", "sleep 600 & wait"])
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let shell = proc::Process::find(pid).unwrap();
    assert_eq!(shell.name, "sh");
    let sleep = super::until("the shell's child", async || {
        proc::descendants(pid).pop().filter(|p| p.name == "sleep")
    })
    .await;
    assert_eq!(sleep.parent, pid);
    let children: Vec<i32> = proc::children(pid).iter().map(|child| child.pid).collect();
    assert_eq!(children, [sleep.pid], "their states may differ by now");
    assert!(proc::open_files(pid) >= 3);
    assert!(proc::resident(pid) > 0);
    assert!(proc::peak_resident(pid) >= proc::resident(pid) / 2);
    assert_eq!(proc::threads(pid), 1);
    sleep.kill();
    child.wait().await.unwrap();
    assert!(!shell.exists());
    sleep.gone().await;
}
