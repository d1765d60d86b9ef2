mod provider;
mod streams;

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
            "it is no JSON object",
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
    assert!(
        error
            .message
            .contains("nothing listens there; start it, or correct"),
        "{error}"
    );
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
            (error.status.as_u16(), error.code),
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

#[tokio::test]
async fn the_mock_answers_without_anybody_else() {
    let mut settings = Gateway::new();
    settings.separator = "__".to_owned();
    settings.models.push(Model {
        name: "gpt-4o-mock".to_owned(),
        provider: config::Provider::Mock,
    });
    let models = Models::new(&settings);
    let mut request = request("gpt-4o-mock");
    let tool = json!({ "type": "function", "function": { "name": "demo__hi" } });
    request.insert("tools".to_owned(), json!([tool]));
    let answer = models.answer(&request).await.unwrap();
    assert_eq!(
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "demo__hi"
    );
    let chunks = all(&mut models.stream(&request).await.unwrap())
        .await
        .unwrap();
    assert_eq!(
        chunks[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"],
        "demo__hi"
    );
}

fn list(ids: &[&str]) -> Reply {
    let models: Vec<_> = ids
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "owned_by": "them", "x": 1 }))
        .collect();
    Reply::json(&json!({ "object": "list", "data": models }))
}
