//! Who may do what at the gateway: keys, what they grant, and the headers that choose of it.

use serde_json::{Value, json};

use crate::harness::behind::{config, names, text};
use crate::harness::fake::entry;
use crate::harness::http::{Response, exchange};
use crate::harness::sse::initialize_params;
use crate::harness::{Behind, Request, Sse, Streamable, until};

/// Two bridges behind three keys: `team` has only `db`, of it no `crash`, and the models that begin with `gpt-`.
const KEYS: &str = r#"master_key: sk-master-hidden
virtual_keys:
  - { name: team, api_key: sk-team-hidden, mcp_servers: [db], models: ["gpt-*"], tools: { deny: ["*-crash"] } }
  - { api_key: sk-second-hidden, mcp_servers: [] }"#;

const MASTER: (&str, &str) = ("authorization", "Bearer sk-master-hidden");
const TEAM: (&str, &str) = ("authorization", "Bearer sk-team-hidden");

fn bridges() -> [String; 2] {
    [
        entry("postgres", "aliases: [db]", &[]),
        entry("files", "", &[]),
    ]
}

async fn keyed() -> Behind {
    Behind::start(KEYS, &bridges()).await
}

fn hello() -> String {
    let params = initialize_params("2025-11-25", &json!({}));
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

fn with(mut request: Request, headers: &[(&str, &str)]) -> Request {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// An initialised client that sends these headers with everything.
async fn client(all: &Behind, headers: &[(&str, &str)]) -> Streamable {
    let mut client = Streamable::new(all.addr());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    client.headers = headers.iter().map(owned).collect();
    client.initialize("2025-11-25", &json!({})).await;
    client
}

async fn tools(client: &mut Streamable) -> Vec<String> {
    let answer = client.request("tools/list", &json!({})).await;
    let names = names(&answer["result"]["tools"]).into_iter();
    names.map(str::to_owned).collect()
}

/// The message of an error in OpenAI's shape.
fn api_error(response: &Response) -> String {
    let body = response.json();
    let error = &body["error"];
    for member in ["message", "type", "param", "code"] {
        assert!(error.get(member).is_some(), "{member} in {body}");
    }
    error["message"].as_str().unwrap().to_owned()
}

/// The message of a JSON-RPC error.
fn rpc_error(response: &Response) -> String {
    let body = response.json();
    assert_eq!(body["jsonrpc"], "2.0", "{body}");
    assert_eq!(body["error"]["code"], -32600, "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_key_nothing_is_served_and_the_cure_is_named() {
    let all = keyed().await;
    for (sent, says) in [
        (&[][..], "a key is needed"),
        (&[("authorization", "sk-master-hidden")], "lacks its prefix"),
        (&[("authorization", "Bearer sk-wrong-hidden")], "not valid"),
        (&[("x-litellm-api-key", "sk-wrong-hidden")], "not valid"),
        (&[("x-api-key", "sk-wrong-hidden")], "not valid"),
    ] {
        for request in [
            Request::post("/mcp", hello()),
            Request::post("/mcp/", hello()),
            Request::get("/sse"),
            Request::post("/messages?session_id=0", "{}"),
            Request::get("/mcp/tools"),
            Request::get("/metrics"),
        ] {
            let response = all.ask(with(request, sent)).await;
            assert_eq!(response.status(), 401, "{sent:?} {}", response.text());
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            assert!(rpc_error(&response).contains(says), "{}", response.text());
            assert!(!response.text().contains("hidden"));
        }
        for path in ["/v1/models", "/models", "/v1/models/gpt-4o-mock"] {
            let response = all.ask(with(Request::get(path), sent)).await;
            assert_eq!(response.status(), 401, "{}", response.text());
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            assert!(api_error(&response).contains(says), "{}", response.text());
            assert!(!response.text().contains("hidden"));
        }
    }
    for path in ["/health", "/ready", "/live"] {
        assert_eq!(all.ask(Request::get(path)).await.status(), 200);
    }
    assert!(!all.log().contains("hidden"));
}

#[tokio::test]
async fn a_key_comes_in_any_of_three_headers() {
    let all = keyed().await;
    for sent in [
        MASTER,
        ("x-litellm-api-key", "sk-team-hidden"),
        ("x-litellm-api-key", "Bearer sk-team-hidden"),
        ("x-api-key", "sk-team-hidden"),
    ] {
        let mut client = client(&all, &[sent]).await;
        assert!(client.call("db-echo", &json!({})).await["result"].is_object());
        let response = all.ask(with(Request::get("/v1/models"), &[sent])).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        let mut sse = Sse::connect_with(all.addr(), "/sse", &[sent]).await;
        sse.initialize(&json!({})).await;
        assert!(sse.call("db-echo", &json!({})).await["result"].is_object());
    }
}

#[tokio::test]
async fn a_key_sees_and_calls_only_what_it_grants() {
    let all = keyed().await;
    let mut master = client(&all, &[MASTER]).await;
    let mut team = client(&all, &[TEAM]).await;
    let mut second = client(&all, &[("x-api-key", "sk-second-hidden")]).await;
    let seen = tools(&mut master).await;
    assert!(seen.iter().any(|tool| tool == "files-echo"));
    let granted: Vec<_> = seen
        .iter()
        .filter(|tool| tool.starts_with("postgres-") && *tool != "postgres-crash")
        .cloned()
        .collect();
    assert_eq!(tools(&mut team).await, granted);
    assert_eq!(tools(&mut second).await, Vec::<String>::new());
    for tool in ["files-echo", "postgres-crash", "db-crash"] {
        let answer = team.call(tool, &json!({})).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let answer = second.call("db-echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    // prompts and resources of servers that are not granted are not there either
    let prompts = team.request("prompts/list", &json!({})).await;
    assert_eq!(names(&prompts["result"]["prompts"]), ["postgres-echo"]);
    let answer = team
        .request("prompts/get", &json!({"name": "files-echo"}))
        .await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let nothing = second.request("resources/list", &json!({})).await;
    assert_eq!(nothing["result"]["resources"], json!([]));
    let answer = second
        .request("resources/read", &json!({"uri": "fake://a"}))
        .await;
    assert_eq!(answer["error"]["code"], -32002, "{answer}");
    assert_eq!(all.received("files", "tools/call").len(), 0);
    let told = &second.initialized["result"];
    assert_eq!(told.get("instructions"), None, "{told}");
}

#[tokio::test]
async fn reasons_and_numbers_are_for_those_whose_they_are() {
    let absent =
        "  absent:\n    port: 0\n    optional: true\n    command: mcp-no-such-command\n".to_owned();
    let all = Behind::begin(KEYS, &[entry("postgres", "aliases: [db]", &[]), absent]).await;
    all.until_noted("absent", Value::is_string).await;
    let note = async |headers: &[(&str, &str)]| {
        let health = all.ask(with(Request::get("/health"), headers)).await.json();
        let mut servers = health["servers"].as_array().unwrap().iter();
        let absent = servers.find(|server| server["name"] == "absent").unwrap();
        absent["note"].as_str().unwrap().to_owned()
    };
    assert!(note(&[MASTER]).await.contains("mcp-no-such-command"));
    for headers in [&[][..], &[TEAM], &[("x-api-key", "wrong")]] {
        assert_eq!(note(headers).await, "down", "{headers:?}");
    }
    let numbers = async |headers: &[(&str, &str)]| {
        let request = with(Request::get("/metrics"), headers);
        all.ask(request).await.status()
    };
    assert_eq!(numbers(&[MASTER]).await, 200);
    assert_eq!(numbers(&[TEAM]).await, 403);
    assert_eq!(numbers(&[]).await, 401);
}

#[tokio::test]
async fn the_header_chooses_servers_by_name_and_alias() {
    let all = keyed().await;
    for (key, chosen, want) in [
        (MASTER, "db", &["postgres-echo"][..]),
        (MASTER, "files, postgres", &["postgres-echo", "files-echo"]),
        (TEAM, "db", &["postgres-echo"]),
        (TEAM, "", &["postgres-echo"]),
    ] {
        let mut client = client(&all, &[key, ("x-mcp-servers", chosen)]).await;
        let mut seen = tools(&mut client).await;
        seen.retain(|tool| tool.ends_with("-echo"));
        assert_eq!(seen, want, "{chosen}");
    }
    for (key, chosen, status, says) in [
        (
            MASTER,
            "db,nope",
            400,
            "`nope`, which is no server here; there are `postgres`, `files`",
        ),
        (
            TEAM,
            "nope",
            400,
            "`nope`, which is no server here; there are `postgres`",
        ),
        (
            TEAM,
            "files",
            403,
            "`files`, which this key may not use; it may use `postgres`",
        ),
        (
            ("x-api-key", "sk-second-hidden"),
            "db",
            403,
            "it may use none",
        ),
    ] {
        let headers = [key, ("x-mcp-servers", chosen)];
        for request in [
            Request::post("/mcp", hello()),
            Request::get("/sse"),
            Request::get("/mcp/tools"),
        ] {
            let response = all.ask(with(request, &headers)).await;
            assert_eq!(response.status(), status, "{}", response.text());
            assert!(rpc_error(&response).contains(says), "{}", response.text());
        }
        let response = all.ask(with(Request::get("/v1/models"), &headers)).await;
        assert_eq!(response.status(), status, "{}", response.text());
        assert!(api_error(&response).contains(says), "{}", response.text());
    }
}

#[tokio::test]
async fn a_session_belongs_to_the_key_that_opened_it() {
    let all = keyed().await;
    let mut owner = client(&all, &[TEAM]).await;
    let mut thief = owner.clone();
    thief.headers = vec![(MASTER.0.to_owned(), MASTER.1.to_owned())];
    let (_, reply) = thief.start("tools/list", &json!({})).await;
    assert_eq!(reply.status(), 404);
    assert_eq!(thief.get(None).await.0.status, 404);
    assert_eq!(thief.delete().await.status(), 404);
    thief.headers.clear();
    assert_eq!(thief.delete().await.status(), 401);
    assert!(
        !tools(&mut owner).await.is_empty(),
        "it goes on for its owner"
    );

    let mut sse = Sse::connect_with(all.addr(), "/sse", &[TEAM]).await;
    let post = with(Request::post(&sse.endpoint, hello()), &[MASTER]);
    assert_eq!(all.ask(post).await.status(), 404);
    sse.initialize(&json!({})).await;
}

#[tokio::test]
async fn a_reload_takes_keys_and_grants_away() {
    let all = keyed().await;
    let mut master = client(&all, &[MASTER]).await;
    let mut team = client(&all, &[TEAM]).await;
    assert!(!tools(&mut team).await.is_empty());
    let (_, mut stream) = team.get(None).await;
    let mut sse = Sse::connect_with(all.addr(), "/sse", &[TEAM]).await;
    let mut stays = Sse::connect_with(all.addr(), "/sse", &[MASTER]).await;
    let now = async |gateway: &str| {
        let reloads = all.log().matches("\"reloaded\"").count();
        all.reload(&config(gateway, &bridges()));
        until("the reload", async || {
            (all.log().matches("\"reloaded\"").count() > reloads).then_some(())
        })
        .await;
    };
    // a grant that changed ends the sessions that stood on it, and only those
    now(&KEYS.replace("mcp_servers: [db]", "mcp_servers: [files]")).await;
    let (_, reply) = team.start("tools/list", &json!({})).await;
    assert_eq!(reply.status(), 404);
    // their streams don't outlive the grant either
    while stream.try_next().await.is_some() {}
    while sse.events().try_next().await.is_some() {}
    stays.initialize(&json!({})).await;
    assert!(!tools(&mut master).await.is_empty());
    let mut team = client(&all, &[TEAM]).await;
    assert!(
        tools(&mut team)
            .await
            .iter()
            .all(|tool| tool.starts_with("files-"))
    );
    // a key that is gone is wrong from then on
    now("master_key: sk-master-hidden").await;
    let (_, reply) = team.start("tools/list", &json!({})).await;
    assert_eq!(reply.status(), 401);
    assert!(!tools(&mut master).await.is_empty());
    now("master_key: sk-other-hidden").await;
    let (_, reply) = master.start("tools/list", &json!({})).await;
    assert_eq!(reply.status(), 401);
    client(&all, &[("x-api-key", "sk-other-hidden")]).await;
    assert!(!all.log().contains("hidden"));
}

#[tokio::test]
async fn a_header_for_one_server_becomes_a_variable_of_an_instance_of_its_own() {
    let mapped = "aliases: [db, db-ro]\nheaders_to_env: { x-token: DB_TOKEN }\nenv: { DB_TOKEN: of-the-file }";
    let bridges = [entry("postgres", mapped, &[]), entry("files", "", &[])];
    let all = Behind::start("", &bridges).await;
    let mut plain = client(&all, &[]).await;
    let facts = async |client: &mut Streamable, tool: &str| {
        let answer = client.call(tool, &json!({})).await;
        answer["result"]["structuredContent"].clone()
    };
    let shared = facts(&mut plain, "db-info").await;
    assert_eq!(shared["env"]["DB_TOKEN"], "of-the-file");
    let mut own = Vec::new();
    for (header, value) in [
        ("x-mcp-postgres-x-token", "first-hidden"),
        ("x-mcp-db-ro-x-token", "second-hidden"),
    ] {
        let unmapped = ("x-mcp-db-other", "third-hidden");
        let elsewhere = ("x-mcp-files-x-token", "fourth-hidden");
        let mut client = client(&all, &[(header, value), unmapped, elsewhere]).await;
        let info = facts(&mut client, "db-info").await;
        assert_eq!(info["env"]["DB_TOKEN"], value);
        assert!(!info["env"].to_string().contains("third"), "{info}");
        assert_ne!(info["pid"], shared["pid"]);
        let files = facts(&mut client, "files-info").await;
        assert!(!files["env"].to_string().contains("hidden"), "{files}");
        // whatever that server says of it is not for the log
        let says = json!({"lines": [format!("no JSON: {value}")]});
        client.call("postgres-emit", &says).await;
        client
            .call(
                "postgres-stderr",
                &json!({"text": format!("token {value}")}),
            )
            .await;
        own.push((client, info["pid"].clone()));
    }
    assert_ne!(own[0].1, own[1].1);
    assert_eq!(facts(&mut own[0].0, "db-info").await["pid"], own[0].1);
    assert_eq!(facts(&mut plain, "db-info").await["pid"], shared["pid"]);
    all.until_logged("no JSON: ***").await;
    let admin = exchange(all.admin(), Request::get("/bridges")).await.text();
    assert!(!admin.contains("hidden"), "{admin}");
    // an end says more than most
    let answer = own[0]
        .0
        .call("db-crash", &json!({"stderr": "it was first-hidden"}))
        .await;
    assert!(answer["error"].is_object());
    assert!(!answer.to_string().contains("hidden"), "{answer}");
    assert_eq!(
        facts(&mut own[0].0, "db-info").await["env"]["DB_TOKEN"],
        "first-hidden"
    );
    assert!(!all.log().contains("hidden"));
}

#[tokio::test]
async fn each_call_of_a_tool_has_a_line_in_the_audit_and_is_counted() {
    let all = keyed().await;
    let mut team = client(&all, &[TEAM]).await;
    let long = "x".repeat(10_000);
    team.call(
        "db-echo",
        &json!({"secret": "argument-hidden", "long": long}),
    )
    .await;
    team.call("db-fail", &json!({})).await;
    let line = async |outcome: &str| {
        until(format!("a line with {outcome}"), async || {
            let log = all.log();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| {
                line["target"] == "audit"
                    && line
                        .to_string()
                        .contains(&format!("\"outcome\":\"{outcome}\""))
            })
        })
        .await
    };
    let fields = |line: &Value| line.get("fields").unwrap_or(line).clone();
    let ok = fields(&line("ok").await);
    for (field, want) in [
        ("key", json!("team")),
        ("model", json!("mcp")),
        ("bridge", json!("postgres")),
        ("tool", json!("echo")),
    ] {
        assert_eq!(ok[field], want, "{ok}");
    }
    assert!(
        ok["duration_ms"].is_u64() && ok.get("arguments").is_none(),
        "{ok}"
    );
    assert_eq!(fields(&line("error").await)["tool"], "fail");
    assert!(!all.log().contains("hidden"));

    let metrics = exchange(all.admin(), Request::get("/metrics")).await.text();
    let own = all
        .ask(with(Request::get("/metrics"), &[MASTER]))
        .await
        .text();
    for text in [metrics, own] {
        let counted = |outcome: &str| {
            let labels = format!("bridge=\"postgres\",outcome=\"{outcome}\"");
            let mut lines = text.lines();
            let line = lines.find(|line| {
                line.starts_with("mcp_bridged_gateway_tool_calls_total") && line.contains(&labels)
            });
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        assert_eq!(counted("ok"), Some(1), "{text}");
        assert_eq!(counted("error"), Some(1), "{text}");
    }
}

#[tokio::test]
async fn arguments_are_in_the_audit_where_they_are_wanted() {
    let all = Behind::start("audit_arguments: true", &bridges()).await;
    let mut client = client(&all, &[]).await;
    assert_eq!(
        text(&client.call("db-sleep", &json!({"ms": 1})).await),
        "slept"
    );
    all.until_logged(r#"{\"ms\":1}"#).await;
    let long = "é".repeat(10_000);
    client.call("db-echo", &json!({"long": long})).await;
    all.until_logged(r#""tool":"echo""#).await;
    let log = all.log();
    let line = log.lines().find(|line| line.contains(r#""tool":"echo""#));
    assert!(line.unwrap().len() < 10_000);
}

#[tokio::test]
async fn a_path_that_is_no_text_needs_a_key_and_names_nothing() {
    let all = keyed().await;
    for path in ["/v1/models/%ff", "/v1/responses/%ff"] {
        let response = all.ask(Request::get(path)).await;
        assert_eq!(response.status(), 401, "{path}");
        let response = all.ask(with(Request::get(path), &[MASTER])).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.json()["error"]["type"], "invalid_request_error");
    }
}
