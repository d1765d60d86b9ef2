//! The stateless revision on the gateway's `/mcp`: all bridges as one server, for clients without a session.

use serde_json::{Value, json};

use crate::harness::behind::{config, names};
use crate::harness::fake::entry;
use crate::harness::sse::Events;
use crate::harness::stateless::subscription;
use crate::harness::{Behind, Stateless};

async fn two(gateway: &str) -> Behind {
    let all = ["one", "two"].map(|name| entry(name, "", &["--scheme", name]));
    Behind::start(gateway, &all).await
}

fn client(all: &Behind, capabilities: &Value) -> Stateless {
    Stateless::new(all.gateway(), capabilities)
}

#[tokio::test]
async fn all_bridges_are_discovered_listed_and_called_as_one() {
    let all = two("").await;
    let mut client = client(&all, &json!({}));
    let found = client.request("server/discover", &Value::Null).await["result"].clone();
    assert_eq!(found["supportedVersions"][0], "2026-07-28");
    assert_eq!(
        found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "mcp-bridged"
    );
    let tools = client.request("tools/list", &Value::Null).await["result"].clone();
    assert_eq!(
        (&tools["resultType"], &tools["ttlMs"]),
        (&json!("complete"), &json!(0))
    );
    let names = names(&tools["tools"]);
    assert!(
        names.contains(&"one-echo") && names.contains(&"two-echo"),
        "{names:?}"
    );
    for server in ["one", "two"] {
        let answer = client
            .call(&format!("{server}-echo"), &json!({"to": server}))
            .await;
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
        let params = &answer["result"]["params"];
        assert_eq!(
            (&params["name"], &params["arguments"]["to"]),
            (&json!("echo"), &json!(server))
        );
        let uri = format!("{server}://a");
        let read = client.request("resources/read", &json!({"uri": uri})).await;
        assert_eq!(read["result"]["contents"][0]["uri"], uri);
    }
    // a client with a handshake gets the code of its own revision
    let missing = json!({"uri": "none://x"});
    let read = client.request("resources/read", &missing).await;
    assert_eq!(read["error"]["code"], -32602, "{read}");
    let read = all
        .streamable(&json!({}))
        .await
        .request("resources/read", &missing)
        .await;
    assert_eq!(read["error"]["code"], -32002, "{read}");
    let params =
        json!({"name": "two-progress", "arguments": {"n": 2}, "_meta": {"progressToken": "p"}});
    let (_, before) = client.request_all("tools/call", &params).await;
    assert!(
        before.iter().all(|m| m["params"]["progressToken"] == "p") && before.len() == 2,
        "{before:?}"
    );
    let (_, reply) = client.start("unknown/method", &Value::Null).await;
    assert_eq!(reply.status(), 404);
}

#[tokio::test]
async fn what_a_bridge_asks_is_answered_by_the_retry() {
    let all = two("").await;
    let mut client = client(&all, &json!({"elicitation": {}}));
    for server in ["one", "two", "one"] {
        let params = json!({"name": format!("{server}-ask"), "arguments": {"method": "elicitation/create", "params": {"message": server}}});
        let asked = client.request("tools/call", &params).await["result"].clone();
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let requests = asked["inputRequests"].as_object().unwrap();
        let (key, request) = requests.iter().next().unwrap();
        assert_eq!(request["params"]["message"], *server);
        let mut retry = params.clone();
        retry["requestState"] = asked["requestState"].clone();
        retry["inputResponses"] = json!({key: {"action": "accept", "content": {"of": server}}});
        let answer = client.request("tools/call", &retry).await;
        let text = answer["result"]["content"][0]["text"].as_str();
        assert!(
            text.is_some_and(|text| text.contains("accept") && text.contains(server)),
            "{answer}"
        );
    }
    let told = all.received("one", "initialize");
    let kept = told
        .iter()
        .filter(|line| line["params"]["capabilities"] == json!({"elicitation": {}}));
    assert_eq!(
        kept.count(),
        1,
        "one process for the class, kept for the second call"
    );
}

#[tokio::test]
async fn a_modern_server_behind_it_hears_what_the_client_can_be_asked() {
    let all = Behind::start("", &[entry("new", "", &["--modern"])]).await;
    let declared = json!({"elicitation": {}});
    let mut client = client(&all, &declared);
    let seen = client.call("new-echo", &json!({})).await["result"]["params"]["_meta"].clone();
    assert_eq!(seen["io.modelcontextprotocol/clientCapabilities"], declared);
    assert_eq!(
        seen["io.modelcontextprotocol/clientInfo"]["name"],
        "stateless"
    );
}

#[tokio::test]
async fn a_stream_tells_of_changes_in_all_of_them() {
    let all = two("").await;
    let mut client = client(&all, &json!({}));
    let wish = json!({"toolsListChanged": true, "resourceSubscriptions": ["two://a", "none://x"]});
    let (id, honoured, mut events) = client.listen(&wish).await;
    assert_eq!(
        honoured,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["two://a"]})
    );
    client.call("two-update", &json!({"uri": "two://a"})).await;
    let message = events.message().await;
    assert_eq!(
        (&message["params"]["uri"], subscription(&message)),
        (&json!("two://a"), json!(id))
    );
    client
        .call("one-list_changed", &json!({"add": "fresh"}))
        .await;
    let message = events.message().await;
    assert_eq!(message["method"], "notifications/tools/list_changed");
    assert_eq!(subscription(&message), json!(id));
    let tools = client.request("tools/list", &Value::Null).await;
    assert!(names(&tools["result"]["tools"]).contains(&"one-fresh"));
}

/// What comes on a stream until it is closed.
async fn rest(mut events: Events) -> Vec<Value> {
    let mut rest = Vec::new();
    while let Some(event) = events.try_next().await {
        rest.push(serde_json::from_str(&event.data).unwrap());
    }
    rest
}

#[tokio::test]
async fn a_stream_ends_with_the_gateway_and_is_told_of_nothing_else() {
    let mut all = two("").await;
    let mut client = client(&all, &json!({}));
    let (id, _, events) = client.listen(&json!({"toolsListChanged": true})).await;
    let (rest, code) = tokio::join!(rest(events), all.stop());
    assert_eq!(code, Some(0));
    let [end] = rest.as_slice() else {
        panic!("{rest:?}");
    };
    assert_eq!(
        (&end["id"], &end["result"]["resultType"]),
        (&json!(id), &json!("complete"))
    );
}

#[tokio::test]
async fn a_stream_ends_with_the_key_that_opened_it() {
    let gateway = "master_key: mm\nvirtual_keys: [{ api_key: aa }]\n";
    let bridges = ["one", "two"].map(|name| entry(name, "", &["--scheme", name]));
    let all = Behind::start(gateway, &bridges).await;
    let streams = async |key: &str| {
        let mut client = client(&all, &json!({}));
        let header = ("authorization".to_owned(), format!("Bearer {key}"));
        client.headers.push(header);
        client.listen(&json!({"toolsListChanged": true})).await
    };
    let (id, _, revoked) = streams("aa").await;
    let (other, _, mut stays) = streams("mm").await;
    all.reload(&config("master_key: mm\n", &bridges));
    let rest = rest(revoked).await;
    assert_eq!(rest.last().unwrap()["id"], id, "{rest:?}");
    let mut master = client(&all, &json!({}));
    let header = ("authorization".to_owned(), "Bearer mm".to_owned());
    master.headers.push(header);
    master
        .call("one-list_changed", &json!({"add": "fresh"}))
        .await;
    assert_eq!(subscription(&stays.message().await), json!(other));
}

#[tokio::test]
async fn a_key_sees_what_it_is_granted_and_no_other_may_go_on_with_its_calls() {
    let keys = "master_key: mm\nvirtual_keys:\n- { api_key: aa, mcp_servers: [one] }\n- { api_key: bb, mcp_servers: [one] }\n";
    let all = two(keys).await;
    let with = |key: &str| {
        let mut client = client(&all, &json!({"elicitation": {}}));
        client
            .headers
            .push(("authorization".to_owned(), format!("Bearer {key}")));
        client
    };
    let mut one = with("aa");
    let tools = one.request("tools/list", &Value::Null).await;
    assert!(
        names(&tools["result"]["tools"])
            .iter()
            .all(|name| name.starts_with("one-"))
    );
    let params = json!({"name": "one-ask", "arguments": {"method": "elicitation/create"}});
    let asked = one.request("tools/call", &params).await["result"].clone();
    let key = asked["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let mut retry = params.clone();
    retry["requestState"] = asked["requestState"].clone();
    retry["inputResponses"] = json!({key: {"action": "accept"}});
    let error = with("bb").request("tools/call", &retry).await;
    assert_eq!(error["error"]["code"], -32602, "{error}");
    assert!(one.request("tools/call", &retry).await["result"].is_object());
    let (_, reply) = client(&all, &json!({}))
        .start("tools/list", &Value::Null)
        .await;
    assert_eq!(reply.status(), 401);
}
