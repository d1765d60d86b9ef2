//! `mcp-server-fetch`, against a web server of the test's own.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{PYTHON, installed, text};

const SERVER: &str = "servers/bin/mcp-server-fetch";
const PAGE: &str =
    "<html><body><article><h1>Heron</h1><p>It stands in the water.</p></article></body></html>";

#[tokio::test]
async fn a_page_is_fetched() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let (addr, site) = site().await;
    // the server must not take a proxy for the way to loopback
    let served = installed
        .serve(
            "env: { NO_PROXY: \"*\" }",
            &[
                &installed.path(SERVER),
                "--ignore-robots-txt",
                "--allow-private-ips",
            ],
        )
        .await;
    let page = json!({"url": format!("http://{addr}/page"), "raw": true});
    let steps = json!([{"call": "fetch", "arguments": page}]);
    for transport in served.transports() {
        let facts = served.python(transport, &steps).await;
        let text = text(&facts["results"][0]);
        assert!(text.contains("It stands in the water."), "{text}");
    }
    site.abort();
}

/// Answers every request with the same page.
async fn site() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{PAGE}",
        PAGE.len()
    );
    #[expect(clippy::disallowed_methods, reason = "the test ends it by its handle")]
    let site = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await;
            if matches!(read, Ok(1..)) {
                // a client that has left needs no page
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    (addr, site)
}
