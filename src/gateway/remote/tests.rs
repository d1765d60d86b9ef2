//! Remote servers over real sockets, by both transports.

mod server;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Remote, Session, Standing};
use crate::bridge::{DeliveryKind, Mailbox, Reader, Refusal};
use crate::config::{self, Auth, RemoteTransport, Secret, ToolFilter};
use crate::jsonrpc::Message;
use server::{BIG, Script, Server};

/// Waits for `future`, which is expected to be ready soon.
async fn soon<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, future)
        .await
        .expect("it comes within 30 s")
}

fn settings(url: String) -> config::Remote {
    config::Remote {
        name: "n8n".to_owned(),
        aliases: Vec::new(),
        url,
        transport: RemoteTransport::Http,
        auth: None,
        headers: Vec::new(),
        description: None,
        tools: ToolFilter::default(),
        request_timeout: Duration::from_secs(20),
        init_timeout: Duration::from_secs(20),
        unavailable: None,
    }
}

fn by_sse(url: String) -> config::Remote {
    let transport = RemoteTransport::Sse;
    config::Remote {
        transport,
        ..settings(url)
    }
}

/// The server by Streamable HTTP and by HTTP+SSE.
fn both(server: &Server) -> [config::Remote; 2] {
    [settings(server.url("/mcp")), by_sse(server.url("/sse"))]
}

fn start(settings: config::Remote) -> Remote {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    Remote::start(Arc::new(settings), &tasks, stop)
}

async fn ready(remote: &Remote) -> u64 {
    let mut standing = remote.watch();
    let is_ready = |standing: &Standing| matches!(standing, Standing::Ready { .. });
    let now = soon(standing.wait_for(is_ready)).await.unwrap().clone();
    let Standing::Ready { generation, .. } = now else {
        unreachable!("it was waited for");
    };
    generation
}

async fn reason(remote: &Remote) -> String {
    let mut standing = remote.watch();
    let is_down = |standing: &Standing| matches!(standing, Standing::Down { .. });
    match &*soon(standing.wait_for(is_down)).await.unwrap() {
        Standing::Down { reason } => reason.clone(),
        _ => unreachable!("it was waited for"),
    }
}

/// A client of the gateway, as far as a remote server is concerned.
struct Client {
    session: Session,
    address: Arc<Mailbox>,
    answers: Reader,
    unasked: Reader,
}

impl Client {
    fn of(remote: &Remote) -> Client {
        Client::with(remote, Vec::new())
    }

    fn with(remote: &Remote, headers: Vec<(HeaderName, HeaderValue)>) -> Client {
        let address = Mailbox::new(&Arc::default());
        let outlet = Mailbox::new(&Arc::default());
        Client {
            session: remote.open(outlet.clone(), headers),
            answers: address.reader(),
            unasked: outlet.reader(),
            address,
        }
    }

    fn send(&self, text: &str) {
        let message = Message::parse(text.to_owned().into()).unwrap();
        self.session.send(message, &self.address);
    }

    fn call(&self, id: u32, tool: &str) {
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}"}}}}"#
        ));
    }

    fn ask(&self, id: u32, method: &str, params: &str) {
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ));
    }

    async fn next(&mut self) -> (DeliveryKind, String) {
        delivery(&mut self.answers).await
    }

    async fn answer(&mut self) -> Value {
        let (kind, text) = self.next().await;
        assert_eq!(kind, DeliveryKind::Answer, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn unasked(&mut self) -> Value {
        let (kind, text) = delivery(&mut self.unasked).await;
        assert_eq!(kind, DeliveryKind::Notification, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

async fn delivery(reader: &mut Reader) -> (DeliveryKind, String) {
    let delivery = soon(reader.next()).await.unwrap();
    let text = delivery.body.into_bytes();
    (delivery.kind, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn a_call_and_its_answer_pass_to_the_byte() {
    for transport in [0, 1] {
        let mut server = Server::start(Script::default());
        let remote = start(both(&server)[transport].clone());
        let mut client = Client::of(&remote);
        let request = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo","arguments":{"n":1.10,"big":12345678901234567890123}},"x":0}"#;
        client.send(request);
        let (kind, text) = client.next().await;
        assert_eq!(kind, DeliveryKind::Answer);
        let sent = server.saw("tools/call").await;
        let id = sent.message["id"].to_string();
        let got = serde_json::to_string(&request.replace(r#""a""#, &id)).unwrap();
        let want = format!(
            r#"{{"jsonrpc":"2.0","id":"a","result":{{"content":[],"got":{got},"n":1.10,"new":{{}}}}}}"#
        );
        assert_eq!(text, want);
    }
}

#[tokio::test]
async fn the_handshake_says_who_is_there() {
    let mut server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    assert_eq!(ready(&remote).await, 1);
    let hello = server.saw("initialize").await.message;
    assert_eq!(hello["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(hello["params"]["clientInfo"]["name"], "mcp-bridged");
    assert_eq!(hello["params"]["capabilities"], serde_json::json!({}));
    let want = Standing::Ready {
        generation: 1,
        server: Some(("scripted".to_owned(), "7".to_owned())),
        capabilities: serde_json::json!({ "tools": { "listChanged": true } }),
        instructions: Some("be kind".to_owned()),
    };
    assert_eq!(*remote.watch().borrow(), want);
    assert_eq!(remote.settings().name, remote.name());
    assert!(remote.is(&remote.clone()));
}

#[tokio::test]
async fn an_error_passes_with_its_data() {
    for transport in [0, 1] {
        let server = Server::start(Script::default());
        let remote = start(both(&server)[transport].clone());
        let mut client = Client::of(&remote);
        client.call(5, "fail");
        let want =
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32042,"message":"no","data":{"n":1.10}}}"#;
        assert_eq!(client.next().await, (DeliveryKind::Answer, want.to_owned()));
    }
}

#[tokio::test]
async fn progress_comes_under_the_clients_token_and_keeps_its_call_alive() {
    for transport in [0, 1] {
        let server = Server::start(Script::default());
        let mut settings = both(&server)[transport].clone();
        settings.request_timeout = Duration::from_millis(1500);
        let remote = start(settings);
        let mut client = Client::of(&remote);
        let params = r#"{"name":"progress","_meta":{"progressToken":"mine"}}"#;
        client.ask(1, "tools/call", params);
        for n in 0..20 {
            let want = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"mine","progress":{n}}}}}"#
            );
            assert_eq!(client.next().await, (DeliveryKind::Notification, want));
        }
        assert_eq!(client.answer().await["result"]["done"], true);
    }
}

#[tokio::test]
async fn equal_ids_of_two_sessions_stay_apart() {
    let mut server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    let (mut one, mut two) = (Client::of(&remote), Client::of(&remote));
    one.call(1, "stall");
    server.saw("tools/call").await;
    two.call(1, "echo");
    assert_eq!(two.answer().await["id"], 1);
    one.call(1, "echo");
    let (kind, text) = one.next().await;
    assert_eq!(kind, DeliveryKind::Refusal(Refusal::Invalid), "{text}");
    one.call(2, "echo");
    assert_eq!(one.answer().await["id"], 2);
}

#[tokio::test]
async fn the_server_hears_of_a_cancellation_and_of_a_client_that_left() {
    for transport in [0, 1] {
        let mut server = Server::start(Script::default());
        let remote = start(both(&server)[transport].clone());
        let mut client = Client::of(&remote);
        client.call(1, "stall");
        let call = server.saw("tools/call").await.message["id"].clone();
        client.send(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        );
        let (kind, _) = client.next().await;
        assert_eq!(kind, DeliveryKind::Cancelled);
        let cancelled = server.saw("notifications/cancelled").await.message;
        assert_eq!(cancelled["params"]["requestId"], call);

        client.call(1, "stall");
        let call = server.saw("tools/call").await.message["id"].clone();
        drop(client.session);
        let cancelled = server.saw("notifications/cancelled").await.message;
        assert_eq!(cancelled["params"]["requestId"], call);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_taken_back() {
    let mut server = Server::start(Script::default());
    let mut settings = settings(server.url("/mcp"));
    settings.request_timeout = Duration::from_millis(300);
    let remote = start(settings);
    ready(&remote).await;
    let mut client = Client::of(&remote);
    client.call(1, "stall");
    let error = client.answer().await["error"].clone();
    assert_eq!(error["code"], -31002);
    let want = "the remote server n8n did not answer tools/call within 300ms (request_timeout)";
    assert_eq!(error["message"], want);
    server.saw("notifications/cancelled").await;
}

#[tokio::test]
async fn the_server_hears_of_the_first_subscription_and_the_last_end() {
    let mut server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    let (mut one, mut two) = (Client::of(&remote), Client::of(&remote));
    let uri = r#"{"uri":"file:///a"}"#;
    one.ask(1, "resources/subscribe", uri);
    one.answer().await;
    server.saw("resources/subscribe").await;
    two.ask(1, "resources/subscribe", uri);
    two.answer().await;
    one.ask(2, "resources/unsubscribe", uri);
    one.answer().await;
    assert_eq!(server.seen_since(), [""; 0]);
    let update = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#;
    // The stream is open when a changed list has come on it.
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    while tokio::time::timeout(Duration::from_millis(50), two.unasked.next())
        .await
        .is_err()
    {
        server.say(changed).await;
    }
    server.say(update).await;
    let mut updated = two.unasked().await;
    while updated["method"] == "notifications/tools/list_changed" {
        updated = two.unasked().await;
    }
    assert_eq!(updated["params"]["uri"], "file:///a");
    drop(two.session);
    server.saw("resources/unsubscribe").await;
    one.session.outlet.close();
    while let Some(delivery) = soon(one.unasked.next()).await {
        assert_eq!(delivery.body.into_bytes(), changed, "it is not subscribed");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_and_told_what_was_wished() {
    for transport in [0, 1] {
        let mut server = Server::start(Script::default());
        let settings = both(&server)[transport].clone();
        let remote = start(settings);
        let generation = ready(&remote).await;
        let mut client = Client::of(&remote);
        client.ask(1, "resources/subscribe", r#"{"uri":"file:///a"}"#);
        client.answer().await;
        client.call(2, "stall");
        server.saw("tools/call").await;
        let port = server.vanish().await;
        let error = client.answer().await["error"].clone();
        assert_eq!(error["code"], -31001);
        let text = error["message"].as_str().unwrap();
        assert!(text.contains("remote server n8n"), "{text}");
        assert!(text.contains("tools/call was not answered"), "{text}");
        reason(&remote).await;

        let mut server = Server::start(Script {
            port,
            ..Script::default()
        });
        assert!(ready(&remote).await > generation);
        let again = server.saw("resources/subscribe").await.message;
        assert_eq!(again["params"]["uri"], "file:///a");
        client.call(3, "echo");
        assert_eq!(client.answer().await["id"], 3);
    }
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_again() {
    let mut server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    let generation = ready(&remote).await;
    let mut client = Client::of(&remote);
    client.ask(1, "resources/subscribe", r#"{"uri":"file:///a"}"#);
    client.answer().await;
    server.saw("resources/subscribe").await;
    server.forget_sessions();
    client.call(2, "echo");
    assert_eq!(client.answer().await["id"], 2);
    server.saw("resources/subscribe").await;
    let mut standing = remote.watch();
    let next =
        |now: &Standing| matches!(now, Standing::Ready { generation: g, .. } if *g > generation);
    soon(standing.wait_for(next)).await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_are_named_and_never_shown() {
    let server = Server::start(Script {
        key: Some("Bearer right"),
        ..Script::default()
    });
    for (mut settings, status) in both(&server).into_iter().zip([401, 403]) {
        settings.auth = Some(Auth::Bearer(Secret::new("wrong-key".to_owned())));
        let remote = start(settings);
        let mut client = Client::of(&remote);
        let want = format!(
            "the remote server n8n refused our credentials (HTTP {status}): check auth_type and auth_value"
        );
        assert_eq!(reason(&remote).await, want);
        client.call(1, "echo");
        let (kind, text) = client.next().await;
        let unavailable = |kind| matches!(kind, DeliveryKind::Refusal(Refusal::Unavailable { .. }));
        assert!(unavailable(kind), "{kind:?}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["error"]["code"], -31001);
        assert_eq!(answer["error"]["message"], want.as_str());
        assert!(!format!("{remote:?}").contains("wrong-key"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said() {
    let server = Server::start(Script {
        endpoint: Some("http://127.0.0.2:9/messages"),
        ..Script::default()
    });
    let port = server.port;
    let gone = Server::start(Script::default()).vanish().await;
    for (settings, want) in [
        (
            by_sse(server.url("/sse")),
            "named an endpoint on another origin (http://127.0.0.2:9), where our credentials must not go: check url".to_owned(),
        ),
        (
            settings(server.url("/elsewhere")),
            "redirects to http://127.0.0.2:9/mcp: if that is right, set url to it".to_owned(),
        ),
        (
            settings(server.url("/page")),
            "answered with text/html, which is no MCP: check url, and transport (http or sse)".to_owned(),
        ),
        (
            settings(server.url("/nowhere?key=secret")),
            "answered HTTP 404: check url, and transport (http or sse)".to_owned(),
        ),
        (
            settings(format!("http://u:secret@127.0.0.1:{gone}/mcp?key=secret")),
            format!("cannot be reached at http://127.0.0.1:{gone}/mcp: nothing listens there; correct url, or look at the server or the network"),
        ),
        (
            settings(format!("ftp://127.0.0.1:{port}/")),
            "cannot be spoken with: url is no http or https URL with a host".to_owned(),
        ),
    ] {
        let remote = start(settings);
        assert_eq!(reason(&remote).await, format!("the remote server n8n {want}"));
    }
}

#[tokio::test]
async fn a_redirect_on_the_same_origin_is_followed() {
    let server = Server::start(Script::default());
    let remote = start(settings(server.url("/moved")));
    ready(&remote).await;
}

#[tokio::test]
async fn a_clients_headers_reach_only_its_own_connection() {
    let mut server = Server::start(Script::default());
    let mut settings = settings(server.url("/mcp"));
    settings.auth = Some(Auth::Bearer(Secret::new("ours".to_owned())));
    settings.headers = vec![("X-User".to_owned(), Secret::new("everybody".to_owned()))];
    let remote = start(settings);
    ready(&remote).await;
    server.saw("notifications/initialized").await;
    let own = vec![
        (
            HeaderName::from_static("authorization"),
            HeaderValue::from_static("Bearer theirs"),
        ),
        (
            HeaderName::from_static("host"),
            HeaderValue::from_static("elsewhere"),
        ),
    ];
    let mut client = Client::with(&remote, own);
    let mut other = Client::of(&remote);
    assert_eq!(server.seen_since(), [""; 0], "it is opened on first use");
    client.call(1, "echo");
    client.answer().await;
    for method in ["initialize", "tools/call"] {
        let seen = server.saw(method).await;
        assert_eq!(seen.authorization, "Bearer theirs");
        assert_eq!(seen.user, "everybody");
    }
    other.call(1, "echo");
    other.answer().await;
    assert_eq!(server.saw("tools/call").await.authorization, "Bearer ours");
}

#[tokio::test]
async fn a_clients_wrong_headers_are_its_own_affair() {
    let server = Server::start(Script {
        key: Some("Bearer right"),
        ..Script::default()
    });
    let mut settings = settings(server.url("/mcp"));
    settings.auth = Some(Auth::Authorization(Secret::new("Bearer right".to_owned())));
    let remote = start(settings);
    let wrong = HeaderValue::from_static("Bearer wrong");
    let mut client = Client::with(&remote, vec![(reqwest::header::AUTHORIZATION, wrong)]);
    client.call(1, "echo");
    let (kind, text) = client.next().await;
    assert!(matches!(
        kind,
        DeliveryKind::Refusal(Refusal::Unavailable { .. })
    ));
    let want =
        "the remote server n8n refused the credentials that the client sent for it (HTTP 401)";
    assert!(text.contains(want), "{text}");
    assert!(!format!("{:?}", client.session).contains("Bearer"));
    let mut other = Client::of(&remote);
    other.call(1, "echo");
    assert_eq!(other.answer().await["id"], 1);
}

#[tokio::test]
async fn a_big_result_passes() {
    for transport in [0, 1] {
        let server = Server::start(Script::default());
        let remote = start(both(&server)[transport].clone());
        let mut client = Client::of(&remote);
        client.call(1, "big");
        let answer = client.answer().await;
        assert_eq!(answer["result"]["content"].as_str().unwrap().len(), BIG);
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_its_call() {
    let server = Server::start(Script::default());
    let said = "sent a message of more than 16777216 bytes";
    let [http, sse] = both(&server).map(start);
    for (remote, tool, code, want) in [
        (
            &http,
            "huge",
            -31003,
            format!("the remote server n8n {said}"),
        ),
        (
            &http,
            "huge in events",
            -31003,
            format!("the remote server {said}"),
        ),
        (
            &sse,
            "huge",
            -31001,
            format!(
                "the remote server n8n {said}; tools/call was not answered, and whether the server has acted on it is unknown"
            ),
        ),
    ] {
        let mut client = Client::of(remote);
        client.call(1, tool);
        let error = client.answer().await["error"].clone();
        assert_eq!(error["code"], code, "{tool}");
        assert_eq!(error["message"], want);
        client.call(2, "echo");
        assert_eq!(client.answer().await["id"], 2);
    }
}

#[tokio::test]
async fn a_call_whose_stream_breaks_off_ends() {
    let server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    ready(&remote).await;
    let mut client = Client::of(&remote);
    for (id, tool, want) in [
        (
            1,
            "cut",
            "the connection to the remote server n8n was lost; tools/call was not answered, and whether the server has acted on it is unknown",
        ),
        (
            2,
            "break",
            "the remote server n8n answered HTTP 500: check url, and transport (http or sse)",
        ),
    ] {
        client.call(id, tool);
        let error = client.answer().await["error"].clone();
        assert_eq!(error["code"], -31001);
        assert_eq!(error["message"], want);
    }
    client.call(3, "echo");
    assert_eq!(client.answer().await["id"], 3);
}

#[tokio::test]
async fn denied_tools_are_neither_listed_nor_called() {
    let server = Server::start(Script::default());
    let mut settings = settings(server.url("/mcp"));
    settings.tools = ToolFilter::new(Vec::new(), vec!["sec*".to_owned()]).unwrap();
    let remote = start(settings);
    let mut client = Client::of(&remote);
    client.ask(1, "tools/list", "{}");
    let want = serde_json::json!([{ "name": "echo" }]);
    assert_eq!(client.answer().await["result"]["tools"], want);
    client.call(2, "secret");
    let (kind, text) = client.next().await;
    assert_eq!(kind, DeliveryKind::Refusal(Refusal::Invalid));
    assert!(text.contains("unknown tool: secret"), "{text}");
}

#[tokio::test]
async fn a_ping_is_answered_here_and_a_stopped_server_refuses() {
    let mut server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    ready(&remote).await;
    let mut client = Client::of(&remote);
    client.ask(1, "ping", "{}");
    assert_eq!(client.answer().await["result"], serde_json::json!({}));
    client.call(2, "stall");
    server.saw("tools/call").await;
    remote.stop();
    assert_eq!(client.answer().await["error"]["code"], -31001);
    assert!(client.session.is_over());
    client.call(3, "echo");
    let (kind, _) = client.next().await;
    assert_eq!(kind, DeliveryKind::Refusal(Refusal::ShuttingDown));
}

#[tokio::test]
async fn an_optional_server_without_its_variable_is_not_spoken_with() {
    let mut server = Server::start(Script::default());
    let mut settings = settings(server.url("/mcp"));
    settings.unavailable = Some("set N8N_KEY".to_owned());
    let remote = start(settings);
    let cure = "set N8N_KEY".to_owned();
    assert_eq!(*remote.watch().borrow(), Standing::Unavailable { cure });
    let mut client = Client::of(&remote);
    client.call(1, "echo");
    let (_, text) = client.next().await;
    assert!(
        text.contains("the remote server n8n can't be used: set N8N_KEY"),
        "{text}"
    );
    assert_eq!(server.seen_since(), [""; 0]);
}

#[tokio::test]
async fn every_request_is_answered_once_whatever_happens_to_the_server() {
    for transport in [0, 1] {
        let server = Server::start(Script::default());
        let remote = start(both(&server)[transport].clone());
        ready(&remote).await;
        let mut clients: Vec<Client> = (0..4).map(|_| Client::of(&remote)).collect();
        for client in &clients {
            for id in 0..128 {
                client.call(id, ["echo", "stall", "fail", "cut"][id as usize % 4]);
                if id % 16 == 1 {
                    client.send(&format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
                    ));
                }
            }
        }
        let mut first = Some(clients[0].next().await);
        server.vanish().await;
        for client in &mut clients {
            let mut ids = Vec::new();
            while ids.len() < 128 {
                let (kind, text) = match first.take() {
                    Some(first) => first,
                    None => client.next().await,
                };
                assert!(kind.ends_a_request(), "{kind:?} {text}");
                let answer: Value = serde_json::from_str(&text).unwrap();
                ids.push(answer["id"].as_u64().unwrap());
            }
            ids.sort_unstable();
            assert_eq!(ids, (0..128).collect::<Vec<_>>(), "each is answered once");
            client.ask(1000, "ping", "{}");
            assert_eq!(
                client.answer().await["id"],
                1000,
                "and nothing is left over"
            );
        }
    }
}

#[tokio::test]
async fn a_session_has_so_many_requests_in_flight_and_no_more() {
    let server = Server::start(Script::default());
    let remote = start(settings(server.url("/mcp")));
    ready(&remote).await;
    let mut client = Client::of(&remote);
    for id in 0..=128 {
        client.call(id, "stall");
    }
    let (kind, text) = client.next().await;
    assert_eq!(kind, DeliveryKind::Refusal(Refusal::TooManyInFlight));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["id"], 128);
}
