//! Behind nginx, configured by `docker/proxy/nginx.conf` with this test's ports.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

use crate::harness::http::exchange;
use crate::harness::sse::{Events, Frame, initialize_params};
use crate::harness::{Behind, Connection, Request, Sse, Streamable, fake, skipped, until, within};

/// More than the keep-alive interval of 15 s, and the shortest that a stream may be told to survive by it.
const IDLE: Duration = Duration::from_secs(16);

/// Dropping it ends both.
struct Proxy {
    addr: SocketAddr,
    _all: Behind,
    _nginx: Child,
    _dir: tempfile::TempDir,
}

fn nginx() -> Option<PathBuf> {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .map(PathBuf::from)
        .find(|it| it.exists());
    if found.is_none() {
        skipped("nginx is not installed");
    }
    found
}

/// A daemon behind nginx, the bridge below `/demo/`, the gateway at the root.
async fn proxy(bridge: &str, gateway: &str) -> Option<Proxy> {
    let nginx = nginx()?;
    let all = Behind::start(gateway, &[fake::entry("fake", bridge, &[])]).await;
    // free a moment ago; nobody else binds ports in this range on purpose
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/proxy/nginx.conf");
    let mut site = fs::read_to_string(shipped).unwrap();
    for (from, to) in [
        ("listen 80;", format!("listen {addr};")),
        ("127.0.0.1:48001", all.bridge("fake").to_string()),
        ("127.0.0.1:4000", all.addr().to_string()),
        (
            "proxy_read_timeout 6m;",
            format!("proxy_read_timeout {}s;", IDLE.as_secs()),
        ),
    ] {
        assert_eq!(site.matches(from).count(), 1, "{from}");
        site = site.replace(from, &to);
    }
    let root = dir.path().display();
    let mut main =
        format!("daemon off; master_process off; pid {root}/pid; events {{}}\nhttp {{\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        main.push_str(&format!("{kind}_temp_path {root}/{kind};\n"));
    }
    main.push_str(&format!("access_log off;\n{site}\n}}\n"));
    fs::write(dir.path().join("nginx.conf"), main).unwrap();
    let nginx = Command::new(nginx)
        .arg("-c")
        .arg(dir.path().join("nginx.conf"))
        .arg("-e")
        .arg(dir.path().join("error.log"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("nginx", async || {
        tokio::net::TcpStream::connect(addr).await.ok()
    })
    .await;
    Some(Proxy {
        _all: all,
        addr,
        _nginx: nginx,
        _dir: dir,
    })
}

/// A request of Streamable HTTP, to the path of the bridge.
fn streamable(session: Option<&str>, message: &Value) -> Request {
    let request = Request::post("/demo/mcp", message.to_string());
    match session {
        Some(session) => request.header("mcp-session-id", session),
        None => request,
    }
}

#[tokio::test]
async fn both_transports_work_below_a_path() {
    let host = "allowed_hosts: [mcp.example.org]";
    let Some(proxy) = proxy(host, host).await else {
        return;
    };
    let named = [("host", "mcp.example.org")];
    let mut client = Sse::connect_with(proxy.addr, "/demo/sse", &named).await;
    assert!(
        client.endpoint.starts_with("/demo/messages?"),
        "{}",
        client.endpoint
    );
    client.initialize(&json!({})).await;
    let answer = client.call("echo", &json!({"a": 1})).await;
    assert_eq!(answer["result"]["params"]["arguments"]["a"], 1, "{answer}");
    // more than nginx takes unless told otherwise
    let big = "b".repeat(2 << 20);
    let answer = client.call("echo", &json!({"a": big})).await;
    assert!(answer["result"].is_object());

    let params = initialize_params("2025-11-25", &json!({}));
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let opened = exchange(proxy.addr, streamable(None, &message)).await;
    assert_eq!(opened.status(), 200, "{}", opened.text());
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    exchange(proxy.addr, streamable(Some(&session), &done)).await;
    // what precedes an answer arrives before it, which here never comes
    let line = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "emit", "arguments": {"lines": [line], "answer": false}, "_meta": {"progressToken": "p"}}});
    let mut connection = Connection::open(proxy.addr).await;
    let head = connection.request(&streamable(Some(&session), &call)).await;
    assert_eq!(head.status, 200);
    let progress = Events::new(connection).message().await;
    assert_eq!(progress["params"]["progressToken"], "p", "{progress}");
    let delete = Request::new("DELETE", "/demo/mcp").header("mcp-session-id", &session);
    let ended = exchange(proxy.addr, delete).await.status();
    assert!((200..300).contains(&ended), "{ended}");
}

#[tokio::test]
async fn a_public_url_stands_for_name_path_and_origin() {
    let bridge = "public_url: https://mcp.example.org/demo";
    let gateway = "public_url: https://mcp.example.org";
    let Some(proxy) = proxy(bridge, gateway).await else {
        return;
    };
    let browser = [
        ("host", "mcp.example.org"),
        ("origin", "https://mcp.example.org"),
    ];
    for path in ["/demo/sse", "/sse"] {
        let mut client = Sse::connect_with(proxy.addr, path, &browser).await;
        let messages = path.replace("sse", "messages?");
        assert!(
            client.endpoint.starts_with(&messages),
            "{}",
            client.endpoint
        );
        client.initialize(&json!({})).await;
        let tools = client.request("tools/list", &json!({})).await;
        assert!(tools["result"]["tools"].is_array(), "{tools}");
    }
    // a page of somebody else, and a name that was made to point here
    for (host, origin) in [
        ("mcp.example.org", "https://evil.example"),
        ("evil.example", "https://evil.example"),
    ] {
        let request = Request::get("/demo/mcp/tools")
            .header("host", host)
            .header("origin", origin);
        assert_eq!(exchange(proxy.addr, request).await.status(), 403, "{host}");
    }
}

#[tokio::test]
async fn streams_outlive_the_time_out_of_a_silent_proxy() {
    let Some(proxy) = proxy("", "").await else {
        return;
    };
    let opened = Instant::now();
    let mut client = Sse::connect_with(proxy.addr, "/demo/sse", &[]).await;
    client.initialize(&json!({})).await;
    let mut gateway = Streamable::open(proxy.addr, &json!({})).await;
    let (_, mut listening) = gateway.get(None).await;
    let silent = Instant::now();
    let comments = async {
        comment(client.events()).await;
        comment(&mut listening).await;
    };
    within("comments on both streams", comments).await;
    sleep_until(silent + IDLE + Duration::from_secs(1)).await;
    assert!(opened.elapsed() > IDLE);
    let answer = client.call("echo", &json!({})).await;
    assert!(answer["result"].is_object(), "{answer}");
    // the other stream is still the session's
    let answer = gateway
        .call(
            "fake-list_changed",
            &json!({"kind": "tools", "add": "extra"}),
        )
        .await;
    assert!(answer["result"].is_object(), "{answer}");
    let changed = listening.message().await;
    assert_eq!(changed["method"], "notifications/tools/list_changed");
}

async fn comment(events: &mut Events) {
    loop {
        match events.frame().await {
            Some(Frame::Comment(text)) if text == "keep-alive" => return,
            Some(_) => {}
            None => panic!("the stream ended"),
        }
    }
}
