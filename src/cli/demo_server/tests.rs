//! The demo server over pipes: what a client writes, what it reads.

use std::io::{BufReader, PipeReader, PipeWriter, pipe};
use std::thread::JoinHandle;

use super::*;

/// A running server and the client's ends of its pipes.
struct Client {
    to: PipeWriter,
    from: BufReader<PipeReader>,
    server: JoinHandle<io::Result<()>>,
}

impl Client {
    fn start() -> Self {
        let (input, to) = pipe().unwrap();
        let (from, output) = pipe().unwrap();
        Self {
            to,
            from: BufReader::new(from),
            server: thread::spawn(move || serve(BufReader::new(input), output)),
        }
    }

    fn send(&mut self, line: &str) {
        self.to.write_all(line.as_bytes()).unwrap();
        self.to.write_all(b"\n").unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.send(
            &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string(),
        );
        let answer = self.next();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    fn call(&mut self, name: &str, arguments: &Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        self.request("tools/call", &params)["result"].clone()
    }

    /// Closes stdin, and returns what the server still wrote.
    fn close(mut self) -> String {
        drop(self.to);
        self.server.join().unwrap().unwrap();
        let mut rest = String::new();
        io::Read::read_to_string(&mut self.from, &mut rest).unwrap();
        rest
    }
}

#[test]
fn the_revision_is_the_clients_if_known_else_the_newest() {
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut client = Client::start();
        let answer = client.request("initialize", &json!({"protocolVersion": asked}));
        assert_eq!(answer["result"]["protocolVersion"], agreed);
    }
}

#[test]
fn tools_give_text_and_structure() {
    let mut client = Client::start();
    let echo = client.call("echo", &json!({"message": "a\u{2028}\nb"}));
    assert_eq!(echo["content"][0]["text"], "a\u{2028}\nb");
    let add = client.call("add", &json!({"a": 9_007_199_254_740_993_i64, "b": 1}));
    assert_eq!(
        add["structuredContent"]["sum"], 9_007_199_254_740_994_i64,
        "integers are added exactly"
    );
    assert_eq!(
        client.call("add", &json!({"a": 0.5, "b": 1}))["structuredContent"],
        json!({"sum": 1.5})
    );
    let info = client.call("server_info", &json!({}));
    assert_eq!(info["structuredContent"]["calls"], 4);
    assert_eq!(info["structuredContent"]["pid"], std::process::id());
}

#[test]
fn every_listed_tool_exists() {
    let mut client = Client::start();
    let listed = client.request("tools/list", &json!({}));
    for tool in listed["result"]["tools"].as_array().unwrap() {
        let answer = client.request("tools/call", &json!({"name": tool["name"]}));
        assert!(answer["result"]["content"].is_array(), "{tool}: {answer}");
    }
}

#[test]
fn a_count_reports_progress_and_blocks_nobody() {
    let mut client = Client::start();
    let call = r#"{"jsonrpc":"2.0","id":"slow","method":"tools/call","params":{"name":"count","arguments":{"n":2,"delay_ms":60000},"_meta":{"progressToken":"t"}}}"#;
    client.send(call);
    assert_eq!(
        client.call("echo", &json!({"message": "x"}))["content"][0]["text"],
        "x"
    );
    client.send(&call.replace("slow", "quick").replace("60000", "0"));
    for step in 1..=2 {
        let progress = client.next();
        assert_eq!(progress["method"], "notifications/progress");
        assert_eq!(progress["params"]["progressToken"], "t");
        assert_eq!(progress["params"]["progress"], step);
    }
    let answer = client.next();
    assert_eq!(answer["id"], "quick");
    assert_eq!(answer["result"]["structuredContent"]["counted"], 2);
    assert_eq!(client.close(), "", "end of input cancels the slow count");
}

#[test]
fn a_cancelled_count_is_not_answered() {
    let mut client = Client::start();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","arguments":{"n":1,"delay_ms":60000}}}"#);
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    assert_eq!(client.request("ping", &Value::Null)["result"], json!({}));
    assert_eq!(client.close(), "");
}

#[test]
fn logs_come_only_after_a_level_was_set() {
    let mut client = Client::start();
    assert_eq!(client.call("count", &json!({"n": 1}))["isError"], false);
    client.request("logging/setLevel", &json!({"level": "info"}));
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","arguments":{"n":1}}}"#);
    let log = client.next();
    assert_eq!(log["params"]["level"], "info");
    assert_eq!(client.next()["id"], 1);
}

#[test]
fn resources_and_the_prompt_can_be_read() {
    let mut client = Client::start();
    let read = client.request("resources/read", &json!({"uri": "demo://readme"}));
    let text = &read["result"]["contents"][0]["text"];
    assert!(text.as_str().unwrap().starts_with("# Demo server"));
    let read = client.request("resources/read", &json!({"uri": "demo://greeting/Ada"}));
    assert_eq!(read["result"]["contents"][0]["text"], "Hello, Ada!");
    let get = json!({"name": "explain", "arguments": {"topic": "pipes"}});
    let prompt = client.request("prompts/get", &get);
    assert_eq!(
        prompt["result"]["messages"][0]["content"]["text"],
        "Explain in three sentences: pipes"
    );
}

#[test]
fn errors_have_their_codes() {
    let mut client = Client::start();
    for (line, id, code) in [
        ("{nonsense", json!(null), PARSE_ERROR),
        ("[]", json!(null), INVALID_REQUEST),
        (
            r#"{"id":null,"method":"ping"}"#,
            json!(null),
            INVALID_REQUEST,
        ),
        (r#"{"id":1,"method":"nope"}"#, json!(1), METHOD_NOT_FOUND),
        (
            r#"{"id":"1","method":"tools/call"}"#,
            json!("1"),
            INVALID_PARAMS,
        ),
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"nope"}}"#,
            json!(1),
            INVALID_PARAMS,
        ),
        (
            r#"{"id":1,"method":"prompts/get","params":{"name":"explain"}}"#,
            json!(1),
            INVALID_PARAMS,
        ),
        (
            r#"{"id":1,"method":"logging/setLevel","params":{"level":"loud"}}"#,
            json!(1),
            INVALID_PARAMS,
        ),
        (
            r#"{"id":1,"method":"resources/read","params":{"uri":"demo://no"}}"#,
            json!(1),
            RESOURCE_NOT_FOUND,
        ),
    ] {
        client.send(line);
        let answer = client.next();
        assert_eq!(answer["id"], id, "{line}");
        assert_eq!(answer["error"]["code"], code, "{line}");
    }
    let bad = client.call("count", &json!({"n": -1}));
    assert_eq!(bad["isError"], true, "the model can read and mend it");
}

#[test]
fn blank_lines_and_unknown_notifications_are_nothing() {
    let mut client = Client::start();
    client.send("\r");
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    client.send(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
    assert_eq!(client.close(), "");
}
