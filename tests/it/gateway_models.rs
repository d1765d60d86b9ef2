//! `/v1/models`: each model with the tools and servers that the request may use.

use std::fs;

use serde_json::{Value, json};

use crate::harness::fake::entry;
use crate::harness::http::Response;
use crate::harness::model::Model;
use crate::harness::{Behind, Connection, Request, until};

const MOCK: &str = "model_list: [{ model_name: gpt-4o-mock, provider: mock }]";

fn bridges() -> [String; 2] {
    let few = ["--hide-tools", "--tool", "list_schemas"];
    [
        entry("postgres", "aliases: [db]\nstart_wait: 1ms", &few),
        entry("files", "", &["--hide-tools", "--tool", "read"]),
    ]
}

async fn ask(all: &Behind, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    all.ask(request).await
}

#[tokio::test]
async fn models_have_the_tools_and_servers_that_the_header_chooses() {
    let all = Behind::start(MOCK, &bridges()).await;
    for path in ["/v1/models", "/models"] {
        let list = ask(&all, path, &[]).await.json();
        assert_eq!(list["object"], "list");
        let model = &list["data"][0];
        assert_eq!(model["id"], "gpt-4o-mock");
        assert_eq!(model["object"], "model");
        assert_eq!(
            model["tools"],
            json!(["postgres-list_schemas", "files-read"])
        );
        assert_eq!(model["mcp_servers"], json!(["postgres", "files"]));
        assert_eq!(model.get("mcp_notes"), None, "{model}");
    }
    for path in ["/v1/models/gpt-4o-mock", "/models/gpt-4o-mock"] {
        let model = ask(&all, path, &[("x-mcp-servers", "db")]).await.json();
        assert_eq!(model["id"], "gpt-4o-mock");
        assert_eq!(model["tools"], json!(["postgres-list_schemas"]));
        assert_eq!(model["mcp_servers"], json!(["postgres"]));
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_noted_beside_the_tools() {
    let down = ["--fail-while", "{dir}/bridges.yaml"];
    let bridges = [entry("one", "", &down), bridges()[1].clone()];
    let all = Behind::begin(MOCK, &bridges).await;
    all.until_noted("files", Value::is_null).await;
    until("the notes", async || {
        let model = ask(&all, "/v1/models/gpt-4o-mock", &[]).await.json();
        let note = model["mcp_notes"]["one"].as_str()?.to_owned();
        let listed = model["tools"] == json!(["files-read"]);
        assert_eq!(model["mcp_notes"].get("files"), None);
        assert_eq!(model["mcp_servers"], json!(["one", "files"]));
        (listed && note.contains("code 1")).then_some(())
    })
    .await;
    let chosen = [("x-mcp-servers", "files")];
    let model = ask(&all, "/v1/models/gpt-4o-mock", &chosen).await.json();
    assert_eq!(model.get("mcp_notes"), None, "{model}");
    // and when it is there, the note is gone
    fs::rename(all.path("bridges.yaml"), all.path("elsewhere")).unwrap();
    until("no notes", async || {
        let model = ask(&all, "/v1/models/gpt-4o-mock", &[]).await.json();
        model.get("mcp_notes").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_model_that_is_not_there_or_not_granted_is_an_error_in_openais_shape() {
    let keys = "master_key: m\nvirtual_keys: [{ name: team, api_key: t, models: [\"gpt-*\"] }]";
    let upstream = Model::start([]).await;
    upstream.lists(&["gpt-x", "org/claude"]);
    let models = format!(
        "model_list:\n  - {{ model_name: gpt-4o-mock, provider: mock }}\n  - {{ model_name: \"*\", api_base: \"{}\" }}",
        upstream.url()
    );
    let all = Behind::start(&format!("{keys}\n{models}"), &bridges()).await;
    let ids = async |key: &str| {
        let list = ask(&all, "/v1/models", &[("x-api-key", key)]).await.json();
        let data = list["data"].as_array().unwrap().iter();
        data.map(|model| model["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("m").await, ["gpt-4o-mock", "gpt-x", "org/claude"]);
    assert_eq!(ids("t").await, ["gpt-4o-mock", "gpt-x"]);
    for (key, path, status, code) in [
        ("m", "/v1/models/org/claude", 200, Value::Null),
        (
            "t",
            "/v1/models/org/claude",
            403,
            json!("model_not_allowed"),
        ),
        ("m", "/v1/models/nope", 404, json!("model_not_found")),
        ("t", "/models/gpt-nope", 404, json!("model_not_found")),
    ] {
        let response = ask(&all, path, &[("x-api-key", key)]).await;
        assert_eq!(response.status(), status, "{}", response.text());
        let body = response.json();
        assert_eq!(body["error"]["code"], code, "{body}");
        if status == 200 {
            assert_eq!(
                body["tools"],
                json!(["postgres-list_schemas", "files-read"])
            );
        }
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_errors_in_openais_shape() {
    let all = Behind::start(MOCK, &bridges()).await;
    for (request, status) in [
        (Request::new("DELETE", "/v1/models"), 405),
        (Request::post("/v1/models", "{}"), 405),
        (Request::get("/v1/nothing"), 404),
        (Request::get("/.well-known/oauth-authorization-server"), 404),
        (
            Request::get("/v1/models").header("host", "evil.example"),
            403,
        ),
    ] {
        let response = all.ask(request.clone()).await;
        assert_eq!(response.status(), status, "{request:?}");
        let body = response.json();
        let says = body["error"]["message"].as_str().unwrap();
        assert!(
            !says.is_empty() && body["error"]["type"].is_string(),
            "{body}"
        );
    }
    let head = Request::new("HEAD", "/v1/models");
    let head = Connection::open(all.addr()).await.request(&head).await;
    assert_eq!(head.status, 200);
}
