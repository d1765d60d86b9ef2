//! The built-in model over a real database: what the README asks for.

use serde_json::{Value, json};

use super::gateway::until_listed;
use super::installed;
use super::postgres::{self, Postgres};
use crate::harness::http::exchange;
use crate::harness::sse::Events;
use crate::harness::{Connection, Daemon, Request};

#[tokio::test]
async fn the_built_in_model_lists_the_schemas_of_a_database() {
    let Some(installed) = installed(&[postgres::SERVER]) else {
        return;
    };
    let Some(database) = Postgres::start().await else {
        return;
    };
    let server = installed.path(postgres::SERVER);
    let url = database.url();
    let postgres = json!({"port": 0, "aliases": ["db"], "command": server, "args": [url]});
    let models = json!([{"model_name": "gpt-4o-mock", "provider": "mock"}]);
    let config = json!({
        "bridges": {"demo": {"port": 0, "demo": true}, "postgres": postgres},
        "gateway": {"port": 0, "model_list": models},
    });
    let daemon = Daemon::start(&config.to_string()).await;
    let addr = daemon.gateway();
    until_listed(addr).await;

    let list = exchange(addr, Request::get("/v1/models")).await.json();
    let tools = list["data"][0]["tools"].as_array().unwrap();
    assert!(tools.contains(&json!("postgres-list_schemas")), "{list}");
    assert!(tools.contains(&json!("demo-echo")), "{list}");
    let narrow = Request::get("/v1/models").header("x-mcp-servers", "db");
    let list = exchange(addr, narrow).await.json();
    assert_eq!(list["data"][0]["mcp_servers"], json!(["postgres"]));

    let mut connection = Connection::open(addr).await;
    connection.request(&Request::get("/mcp/tools")).await;
    let mut events = Events::new(connection);
    let mut names = Vec::new();
    loop {
        let event = events.next().await;
        if event.event.as_deref() == Some("done") {
            break;
        }
        names.push(event.json()["name"].clone());
    }
    assert!(names.contains(&json!("postgres-list_schemas")), "{names:?}");
    events.ended().await;

    for kind in ["input_text", "text"] {
        let content = json!([{"type": kind, "text": "List schemas."}]);
        let body = json!({"model": "gpt-4o-mock", "input": [{"role": "user", "content": content}]});
        let request = Request::post("/v1/responses", body.to_string());
        check_schemas(&exchange(addr, request).await.json());
    }
}

/// The tool was called, and the text is made of its result.
fn check_schemas(response: &Value) {
    let output = response["output"].as_array().unwrap();
    let mut items = output.iter();
    let call = items.find(|item| item["type"] == "mcp_call").unwrap();
    assert_eq!(call["server_label"], "postgres", "{response}");
    assert_eq!(call["name"], "list_schemas");
    assert!(call["output"].as_str().unwrap().contains("pg_catalog"));
    let text = output.last().unwrap()["content"][0]["text"].as_str();
    assert!(text.unwrap().contains("pg_catalog"), "{response}");
}
