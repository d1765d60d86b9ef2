//! Nothing is lost in passing: the server reads the client's bytes and the client the server's, ids and tokens excepted.

use serde_json::{Value, json};

use crate::harness::raw::raw_at;
use crate::harness::{Fake, Raw, Streamable, fake, until};

/// Ways to write a request that a typed model would not keep. `ID` and `TOKEN` stand for what the bridge replaces,
/// `LS` for characters that end lines elsewhere.
const REQUESTS: [&str; 10] = [
    r#"{"jsonrpc":"2.0","id":ID,"method":"test/unknown"}"#,
    r#"{"method":"test/vendor\/x","params":{"z":1,"a":[12345678901234567890,1.0,-0.0,1e400,1E-7]},"id":ID,"jsonrpc":"2.0"}"#,
    r#" {  "jsonrpc" : "2.0" ,	"id" : ID , "method" : "test/spaces" , "params" : { } }  "#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"test/strings","params":{"s":"\ud800 \u0000 \/ \u00e9 é 🦀 \ud83e\udd80 LS"}}"#,
    r#"{"jsonrpc":"2.0","x-vendor":{"deep":[[[{}]]]},"id":ID,"method":"test/fields","params":{"_meta":{"traceparent":"00-1-2-01","progressToken":TOKEN,"v":1.0}},"trailing":null}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"_meta":{"progressToken":TOKEN},"arguments":{"a":1,"a":2,"":{"id":9,"progressToken":3}},"name":"echo"}}"#,
    r#"{"jsonrpc":"2.0","\u0069d":ID,"met\u0068od":"test/escaped-keys","params":{"_m\u0065ta":{"progressToke\u006e":TOKEN}}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"test/positional","params":[1,"two",{"progressToken":3}]}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"prompts/get","params":{"name":"echo","arguments":{"n":"01"},"task":{"ttl":60000}}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":"\\\"b"}}}"#,
];

/// Spellings of ids and tokens, all different.
const SPELLINGS: [&str; 10] = [
    "1",
    r#""1""#,
    "1.0",
    "9007199254740993",
    "12345678901234567890",
    r#""\ud800""#,
    "-0",
    "1e400",
    r#""""#,
    r#""\u0031é""#,
];

/// Unicode's line and paragraph separators, next line and delete: nothing special in JSON, nor in an event.
const LINE_ENDS: &str = "\u{2028}\u{2029}\u{85}\u{7f}";

/// The line that the server read for `template`, and the id that the bridge gave it.
async fn received(fake: &Fake, template: &str, from: usize) -> (String, String) {
    let (before, _) = template.split_once("ID").unwrap();
    let line = until(template, async || {
        let lines = fake.record().split_off(from);
        let mut lines = lines.into_iter();
        lines.rfind(|line| line.starts_with(before) && line.ends_with('\n'))
    })
    .await;
    let digits: String = line[before.len()..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    assert!(!digits.is_empty(), "{line}");
    (line, digits)
}

#[tokio::test]
async fn requests_of_every_form_arrive_as_they_were_written() {
    let fake = fake::fake("isolation: shared", &[]).await;
    for mut client in Raw::both(&fake).await {
        for (template, spelling) in REQUESTS.iter().zip(SPELLINGS) {
            let template = &template.replace("LS", LINE_ENDS);
            let from = fake.record().len();
            let sent = template.replace("ID", spelling).replace("TOKEN", spelling);
            let answer = client.answer(&sent).await;
            let (line, k) = received(&fake, template, from).await;
            let expected = template.replace("ID", &k).replace("TOKEN", &k);
            assert_eq!(line, format!("{expected}\n"), "{}", client.name());
            if template.contains("completion") {
                let result = r#"{"completion":{"values":["one","two"],"total":2}}"#;
                let whole = format!(r#"{{"jsonrpc":"2.0","id":{spelling},"result":{result}}}"#);
                assert_eq!(answer, whole);
                continue;
            }
            // the server shows what it read, so the whole answer is known
            let text = json!(expected.trim_ascii_end());
            let params = raw_at(&expected, &["params"]).unwrap_or("null".to_owned());
            let result =
                format!(r#"{{"content":[{{"type":"text","text":{text}}}],"params":{params}}}"#);
            let whole = format!(r#"{{"jsonrpc":"2.0","id":{spelling},"result":{result}}}"#);
            assert_eq!(answer, whole, "{}", client.name());
        }
    }
}

#[tokio::test]
async fn answers_of_every_form_arrive_as_they_were_written() {
    let answers = [
        r#"{"jsonrpc":"2.0","id":ID,"result":{"big":12345678901234567890,"f":1.0,"inf":1e400,"s":"\ud800\u0000\/","b":{"z":1,"a":2,"a":3}}}"#,
        r#"{ "result" : { } , "x-unknown" : [ 1.0 ] ,	"id" : ID , "jsonrpc" : "2.0" }"#,
        r#"{"error":{"code":-32000.0,"message":"é 🦀 LS","data":{"d":1e-400}},"id":ID,"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","\u0069d":ID,"result":"a string"}"#,
        r#"{"jsonrpc":"2.0","id":ID,"result":null}"#,
    ];
    let fake = fake::fake("isolation: shared", &[]).await;
    for mut client in Raw::both(&fake).await {
        for (answer, spelling) in answers.iter().zip(SPELLINGS.iter().cycle().skip(3)) {
            let answer = answer.replace("LS", LINE_ENDS);
            let lines = json!([answer.replace("ID", "$ID")]);
            let arguments = json!({"lines": lines, "answer": false});
            let call = json!({"name": "emit", "arguments": arguments});
            let sent = format!(
                r#"{{"jsonrpc":"2.0","id":{spelling},"method":"tools/call","params":{call}}}"#
            );
            let got = client.answer(&sent).await;
            assert_eq!(got, answer.replace("ID", spelling), "{}", client.name());
        }
    }
}

#[tokio::test]
async fn notifications_pass_both_ways_as_they_were_written() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let theirs = r#"{ "jsonrpc":"2.0", "method":"notifications/vendor\/thing","x":[1.0,1e400],"params":{"n":12345678901234567890} }"#;
    for mut client in Raw::both(&fake).await {
        let ours = format!(
            r#"{{"params":{{"of":"{}","n":12345678901234567890,"f":1.0,"s":"\ud800"}}, "jsonrpc":"2.0","method":"notifications/vendor/from-client","y":1e400}}"#,
            client.name()
        );
        client.tell(&ours).await;
        let line = fake.recorded(client.name()).await;
        assert_eq!(line, format!("{ours}\n"));
        let call = json!({"name": "emit", "arguments": {"lines": [theirs]}});
        let sent = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{call}}}"#);
        let texts = client.exchange(&sent).await;
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert_eq!(texts[0], theirs, "{}", client.name());
    }
}

#[tokio::test]
async fn line_breaks_between_tokens_become_spaces() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let sent = "{\r\n\t\"jsonrpc\": \"2.0\",\n\"id\":\r7,\n\n\"method\": \"test/lines\",\r\n\"params\": {\n\"s\": \"\\r\\n\"}\n}\n";
    let read = "{  \t\"jsonrpc\": \"2.0\", \"id\": K,  \"method\": \"test/lines\",  \"params\": { \"s\": \"\\r\\n\"} }";
    for mut client in Raw::both(&fake).await {
        let from = fake.record().len();
        let answer = client.answer(sent).await;
        assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some("7"));
        let line = fake
            .record()
            .into_iter()
            .skip(from)
            .find(|line| line.contains("test/lines"));
        let line = line.unwrap();
        let k = raw_at(&line, &["id"]).unwrap();
        assert_eq!(line.trim_end(), read.replace('K', &k), "{}", client.name());

        let lines = json!(["{\"jsonrpc\":\"2.0\",\r\"id\":$ID,\r\"result\":{\r\"a\":1}}\r"]);
        let call =
            json!({"name": "emit", "arguments": {"lines": lines, "answer": false, "end": "\r\n"}});
        let sent = format!(r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{call}}}"#);
        let answer = client.answer(&sent).await;
        let expected = r#"{"jsonrpc":"2.0", "id":"x", "result":{ "a":1}}"#;
        assert_eq!(answer.trim_end(), expected, "{}", client.name());
    }
}

#[tokio::test]
async fn five_megabytes_pass_both_ways() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let payload = "0123456789abcdef\\u00e9é".repeat(5 * 1024 * 1024 / 24);
    for mut client in Raw::both(&fake).await {
        let from = fake.record().len();
        let name = client.name();
        let params = format!(r#"{{"of":"{name}","payload":"{payload}"}}"#);
        let sent =
            format!(r#"{{"jsonrpc":"2.0","id":"big","method":"test/big","params":{params}}}"#);
        let answer = client.answer(&sent).await;
        let line = fake
            .record()
            .into_iter()
            .skip(from)
            .find(|line| line.contains("test/big"));
        let k = raw_at(line.as_deref().unwrap(), &["id"]).unwrap();
        let read = sent.replacen(r#""big""#, &k, 1);
        // not assert_eq: a failure would print it all
        assert!(line.unwrap().trim_end() == read, "{name}");
        assert_eq!(raw_at(&answer, &["id"]).as_deref(), Some(r#""big""#));
        assert!(
            raw_at(&answer, &["result", "params"]).unwrap() == params,
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_routing_could_read_in_two_ways_is_refused() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let refused = [
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"test/twice"}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"test/twice","method":"ping"}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"test/twice","params":{},"params":{}}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"test/twice"}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"test/twice","x":1,"x":2}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"test/twice"}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"test/twice"}"#,
            Value::Null,
        ),
        (
            r#"{"jsonrpc":"2.0","id":true,"method":"test/twice"}"#,
            Value::Null,
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"test/twice"}"#,
            Value::Null,
        ),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"test/twice"}"#,
            json!(1),
        ),
        (r#"{"id":1,"method":"test/twice"}"#, json!(1)),
    ];
    for mut client in Raw::both(&fake).await {
        for (body, id) in &refused {
            let (status, text) = client.post(*body).await;
            assert_eq!(status, 400, "{body} {text}");
            let error: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(error["error"]["code"], -32600, "{body} {text}");
            // of two ids neither is wrong
            let known = error["id"] == *id || error["id"] == 2 || error["id"].is_null();
            assert!(known, "{body} {text}");
        }
        for broken in ["", "{", "{\"jsonrpc\":\"2.0\",}", "\u{feff}{}", "{'a':1}"] {
            let (status, text) = client.post(broken).await;
            assert_eq!(status, 400, "{broken} {text}");
            assert!(text.contains("-32700"), "{broken} {text}");
        }
        let answer = client
            .answer(r#"{"jsonrpc":"2.0","id":1,"method":"test/after"}"#)
            .await;
        assert!(answer.contains("test/after"));
    }
    let record = fake.record().concat();
    assert!(!record.contains("test/twice"), "{record}");
}

#[tokio::test]
async fn the_messages_of_a_batch_pass_one_by_one() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = Streamable::new(fake.addr());
    client.initialize("2025-03-26", &json!({})).await;
    let batch = r#" [ {"jsonrpc":"2.0","id":1.0,"method":"test/one","params":{"x":1e400} } ,
        {"method":"notifications/vendor/two","y":"\ud800","jsonrpc":"2.0"},{"jsonrpc":"2.0","id":"1","method":"test/three","params":[1.0]} ]"#;
    let text = client.post(batch).await.whole().text();
    let answers: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).unwrap();
    let mut answers: Vec<_> = answers.iter().map(|answer| answer.get()).collect();
    answers.sort_unstable();
    assert_eq!(answers.len(), 2, "{text}");
    for (answer, id, params) in [
        (answers[0], r#""1""#, "[1.0]"),
        (answers[1], "1.0", r#"{"x":1e400}"#),
    ] {
        assert_eq!(raw_at(answer, &["id"]).as_deref(), Some(id), "{text}");
        let echoed = raw_at(answer, &["result", "params"]);
        assert_eq!(echoed.as_deref(), Some(params), "{text}");
    }
    let line = fake.recorded("vendor/two").await;
    let sent = r#"{"method":"notifications/vendor/two","y":"\ud800","jsonrpc":"2.0"}"#;
    assert_eq!(line.trim_end(), sent);
    let line = fake.recorded("test/one").await;
    let k = raw_at(&line, &["id"]).unwrap();
    let read = r#"{"jsonrpc":"2.0","id":K,"method":"test/one","params":{"x":1e400} }"#;
    assert_eq!(line.trim_end(), read.replace('K', &k));
}
