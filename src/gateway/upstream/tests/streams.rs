//! Answers in pieces.

use super::*;

#[tokio::test]
async fn a_stream_asks_for_usage_and_is_made_regular() {
    let stream = "\u{feff}: hi\r\n\r\ndata:{\"id\":\"x\",\"created\":1,\"choices\":[{\"delta\":{\"content\":\"he\"}}]}\r\n\r\n\
        data: {\"id\":\"x\",\"created\":1,\ndata: \"choices\":[{\"delta\":{\"content\":\"llo\"},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":2}}\n\n\
        data:[DONE]\n\ndata: never read\n\n";
    let server = Server::start([Reply::events(stream)]).await;
    let models = models([named("m", server.base(), Some("theirs"))]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    let frame = json!({ "id": "x", "created": 1, "choices": [], "object": "chat.completion.chunk", "model": "m" });
    let mut want = [frame.clone(), frame.clone(), frame];
    want[0]["choices"] = json!([{ "index": 0, "delta": { "role": "assistant", "content": "he" }, "finish_reason": null }]);
    want[1]["choices"] =
        json!([{ "index": 0, "delta": { "content": "llo" }, "finish_reason": "stop" }]);
    want[2]["usage"] = json!({ "total_tokens": 2 });
    assert_eq!(all(&mut chunks).await.unwrap(), want);
    let mut asked = request("theirs");
    asked.insert("stream".to_owned(), true.into());
    asked.insert(
        "stream_options".to_owned(),
        json!({ "include_usage": true }),
    );
    assert_eq!(server.asked()[0].body, Value::Object(asked));
}

#[tokio::test]
async fn a_provider_that_refuses_stream_options_is_asked_without() {
    let refusal = || {
        Reply::new(
            400,
            "application/json",
            r#"{"error":{"message":"unknown parameter: stream_options"}}"#,
        )
    };
    let server = Server::start([
        refusal(),
        Reply::events("data: [DONE]"),
        refusal(),
        refusal(),
    ])
    .await;
    let models = models([entry("m", server.base())]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    assert_eq!(all(&mut chunks).await.unwrap().len(), 1);
    assert_eq!(
        models
            .stream(&request("m"))
            .await
            .unwrap_err()
            .status
            .as_u16(),
        400
    );
    let with: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| asked.body.get("stream_options").is_some())
        .collect();
    assert_eq!(with, [true, false, true, false]);
}

#[tokio::test]
async fn a_provider_that_wants_another_limit_gets_it() {
    let refusal = || {
        let text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
        let body = json!({ "error": { "message": text } });
        Reply::new(400, "application/json", body.to_string())
    };
    let server = Server::start([
        refusal(),
        Reply::json(&hello()),
        refusal(),
        Reply::events("data: [DONE]"),
        refusal(),
    ])
    .await;
    let models = models([entry("m", server.base())]);
    let mut limited = request("m");
    limited.insert("max_tokens".to_owned(), 7.into());
    models.answer(&limited).await.unwrap();
    all(&mut models.stream(&limited).await.unwrap())
        .await
        .unwrap();
    let refused = models.answer(&request("m")).await.unwrap_err();
    assert_eq!(refused.status.as_u16(), 400, "there is nothing to rename");
    let limits: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| {
            let limit = |name| asked.body.get(name).and_then(Value::as_u64);
            (limit("max_tokens"), limit("max_completion_tokens"))
        })
        .collect();
    let pair = [(Some(7), None), (None, Some(7))];
    assert_eq!(limits[..4], [pair, pair].concat());
}

#[tokio::test]
async fn a_whole_answer_in_place_of_a_stream_is_taken() {
    let server = Server::start([Reply::json(&hello())]).await;
    let models = models([entry("m", server.base())]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    let chunks = all(&mut chunks).await.unwrap();
    assert_eq!(chunks[0]["choices"][0]["delta"]["content"], "hello");
    assert_eq!(chunks[0]["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (chunks.len(), &chunks[1]["usage"]["total_tokens"]),
        (2, &json!(2))
    );
}

/// What comes before a stream's error, and the error.
async fn broken(reply: Reply) -> (usize, ApiError) {
    let server = Server::start([reply]).await;
    let models = models([entry("m", server.base())]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    let mut count = 0;
    loop {
        match chunks.next().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("a broken stream ended well after {count} chunks"),
            Err(error) => return (count, error),
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_or_carries_an_error_is_an_error() {
    const PIECE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"h\"}}]}\n\n";
    for (reply, count, reason) in [
        (Reply::events(PIECE), 1, "without `[DONE]`"),
        (Reply::events(""), 0, "without `[DONE]`"),
        (
            Reply::events(format!("{PIECE}data: {{\"choi")),
            1,
            "without `[DONE]`",
        ),
        (
            Reply::cut("text/event-stream", PIECE),
            1,
            "broke off its answer",
        ),
        (
            Reply::events(format!("{PIECE}data: nonsense\n\n")),
            1,
            "no JSON object",
        ),
        (
            Reply::events(format!("{PIECE}data: {{\"error\":\"key {KEY}\"}}\n\n")),
            1,
            "key ***",
        ),
        (
            Reply::events("data: {\"error\":{\"message\":\"over\",\"code\":429}}"),
            0,
            "over",
        ),
    ] {
        let (seen, error) = broken(reply).await;
        assert_eq!(seen, count, "{reason}");
        let message = error.object()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{message}");
        assert!(!shown(&error).contains(KEY));
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_after_its_finish_reason_is_whole() {
    let done = "data: {\"choices\":[{\"delta\":{\"content\":\"h\"},\"finish_reason\":\"stop\"}],\"usage\":{}}\n\n";
    for reply in [Reply::events(done), Reply::cut("text/event-stream", done)] {
        let server = Server::start([reply]).await;
        let models = models([entry("m", server.base())]);
        let mut chunks = models.stream(&request("m")).await.unwrap();
        assert_eq!(all(&mut chunks).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_stream_that_is_silent_for_five_minutes_is_an_error() {
    let (reply, sender) = Reply::live("text/event-stream");
    let server = Server::start([reply]).await;
    let models = models([entry("m", server.base())]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    sender.send(Ok("data: {}\n\n".into())).await.unwrap();
    chunks.next().await.unwrap().unwrap();
    tokio::time::pause();
    let error = chunks.next().await.unwrap_err();
    assert!(error.message.contains("was silent for 300s"), "{error}");
}

#[tokio::test]
async fn dropping_the_chunks_closes_the_connection() {
    let (reply, sender) = Reply::live("text/event-stream");
    let server = Server::start([reply]).await;
    let models = models([entry("m", server.base())]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    sender.send(Ok("data: {}\n\n".into())).await.unwrap();
    chunks.next().await.unwrap().unwrap();
    drop(chunks);
    sender.closed().await;
}

#[tokio::test]
async fn nothing_is_lost_when_next_is_dropped() {
    let (reply, sender) = Reply::live("text/event-stream");
    let server = Server::start([reply]).await;
    let models = models([entry("m", server.base())]);
    let mut chunks = models.stream(&request("m")).await.unwrap();
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"h\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"i\"}}]}\n\ndata: [DONE]\n\n";
    let mut seen = Vec::new();
    let mut rest = stream.as_bytes();
    loop {
        // Polled a few times between any two bytes, and dropped.
        for _ in 0..4 {
            tokio::select! {
                biased;
                chunk = chunks.next() => seen.push(chunk.unwrap()),
                () = tokio::task::yield_now() => {}
            }
        }
        let Some((byte, more)) = rest.split_first() else {
            break;
        };
        sender.send(Ok(vec![*byte].into())).await.unwrap();
        rest = more;
    }
    drop(sender);
    while let Some(chunk) = chunks.next().await.unwrap() {
        seen.push(Some(chunk));
    }
    let texts = seen
        .iter()
        .flatten()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(texts.collect::<String>(), "hi");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let stream = || {
        Reply::events(
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        )
    };
    let server = Server::start([stream(), Reply::json(&hello()), stream()]).await;
    let models = models([entry("m", server.base())]);
    all(&mut models.stream(&request("m")).await.unwrap())
        .await
        .unwrap();
    models.answer(&request("m")).await.unwrap();
    all(&mut models.stream(&request("m")).await.unwrap())
        .await
        .unwrap();
    let peers: HashSet<_> = server.asked().iter().map(|asked| asked.peer).collect();
    assert_eq!(peers.len(), 1);
}
