//! The openai SDK for Python as a client of the gateway.

use serde_json::{Value, json};

use super::Installed;
use super::gateway::{
    EVERYTHING, FILESYSTEM, Gateway, KEY, MODEL_KEY, PYTHON, Servers, content, messages, offered,
};
use crate::harness::model::{Model, Turn};

mod chat;
mod responses;

const NEEDED: [&str; 3] = [PYTHON, EVERYTHING, FILESYSTEM];
const ANSWER: &str = "42, two legs, public";

/// What a model does that uses every server: three tools at once, then one more, then it answers.
fn plan(calls: &[(String, Value)], request: &Value) -> Turn {
    let results = messages(request, "tool").len();
    let calls: Vec<_> = calls
        .iter()
        .map(|(name, arguments)| (name.as_str(), arguments.clone()))
        .collect();
    if results == 0 {
        Turn::calls(&calls)
    } else if results == calls.len() {
        Turn::calls(&[("everything-get-tiny-image", json!({}))])
    } else {
        Turn::text(ANSWER)
    }
}

/// A gateway over all servers whose model follows [`plan`], and how many calls its first turn has.
async fn planned(servers: &Servers) -> (Gateway, usize) {
    let path = servers.files.path().join("heron.txt");
    let mut calls = vec![
        ("everything-get-sum".to_owned(), json!({"a": 40, "b": 2})),
        (
            "filesystem-read_text_file".to_owned(),
            json!({"path": path}),
        ),
    ];
    if servers.database.is_some() {
        calls.push(("postgres-list_schemas".to_owned(), json!({})));
    }
    let count = calls.len();
    let model = Model::answering(move |request| plan(&calls, request)).await;
    let gateway = Gateway::start(&servers.bridges, model).await;
    (gateway, count)
}

/// The three requests that the model got for one request of the client.
fn check_rounds(requests: &[Value], calls: usize) {
    assert_eq!(requests.len(), 3, "{requests:?}");
    let names = offered(&requests[0]);
    assert!(names.contains(&"everything-get-sum"), "{names:?}");
    assert!(names.contains(&"filesystem-read_text_file"), "{names:?}");
    let results = messages(&requests[1], "tool");
    assert_eq!(results.len(), calls);
    let asked = messages(&requests[1], "assistant")[0];
    for (index, result) in results.iter().enumerate() {
        let id = &asked["tool_calls"][index]["id"];
        assert_eq!(&result["tool_call_id"], id, "{requests:?}");
    }
    assert!(content(results[0]).contains("42"), "{results:?}");
    assert!(content(results[1]).contains("two legs"), "{results:?}");
    if let Some(schemas) = results.get(2) {
        assert!(content(schemas).contains("public"), "{results:?}");
    }
    for message in requests[2]["messages"].as_array().unwrap() {
        // an image is a part of its own
        assert!(!content(message).contains("iVBORw0KGgo"), "{message}");
    }
    let last = requests[2].to_string();
    assert!(last.contains("data:image/png;base64,iVBORw0KGgo"), "{last}");
    for request in requests {
        assert_eq!(request["top_k"], 7, "{request}");
    }
}

/// The bodies of the model's requests after the first `before`, which came with the model's key and not the client's.
fn taken(gateway: &Gateway, before: usize) -> Vec<Value> {
    let requests = gateway.model.requests();
    let new = requests[before..].iter();
    new.map(|request| {
        assert_eq!(
            request.headers["authorization"],
            format!("Bearer {MODEL_KEY}")
        );
        let headers = format!("{:?}", request.headers);
        assert!(!headers.contains(KEY), "{headers}");
        request.body.clone()
    })
    .collect()
}

/// A gateway over server-everything whose model echoes what the user says.
async fn echoing(installed: &Installed) -> Gateway {
    let model = Model::answering(|request| match messages(request, "tool").last() {
        None => {
            let question = content(messages(request, "user")[0]);
            Turn::calls(&[("everything-echo", json!({"message": question}))])
        }
        Some(result) => Turn::text(&content(result)),
    })
    .await;
    let server = installed.path(EVERYTHING);
    let bridges = json!({"everything": {"port": 0, "command": server, "args": ["stdio"]}});
    Gateway::start(&bridges, model).await
}

/// A turn that calls a tool of ours and one of the client's.
fn mixed() -> Turn {
    let own = ("lookup", json!({"word": "heron"}));
    Turn::calls(&[("demo-add", json!({"a": 40, "b": 2})), own])
}

/// The client's tool in [`mixed`], as the function's members.
fn lookup() -> Value {
    let parameters = json!({"type": "object", "properties": {"word": {"type": "string"}}});
    json!({"name": "lookup", "parameters": parameters})
}

/// The model sees both of its calls, and both results.
fn check_continuation(request: &Value) {
    let asked = messages(request, "assistant")[0]["tool_calls"]
        .as_array()
        .unwrap();
    assert_eq!(asked.len(), 2, "{request}");
    let results = messages(request, "tool");
    assert_eq!(results.len(), 2, "{request}");
    for call in asked {
        let mut results = results.iter();
        let result = results
            .find(|result| result["tool_call_id"] == call["id"])
            .unwrap();
        let is_ours = call["function"]["name"] == "demo-add";
        let expected = if is_ours { "42" } else { "looked" };
        assert!(content(result).contains(expected), "{request}");
    }
}
