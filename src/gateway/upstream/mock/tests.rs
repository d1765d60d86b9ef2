use super::*;

fn tool(name: &str, schema: Value) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "d", "parameters": schema } })
}

fn plain(name: &str) -> Value {
    tool(name, json!({ "type": "object" }))
}

fn ask(request: Value) -> Map<String, Value> {
    let request = super::super::regular::object(request).unwrap();
    Mock::new("-").answer(&request, "gpt-4o-mock", 7)
}

/// The name that is called, or the text.
fn said(request: Value) -> Result<String, String> {
    let answer = ask(request);
    let choice = &answer["choices"][0];
    let call = &choice["message"]["tool_calls"][0]["function"]["name"];
    match choice["finish_reason"].as_str().unwrap() {
        "tool_calls" => Ok(call.as_str().unwrap().to_owned()),
        "stop" => Err(choice["message"]["content"].as_str().unwrap().to_owned()),
        other => panic!("{other}"),
    }
}

fn check_choice(tools: &[&str], text: &str, want: Option<&str>) {
    let tools: Vec<_> = tools.iter().map(|name| plain(name)).collect();
    let request = json!({ "messages": [{ "role": "user", "content": text }], "tools": tools });
    let said = said(request).ok();
    assert_eq!(said.as_deref(), want, "{text}");
}

#[test]
fn the_tool_that_the_text_names_is_called() {
    const TOOLS: [&str; 6] = [
        "demo-echo",
        "demo-add",
        "pg-list_schemas",
        "pg-list_objects",
        "my-files-read-text_file",
        "x-current_time",
    ];
    for (text, want) in [
        ("List schemas.", Some("pg-list_schemas")),
        ("please LIST-SCHEMAS now", Some("pg-list_schemas")),
        ("use demo-echo", Some("demo-echo")),
        ("use demo_echo!", Some("demo-echo")),
        ("echo this", Some("demo-echo")),
        ("echo and list objects", Some("pg-list_objects")),
        ("what is the current time?", Some("x-current_time")),
        ("read text file a", Some("my-files-read-text_file")),
        ("the address", None),
        ("echoes", None),
        ("read file", None),
        ("files", None),
        ("demo", None),
        (
            "use demo-add {\"message\": \"list schemas\"}",
            Some("demo-add"),
        ),
        ("", None),
        ("hello", None),
    ] {
        check_choice(&TOOLS, text, want);
    }
    check_choice(&["a-echo", "b-echo"], "echo", Some("a-echo"));
    check_choice(&["a-echo", "b-echo"], "b echo", Some("b-echo"));
    check_choice(
        &["get_weather"],
        "Get weather in Paris",
        Some("get_weather"),
    );
}

#[test]
fn who_wants_a_list_gets_some_list() {
    check_choice(
        &["demo-echo", "fs-list_directory", "pg-list_objects"],
        "List schemas.",
        Some("fs-list_directory"),
    );
    check_choice(
        &["fs-list_directory", "demo-list_tool_schemas"],
        "List schemas.",
        Some("demo-list_tool_schemas"),
    );
    check_choice(&["demo-echo"], "List schemas.", None);
    check_choice(&["demo-echo", "fs-list_directory"], "schemas: list", None);
    let needy = tool("fs-list_directory", json!({ "required": ["path"] }));
    let request = json!({ "messages": [{ "role": "user", "content": "list things" }], "tools": [needy, plain("fs-list_roots")] });
    assert_eq!(said(request).unwrap(), "fs-list_roots");
}

#[test]
fn the_separator_is_the_gateways() {
    let request =
        json!({ "messages": [{ "role": "user", "content": "echo" }], "tools": [plain("a__echo")] });
    let request = super::super::regular::object(request).unwrap();
    let answer = Mock::new("__").answer(&request, "m", 7);
    assert_eq!(
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "a__echo"
    );
}

#[test]
fn the_choice_of_the_request_comes_first() {
    let request = |choice: Value, text: &str| json!({ "messages": [{ "role": "user", "content": text }], "tools": [plain("a"), plain("b")], "tool_choice": choice });
    let function = |name: &str| json!({ "type": "function", "function": { "name": name } });
    let allowed = |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [function("b")] } });
    for (choice, text, want) in [
        (json!("auto"), "use b", Some("b")),
        (json!("auto"), "hello", None),
        (json!("none"), "use b", None),
        (json!("required"), "use b", Some("b")),
        (json!("required"), "hello", Some("a")),
        (function("b"), "use a", Some("b")),
        (function("c"), "use a", Some("a")),
        (allowed("auto"), "use a", None),
        (allowed("required"), "use a", Some("b")),
        (Value::Null, "use b", Some("b")),
    ] {
        assert_eq!(
            said(request(choice.clone(), text)).ok().as_deref(),
            want,
            "{choice} {text}"
        );
    }
}

fn check_arguments(schema: Value, text: &str, want: Value) {
    let request = json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": text }] }], "tools": [tool("demo-echo", schema)] });
    let answer = ask(request);
    let arguments = &answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    let arguments: Value = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
    assert_eq!(arguments, want, "{text}");
}

#[test]
fn arguments_are_the_object_in_the_text_or_what_is_required() {
    let one = || json!({ "properties": { "message": { "type": "string" }, "more": { "type": "string" } }, "required": ["message"] });
    for (text, want) in [
        (r#"echo {"text":"hi"}"#, json!({ "text": "hi" })),
        (
            r#"echo {x} {"a": {"b": 1}} {"c": 1}"#,
            json!({ "a": { "b": 1 } }),
        ),
        ("echo {", json!({ "message": "echo {" })),
        (r#"echo "hi there""#, json!({ "message": "hi there" })),
        ("echo “hi” now", json!({ "message": "hi" })),
        ("it's John's echo", json!({ "message": "it's John's echo" })),
        ("echo 'hi'", json!({ "message": "hi" })),
        (r#"use "demo-echo" with `hi`"#, json!({ "message": "hi" })),
        ("use `echo`", json!({ "message": "use `echo`" })),
        (r#"echo """#, json!({ "message": "" })),
    ] {
        check_arguments(one(), text, want);
    }
    check_arguments(json!({ "type": "object" }), "echo", json!({}));
    check_arguments(Value::Null, "echo", json!({}));
    let all = json!({
        "properties": {
            "s": { "type": "string" }, "t": { "type": "string" }, "u": { "type": "string" }, "n": { "type": "number" },
            "i": { "type": ["null", "integer"] }, "b": { "type": "boolean" }, "e": { "type": "string", "enum": ["x", "y"] },
            "a": { "type": "array" }, "o": { "type": "object" }, "d": { "type": "number", "default": 5 }, "c": { "const": "k" },
            "v": { "anyOf": [{ "type": "null" }, { "type": "boolean" }] }, "z": { "type": "null" }, "optional": { "type": "number" },
        },
        "required": ["s", "t", "u", "n", "i", "b", "e", "a", "o", "d", "c", "v", "z", "unknown"],
    });
    let want = json!({ "s": "1st", "t": "2nd", "u": "2nd", "n": 1, "i": 1, "b": true, "e": "x", "a": [], "o": {}, "d": 5, "c": "k",
        "v": true, "z": null, "unknown": "2nd" });
    check_arguments(all, r#"echo "1st" and "2nd""#, want);
}

#[test]
fn results_are_the_answer() {
    let call = |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "{}" } });
    let result = |id: &str, content: Value| json!({ "role": "tool", "tool_call_id": id, "content": content });
    let asked = json!({ "role": "user", "content": "use echo" });
    let calls = json!({ "role": "assistant", "content": null, "tool_calls": [call("1", "a"), call("2", "b")] });
    let picture = json!({ "role": "user", "content": [{ "type": "text", "text": "echo" }, { "type": "image_url", "image_url": {} }] });
    let parts = json!([{ "type": "text", "text": "x" }, { "type": "text", "text": "y" }]);
    let old =
        json!([asked, calls, result("1", "old".into()), { "role": "assistant", "content": "old" }]);
    for (messages, want) in [
        (json!([asked, calls, result("1", "x".into())]), Err("x")),
        (json!([asked, calls, result("1", parts)]), Err("x\ny")),
        (
            json!([
                asked,
                calls,
                result("2", "x".into()),
                result("1", "y".into()),
                result("3", "z".into())
            ]),
            Err("b: x\na: y\ntool: z"),
        ),
        (
            json!([asked, calls, result("1", "x".into()), picture]),
            Err("x"),
        ),
        (
            json!([asked, calls, { "role": "function", "name": "f", "content": "x" }]),
            Err("x"),
        ),
        (json!([old[0], old[1], old[2], old[3], asked]), Ok("echo")),
        (
            json!([asked, { "role": "assistant", "content": "well" }, picture]),
            Ok("echo"),
        ),
    ] {
        for choice in ["auto", "none", "required"] {
            let request =
                json!({ "messages": messages, "tools": [plain("echo")], "tool_choice": choice });
            let said = said(request);
            if choice != "none" || want.is_err() {
                assert_eq!(
                    said,
                    want.map(str::to_owned).map_err(str::to_owned),
                    "{messages}"
                );
            }
        }
    }
    let long = "ä".repeat(LONGEST_RESULT + 1);
    let said = said(json!({ "messages": [result("1", long.into())] })).unwrap_err();
    assert_eq!(said, format!("{}… (shortened)", "ä".repeat(LONGEST_RESULT)));
}

#[test]
fn without_a_tool_to_call_it_introduces_itself() {
    let ask = |tools: Vec<Value>| {
        said(json!({ "messages": [{ "role": "user", "content": "hello" }], "tools": tools }))
            .unwrap_err()
    };
    assert!(ask(vec![]).ends_with("its result. No tools are offered."));
    assert!(ask(vec![plain("a"), plain("b")]).ends_with(" I could call a, b."));
    let many = |count: usize| {
        ask((0..count)
            .map(|index| plain(&format!("t{index}")))
            .collect())
    };
    assert!(many(10).ends_with(" t8, t9."));
    assert!(many(12).ends_with(" t8, t9 and 2 more."));
    assert!(said(json!({})).is_err(), "a request without messages");
}

#[test]
fn equal_conversations_get_equal_answers_and_longer_ones_other_ids() {
    let user = json!({ "role": "user", "content": "use echo now" });
    let request = |messages: Value| json!({ "messages": messages, "tools": [plain("echo")] });
    let first = ask(request(json!([user])));
    assert_eq!(first, ask(request(json!([user]))));
    let message = first["choices"][0]["message"].clone();
    let later = ask(request(
        json!([user, message, { "role": "tool", "tool_call_id": "1", "content": "x" }, user]),
    ));
    assert_ne!(first["id"], later["id"]);
    let id = |answer: &Map<String, Value>| {
        answer["choices"][0]["message"]["tool_calls"][0]["id"].clone()
    };
    assert_ne!(id(&first), id(&later));
    assert!(id(&first).as_str().unwrap().starts_with("call_"));
    assert_eq!(
        first["usage"],
        json!({ "prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4 })
    );
    assert_eq!(
        (&first["model"], &first["created"]),
        (&json!("gpt-4o-mock"), &json!(7))
    );
}

/// The answer that a client puts together, and how many chunks it took.
fn joined(answer: &Map<String, Value>) -> (Value, usize) {
    let chunks = chunks(answer);
    let mut message = json!({});
    for chunk in &chunks {
        for member in ["id", "created", "model"] {
            assert_eq!(chunk[member], answer[member]);
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        let delta = &chunk["choices"][0]["delta"];
        for member in ["role", "content"] {
            match delta.get(member) {
                Some(Value::String(text)) => {
                    let before = message[member].as_str().unwrap_or_default();
                    message[member] = format!("{before}{text}").into();
                }
                Some(other) => message[member] = other.clone(),
                None => {}
            }
        }
        if let Some(piece) = delta["tool_calls"].get(0) {
            if piece["id"].is_string() {
                message["tool_calls"] = json!([{ "id": piece["id"], "type": piece["type"], "function": { "name": piece["function"]["name"] } }]);
            }
            let call = &mut message["tool_calls"][0]["function"]["arguments"];
            *call = format!(
                "{}{}",
                call.as_str().unwrap_or_default(),
                piece["function"]["arguments"].as_str().unwrap()
            )
            .into();
        }
    }
    let [.., finish, usage] = chunks.as_slice() else {
        panic!("too few chunks");
    };
    assert_eq!(
        finish["choices"][0]["finish_reason"],
        answer["choices"][0]["finish_reason"]
    );
    assert_eq!(
        (&usage["choices"], &usage["usage"]),
        (&json!([]), &answer["usage"])
    );
    let others = &chunks[..chunks.len() - 1];
    assert!(others.iter().all(|chunk| chunk.get("usage").is_none()));
    (message, chunks.len())
}

#[test]
fn chunks_are_the_answer_in_pieces() {
    let text = ask(json!({ "messages": [{ "role": "tool", "content": "a b\n c" }] }));
    assert_eq!(joined(&text), (text["choices"][0]["message"].clone(), 7));
    let text = r#"echo {"a":1,"b":2}"#;
    let call =
        ask(json!({ "messages": [{ "role": "user", "content": text }], "tools": [plain("echo")] }));
    assert_eq!(joined(&call), (call["choices"][0]["message"].clone(), 6));
}
