mod provider;

use std::pin::pin;

use provider::{Provider as Server, Reply, hello};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Gateway, Model, Secret};

const KEY: &str = "sk-very-secret";

fn entry(name: &str, api_base: String) -> Model {
    named(name, api_base, None)
}

fn named(name: &str, api_base: String, model: Option<&str>) -> Model {
    Model {
        name: name.to_owned(),
        provider: config::Provider::OpenAi {
            api_base,
            api_key: Some(Secret::new(KEY.to_owned())),
            model: model.map(str::to_owned),
        },
    }
}

fn models(entries: impl IntoIterator<Item = Model>) -> Models {
    let mut settings = Gateway::new();
    settings.models = entries.into_iter().collect();
    Models::new(&settings)
}

fn request(model: &str) -> Map<String, Value> {
    let request =
        json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }], "top_k": 3 });
    regular::object(request).unwrap()
}

/// An address where nothing listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

/// Everything of an error that may be seen.
fn shown(error: &ApiError) -> String {
    format!("{error} {error:?} {}", error.object())
}

async fn all(chunks: &mut Chunks) -> Result<Vec<Value>, ApiError> {
    let mut seen = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        seen.push(chunk);
    }
    assert_eq!(chunks.next().await?, None, "an end stays the end");
    Ok(seen)
}

#[tokio::test]
async fn a_request_goes_out_with_the_entrys_key_and_name_and_nothing_else_changed() {
    let mut theirs = hello();
    theirs["choices"][0]["message"]["reasoning_content"] = "hm".into();
    let server = Server::start([Reply::json(&theirs)]).await;
    let models = models([named("mine", server.base(), Some("theirs"))]);
    let answer = models.answer(&request("mine")).await.unwrap();
    let mut want = theirs;
    want["model"] = "mine".into();
    assert_eq!(answer, want);
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "POST /v1/chat/completions");
    assert_eq!(Value::Object(request("theirs")), asked.body);
    assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
    assert!(!format!("{models:?}").contains(KEY));
}

#[tokio::test]
async fn entries_of_one_name_are_tried_in_order_while_they_cannot_answer() {
    let cut = Server::start([
        Reply::cut("application/json", "{"),
        Reply::cut("application/json", "{"),
    ])
    .await;
    let broken = Server::start((0..2).map(|_| Reply::new(503, "text/html", "<html>"))).await;
    let page = Server::start((0..2).map(|_| Reply::new(200, "text/html", "<html>"))).await;
    let good = Server::start([
        Reply::json(&hello()),
        Reply::events("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"),
    ])
    .await;
    let last = Server::start([]).await;
    let models = models([
        entry("other", last.base()),
        entry("m", nowhere().await),
        entry("m", broken.base()),
        entry("m", page.base()),
        entry("m", good.base()),
        entry("m", last.base()),
    ]);
    let answer = models.answer(&request("m")).await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    let mut chunks = models.stream(&request("m")).await.unwrap();
    assert_eq!(all(&mut chunks).await.unwrap().len(), 2);
    for (server, count) in [(&broken, 2), (&page, 2), (&good, 2), (&last, 0)] {
        assert_eq!(server.asked().len(), count);
    }
    let models = self::models([entry("m", cut.base()), entry("m", last.base())]);
    let error = models.answer(&request("m")).await.unwrap_err();
    assert!(
        error.message.contains("418"),
        "the last one says why: {error}"
    );
    assert_eq!((cut.asked().len(), last.asked().len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_final() {
    for (status, want, code) in [
        (429, 429, json!("slow")),
        (400, 400, json!("slow")),
        (401, 502, json!("upstream_key_refused")),
        (403, 502, json!("upstream_key_refused")),
    ] {
        let body = json!({ "error": { "message": format!("you sent {KEY}"), "code": "slow", "type": "t" } });
        let reply =
            || Reply::new(status, "application/json", body.to_string()).with("retry-after", "7");
        let first = Server::start([reply(), reply()]).await;
        let second = Server::start([]).await;
        let models = models([entry("m", first.base()), entry("m", second.base())]);
        let whole = models.answer(&request("m")).await.unwrap_err();
        let streamed = models.stream(&request("m")).await.unwrap_err();
        assert_eq!(whole, streamed);
        assert_eq!(
            (whole.status.as_u16(), &whole.object()["code"]),
            (want, &code)
        );
        assert_eq!(
            whole.retry_after.map(|wait| wait.as_secs()),
            (status < 401 || status == 429).then_some(7)
        );
        assert!(!shown(&whole).contains(KEY), "{whole:?}");
        assert_eq!(second.asked().len(), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_a_502_that_names_the_model_and_the_reason() {
    for (reply, reason) in [
        (
            Reply::new(200, "text/html", "<html>"),
            "answers with a web page; correct the entry's `api_base`",
        ),
        (
            Reply::new(200, "application/json", "hi"),
            "answers with something that is no JSON object",
        ),
        (
            Reply::new(200, "application/json", "{\"x\":1}"),
            "answers with an object that is no chat completion",
        ),
        (
            Reply::new(500, "text/plain", format!("key {KEY}")),
            "answers 500 Internal Server Error: key ***",
        ),
        (
            Reply::new(307, "text/plain", "").with("location", "/elsewhere"),
            "307 Temporary Redirect, which is not followed",
        ),
        (
            Reply::cut("application/json", "{"),
            "failed to reach the provider",
        ),
    ] {
        let server = Server::start([reply]).await;
        let models = models([entry("m", server.base())]);
        let error = models.answer(&request("m")).await.unwrap_err();
        assert_eq!(error.status.as_u16(), 502, "{reason}");
        let who = format!("the provider of model `m` at {}", server.address);
        assert!(
            error.message.contains(&who) && error.message.contains(reason),
            "{error}"
        );
        assert!(!shown(&error).contains(KEY), "{error:?}");
        assert_eq!(server.asked().len(), 1, "{reason}");
    }
    let error = models([entry("m", nowhere().await)])
        .answer(&request("m"))
        .await
        .unwrap_err();
    assert!(error.message.contains("nothing listens there"), "{error}");
    let error = models([entry("m", "http://name.invalid/v1".to_owned())])
        .stream(&request("m"))
        .await
        .unwrap_err();
    assert!(
        error
            .message
            .contains("name.invalid: its name has no address"),
        "{error}"
    );
}

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
async fn dropping_an_answer_closes_the_connection() {
    let (reply, sender) = Reply::live("application/json");
    let server = Server::start([reply]).await;
    let models = models([entry("m", server.base())]);
    let request = request("m");
    {
        let mut answer = pin!(models.answer(&request));
        // The provider has the request once its body is asked for.
        let begun = async {
            for _ in 0..9 {
                sender.send(Ok(" ".into())).await.unwrap();
            }
        };
        tokio::select! {
            _ = &mut answer => panic!("it has no end"),
            () = begun => {}
        }
    }
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

fn list(ids: &[&str]) -> Reply {
    let models: Vec<_> = ids
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "owned_by": "them", "x": 1 }))
        .collect();
    Reply::json(&json!({ "object": "list", "data": models }))
}

#[tokio::test]
async fn a_list_has_every_name_once_in_the_order_of_the_configuration() {
    let server = Server::start([list(&["a", "m", "b"])]).await;
    let mock = Model {
        name: "last".to_owned(),
        provider: config::Provider::Mock,
    };
    let models = models([
        entry("m", nowhere().await),
        entry("m", nowhere().await),
        entry("*", nowhere().await),
        entry("*", server.base()),
        mock,
    ]);
    let lists = tokio::join!(models.list(), models.list(), models.list());
    assert_eq!((&lists.0, &lists.1), (&lists.1, &lists.2));
    let ids: Vec<_> = lists
        .0
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["m", "a", "b", "last"]);
    assert_eq!(
        (&lists.0[0]["object"], &lists.0[0]["owned_by"]),
        (&json!("model"), &json!("mcp-bridged"))
    );
    assert_eq!(lists.0[1]["x"], 1, "a provider's own object stays whole");
    assert_eq!(server.asked().len(), 1, "asked once");
    assert_eq!(server.asked()[0].line, "GET /v1/models");
    assert_eq!(
        server.asked()[0].headers["authorization"],
        format!("Bearer {KEY}")
    );
}

#[tokio::test]
async fn a_name_goes_to_its_entry_or_to_whoever_lists_it_or_cannot_be_asked() {
    let named = Server::start([Reply::json(&hello())]).await;
    let lister = Server::start([list(&["m", "b"]), Reply::json(&hello())]).await;
    let silent = Server::start([Reply::new(404, "text/plain", ""), Reply::json(&hello())]).await;
    let models = models([
        entry("*", lister.base()),
        entry("m", named.base()),
        entry("*", silent.base()),
    ]);
    for name in ["m", "b", "c"] {
        let answer = models.answer(&request(name)).await.unwrap();
        assert_eq!(answer["model"], name);
    }
    let lines = |server: &Server| {
        server
            .asked()
            .into_iter()
            .map(|asked| asked.line)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&named), ["POST /v1/chat/completions"]);
    assert_eq!(
        lines(&lister),
        ["GET /v1/models", "POST /v1/chat/completions"]
    );
    assert_eq!(
        lines(&silent),
        ["GET /v1/models", "POST /v1/chat/completions"]
    );
}

#[tokio::test]
async fn an_unknown_model_is_a_404_that_names_some() {
    let lister = Server::start([list(&["b"])]).await;
    let models = models([entry("m", nowhere().await), entry("*", lister.base())]);
    for name in ["x", "*"] {
        let error = models.answer(&request(name)).await.unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.code.as_deref()),
            (404, Some("model_not_found"))
        );
        assert_eq!(
            error.message,
            format!("the model `{name}` does not exist; there are `m`, `b`")
        );
    }
    let error = models.stream(&Map::new()).await.unwrap_err();
    assert_eq!(
        (error.status.as_u16(), error.param.as_deref()),
        (400, Some("model"))
    );
    let error = self::models([]).answer(&request("x")).await.unwrap_err();
    assert!(error.message.contains("`model_list` names none"), "{error}");
}
