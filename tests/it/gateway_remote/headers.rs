//! Headers that a client sends for one remote server: here another gateway, which makes a variable of its own server of them.

use serde_json::{Value, json};

use super::{Pair, remote};
use crate::harness::chats::{self, Way};
use crate::harness::fake::entry;
use crate::harness::{Behind, Streamable};

/// What the client sends for `one` alone.
const HEADER: (&str, &str) = ("x-mcp-uno-x-mcp-inner-x-token", "hidden-token");

/// Two remote servers that are the same gateway, by both transports.
async fn chained() -> Pair {
    let inner = entry("inner", "headers_to_env: { x-token: TOKEN }", &[]);
    let far = Behind::start("", &[inner]).await;
    let one = remote("one", far.addr(), "aliases: [uno]");
    let old = remote("old", far.addr(), "");
    Pair::of(far, &[one, old]).await
}

/// The variable that the server has in a call.
async fn token(client: &mut Streamable, tool: &str) -> Value {
    let answer = client.call(tool, &json!({})).await;
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"]["structuredContent"]["env"]["TOKEN"].clone()
}

async fn client(pair: &Pair, headers: &[(&str, &str)]) -> Streamable {
    let mut client = Streamable::new(pair.near.addr());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    client.headers = headers.iter().map(owned).collect();
    client.initialize("2025-11-25", &json!({})).await;
    client
}

#[tokio::test]
async fn a_header_reaches_one_server_for_one_client() {
    let pair = chained().await;
    let mut plain = client(&pair, &[]).await;
    let mut personal = client(&pair, &[HEADER]).await;
    let mut other = client(&pair, &[("x-mcp-old-x-mcp-inner-x-token", "hidden-other")]).await;
    for _ in 0..2 {
        assert_eq!(token(&mut personal, "one-inner-info").await, "hidden-token");
        assert_eq!(token(&mut personal, "old-inner-info").await, Value::Null);
        assert_eq!(token(&mut plain, "one-inner-info").await, Value::Null);
        assert_eq!(token(&mut plain, "old-inner-info").await, Value::Null);
        assert_eq!(token(&mut other, "one-inner-info").await, Value::Null);
        assert_eq!(token(&mut other, "old-inner-info").await, "hidden-other");
    }
    assert!(!pair.near.log().contains("hidden"));
}

#[tokio::test]
async fn a_header_goes_with_a_chat_and_not_to_the_model() {
    let pair = chained().await;
    let turns = json!([{"calls": [["one-inner-info", {}], ["old-inner-info", {}]]}]);
    for way in Way::ALL {
        let request = way.request(&turns).header(HEADER.0, HEADER.1);
        let results = chats::send(pair.near.addr(), way, request).await.results();
        let has: Vec<_> = results
            .iter()
            .map(|result| result.contains("hidden-token"))
            .collect();
        assert_eq!(has, [true, false], "{way:?}");
        let results = chats::ask(pair.near.addr(), way, &turns).await.results();
        assert!(!results.concat().contains("hidden"), "{results:?}");
    }
    for asked in pair.model.requests() {
        assert!(!format!("{:?}", asked.headers).contains("hidden"));
    }
    assert!(!pair.near.log().contains("hidden"));
}

#[tokio::test]
async fn a_clients_own_credentials_stand_in_for_ours() {
    let guarded = entry("web", "api_keys: [the-right-key, a-clients-key]", &[]);
    let far = Behind::start("", &[guarded]).await;
    let auth = "auth_type: bearer_token\nauth_value: the-right-key";
    let web = remote("web", far.bridge("web"), auth);
    let pair = Pair::of(far, &[web]).await;
    for (value, is_right) in [
        ("Bearer a-clients-key", true),
        ("Bearer a-wrong-key", false),
    ] {
        let mut client = client(&pair, &[("x-mcp-web-authorization", value)]).await;
        let answer = client.call("web-sleep", &json!({})).await;
        assert_eq!(answer["result"].is_object(), is_right, "{answer}");
        if !is_right {
            let message = answer["error"]["message"].as_str().unwrap();
            let words = "refused the credentials that the client sent for it (HTTP 401)";
            assert!(message.contains(words), "{answer}");
        }
        let request = Way::Chat.request(&json!([{"calls": [["web-sleep", {}]]}]));
        let request = request.header("x-mcp-web-authorization", value);
        let results = chats::send(pair.near.addr(), Way::Chat, request)
            .await
            .results();
        assert_eq!(results[0] == "slept", is_right, "{results:?}");
    }
    // which is nobody else's concern
    assert_eq!(pair.near.standing().await[0]["note"], Value::Null);
    assert!(!pair.near.log().contains("-key"));
}
