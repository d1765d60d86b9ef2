use super::*;

fn counted() -> impl FnMut() -> String + Send {
    let mut last = 0;
    move || {
        last += 1;
        format!("call_{last}")
    }
}

fn pieces() -> Pieces {
    Pieces::new(Identity {
        model: "m".to_owned(),
        id: "made".to_owned(),
        created: 9,
    })
}

fn run(chunks: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let (mut pieces, mut ids) = (pieces(), counted());
    for chunk in chunks {
        let chunk = regular::object(chunk).unwrap();
        pieces.push(chunk, &mut ids).unwrap();
    }
    pieces.finish(&mut ids);
    std::iter::from_fn(|| pieces.pop()).collect()
}

/// What becomes of the pieces of calls in the first choice, and the reason it ends.
fn check(deltas: Value, want: Value) {
    let deltas = deltas.as_array().unwrap().clone();
    let chunks = deltas.into_iter().map(|calls| {
        let delta = match calls {
            Value::Array(_) => json!({ "tool_calls": calls }),
            delta => delta,
        };
        json!({ "choices": [{ "index": 0, "delta": delta }] })
    });
    let done = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let chunks = run(chunks.chain([done]));
    let calls = chunks.iter().filter_map(|chunk| {
        let calls = chunk["choices"][0]["delta"].get("tool_calls")?;
        Some(calls.as_array().unwrap().clone())
    });
    let calls: Vec<_> = calls.flatten().collect();
    assert_eq!(Value::Array(calls), want);
    let reasons = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(reasons.collect::<Vec<_>>(), ["tool_calls"]);
}

fn first(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn more(index: u64, arguments: &str) -> Value {
    json!({ "index": index, "function": { "arguments": arguments } })
}

/// A piece without an index.
fn bare(id: Option<&str>, name: Option<&str>, arguments: Value) -> Value {
    let mut piece = json!({ "function": { "arguments": arguments } });
    if let Some(id) = id {
        piece["id"] = id.into();
    }
    if let Some(name) = name {
        piece["function"]["name"] = name.into();
    }
    piece
}

#[test]
fn regular_pieces_stay_as_they_are() {
    let deltas = json!([
        [first(0, "a", "f", "")],
        [more(0, "{")],
        [more(0, "}"), first(1, "b", "f", "{}")],
        [more(0, " ")]
    ]);
    check(
        deltas,
        json!([
            first(0, "a", "f", ""),
            more(0, "{"),
            more(0, "}"),
            first(1, "b", "f", "{}"),
            more(0, " ")
        ]),
    );
    let signed = json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" },
        "extra_content": { "google": { "thought_signature": "s" } } });
    check(json!([[signed]]), json!([signed]));
}

#[test]
fn pieces_without_an_index_find_their_call() {
    let (a, b) = (Some("a"), Some("b"));
    let (f, g) = (Some("f"), Some("g"));
    let two = json!([first(0, "a", "f", "{}"), first(1, "b", "g", "{}")]);
    let made = json!([first(0, "call_1", "f", "{}"), first(1, "call_2", "g", "{}")]);
    let same = json!([
        first(0, "call_1", "f", "{}"),
        first(1, "call_2", "f", "{ }")
    ]);
    check(
        json!([[bare(a, f, json!("{}")), bare(b, g, json!("{}"))]]),
        two.clone(),
    );
    check(
        json!([[bare(a, f, json!("{}"))], [bare(b, g, json!({}))]]),
        two.clone(),
    );
    check(
        json!([[bare(None, f, json!("{}"))], [bare(None, g, json!("{}"))]]),
        made.clone(),
    );
    check(
        json!([[bare(None, f, json!("{}")), bare(None, f, json!("{ }"))]]),
        same.clone(),
    );
    check(
        json!([[bare(None, f, json!("{}"))], [bare(None, f, json!("{ }"))]]),
        same,
    );
    check(
        json!([
            [bare(a, f, json!("{"))],
            [bare(None, None, json!("}"))],
            [bare(b, g, json!(""))],
            [bare(b, None, json!("{}"))]
        ]),
        json!([
            first(0, "a", "f", "{"),
            more(0, "}"),
            first(1, "b", "g", ""),
            more(1, "{}")
        ]),
    );
    let interleaved = json!([
        [bare(a, f, json!("{")), bare(b, g, json!("{"))],
        [bare(a, None, json!("}"))],
        [bare(b, None, json!("}"))]
    ]);
    check(
        interleaved,
        json!([
            first(0, "a", "f", "{"),
            first(1, "b", "g", "{"),
            more(0, "}"),
            more(1, "}")
        ]),
    );
}

#[test]
fn names_ids_and_types_are_told_once() {
    let deltas = json!([
        [first(0, "a", "f", "{")],
        [first(0, "a", "f", "\"x\":")],
        [first(0, "a", "f", "1}")]
    ]);
    check(
        deltas,
        json!([first(0, "a", "f", "{"), more(0, "\"x\":"), more(0, "1}")]),
    );
    // another id with each piece, the name once
    let piece = json!({ "index": 0, "id": "b", "type": "function", "function": { "name": null, "arguments": "}" } });
    check(
        json!([[first(0, "a", "f", "{")], [piece]]),
        json!([first(0, "a", "f", "{"), more(0, "}")]),
    );
    let nothing = json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f" } });
    check(
        json!([[first(0, "a", "f", "{}")], [nothing]]),
        json!([first(0, "a", "f", "{}")]),
    );
}

#[test]
fn calls_that_are_all_numbered_0_are_told_apart() {
    check(
        json!([
            [first(0, "a", "f", "{}")],
            [first(0, "b", "f", "{}")],
            [first(0, "", "g", "{}")]
        ]),
        json!([
            first(0, "a", "f", "{}"),
            first(1, "b", "f", "{}"),
            first(2, "call_1", "g", "{}")
        ]),
    );
    check(
        json!([
            [first(0, "a", "f", "{\"x\":\"}")],
            [more(0, "{\"}")],
            [first(0, "", "f", "{}")]
        ]),
        json!([
            first(0, "a", "f", "{\"x\":\"}"),
            more(0, "{\"}"),
            first(1, "call_1", "f", "{}")
        ]),
    );
}

#[test]
fn equal_ids_of_two_calls_become_two() {
    check(
        json!([[first(0, "f", "f", "{}"), first(1, "f", "f", "{}")]]),
        json!([first(0, "f", "f", "{}"), first(1, "call_1", "f", "{}")]),
    );
    let whole = bare(Some("f"), Some("f"), json!({}));
    check(
        json!([[whole], [whole]]),
        json!([first(0, "f", "f", "{}"), first(1, "call_1", "f", "{}")]),
    );
}

#[test]
fn what_a_first_piece_lacks_is_added() {
    check(
        json!([[{ "index": 3, "function": { "name": "f" } }]]),
        json!([first(0, "call_1", "f", "")]),
    );
    check(
        json!([[bare(Some("a"), Some("f"), json!({ "x": [1] }))]]),
        json!([first(0, "a", "f", r#"{"x":[1]}"#)]),
    );
    // the name comes late
    check(
        json!([[{ "index": 0, "id": "a", "type": "function" }], [more(0, "{")], [{ "index": 0, "function": { "name": "f", "arguments": "}" } }], [more(0, " ")]]),
        json!([first(0, "a", "f", "{}"), more(0, " ")]),
    );
    // or never
    check(
        json!([[more(0, "{}")]]),
        json!([first(0, "call_1", "", "{}")]),
    );
    let legacy = |function: Value| json!({ "function_call": function });
    check(
        json!([
            legacy(json!({ "name": "f", "arguments": "" })),
            legacy(json!({ "arguments": "{}" }))
        ]),
        json!([first(0, "call_1", "f", ""), more(0, "{}")]),
    );
}

fn chunk(choices: Value) -> Value {
    json!({ "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices })
}

fn said(delta: Value, reason: Value) -> Value {
    json!([{ "index": 0, "delta": delta, "finish_reason": reason }])
}

#[test]
fn usage_comes_once_at_the_end() {
    let role = || {
        chunk(said(
            json!({ "role": "assistant", "content": "hi" }),
            Value::Null,
        ))
    };
    let stop = || chunk(said(json!({}), "stop".into()));
    let mut usage = chunk(json!([]));
    usage["usage"] = json!({ "total_tokens": 2 });
    let with = |mut chunk: Value, tokens: u64| {
        chunk["usage"] = json!({ "total_tokens": tokens });
        chunk
    };
    let mut nothing = role();
    nothing["usage"] = Value::Null;
    let want = vec![role(), stop(), usage.clone()];
    for chunks in [
        vec![nothing, stop(), usage.clone()],
        vec![with(role(), 1), with(stop(), 2)],
        vec![role(), with(stop(), 2), usage.clone()],
        vec![usage.clone(), role(), stop()],
    ] {
        assert_eq!(run(chunks), want);
    }
    assert_eq!(
        run([role(), stop()]),
        want[..2],
        "a provider that tells none"
    );
}

#[test]
fn a_stream_that_only_ends_gets_a_reason() {
    let hi = chunk(said(
        json!({ "role": "assistant", "content": "hi" }),
        Value::Null,
    ));
    let stop = chunk(said(json!({}), "stop".into()));
    assert_eq!(run([hi.clone()]), [hi.clone(), stop.clone()]);
    let mut odd = hi.clone();
    odd["choices"][0]["finish_reason"] = "".into();
    assert_eq!(run([odd]), [hi.clone(), stop.clone()]);
    let call = chunk(said(
        json!({ "role": "assistant", "tool_calls": [first(0, "a", "f", "{}")] }),
        Value::Null,
    ));
    assert_eq!(
        run([call.clone()]),
        [call, chunk(said(json!({}), "tool_calls".into()))]
    );
    assert_eq!(
        run([hi.clone(), stop.clone(), stop.clone()])[2]["choices"][0]["finish_reason"],
        Value::Null,
        "one reason"
    );
    let mut empty = chunk(said(json!({ "role": "assistant" }), "stop".into()));
    empty["id"] = "made".into();
    empty["created"] = 9.into();
    assert_eq!(run([]), [empty]);
}

#[test]
fn what_a_chunk_lacks_is_added_and_what_nobody_knows_kept() {
    let odd = json!({ "id": "x", "created": 1, "choices": [{ "delta": { "content": "h", "reasoning_content": "r" }, "logprobs": null }], "x": 1 });
    let mut want = chunk(
        json!([{ "delta": { "content": "h", "reasoning_content": "r", "role": "assistant" }, "logprobs": null, "index": 0, "finish_reason": null }]),
    );
    want["x"] = 1.into();
    assert_eq!(run([odd])[0], want);
    let filter = json!({ "prompt_filter_results": [] });
    let mut want = chunk(json!([]));
    want["prompt_filter_results"] = json!([]);
    (want["id"], want["created"]) = ("made".into(), 9.into());
    assert_eq!(run([filter])[0], want);
    let message = json!({ "id": "x", "created": 1, "choices": [{ "message": { "role": "assistant", "content": "h" }, "finish_reason": "length" }] });
    assert_eq!(
        run([message]),
        [chunk(
            json!([{ "index": 0, "delta": { "role": "assistant", "content": "h" }, "finish_reason": "length" }])
        )]
    );
}

#[test]
fn choices_have_their_own_calls_and_ends() {
    let (mut pieces, mut ids) = (pieces(), counted());
    let mut push = |choices: Value| {
        pieces
            .push(regular::object(chunk(choices)).unwrap(), &mut ids)
            .unwrap();
        pieces.is_finished()
    };
    assert!(!push(json!([])));
    assert!(!push(
        json!([{ "index": 1, "delta": { "tool_calls": [first(0, "a", "f", "{}")] } }])
    ));
    assert!(push(
        json!([{ "index": 1, "delta": {}, "finish_reason": "stop" }])
    ));
    assert!(!push(json!([{ "index": 0, "delta": { "content": "x" } }])));
    assert!(push(
        json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }])
    ));
    let reasons: Vec<_> = std::iter::from_fn(|| pieces.pop())
        .filter_map(|chunk| {
            chunk["choices"][0]["finish_reason"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(reasons, ["tool_calls", "stop"]);
}

#[test]
fn what_a_stream_may_begin_is_bounded() {
    let (mut pieces, mut ids) = (pieces(), counted());
    let mut push = |call: Value| {
        let chunk = chunk(said(json!({ "tool_calls": [call] }), Value::Null));
        pieces.push(regular::object(chunk).unwrap(), &mut ids)
    };
    for index in 0..MOST as u64 {
        assert_eq!(push(first(index, "", "f", "{}")), Ok(()));
    }
    assert_eq!(push(first(MOST as u64, "", "f", "{}")), Err(TooMany));
}
