//! Images in results.

use super::*;

fn draws() -> Turn {
    let image =
        json!({ "content": [{ "type": "image", "mimeType": "image/png", "data": "aGVsbG8=" }] });
    Turn::calls(&[("fake-emit", emits(&image)), ("fake-echo", json!({}))])
}

#[tokio::test]
async fn an_image_is_shown_after_the_turns_results() {
    let gateway = Gateway::start([draws(), Turn::text("A hello.")]).await;
    gateway.answer(&says("Draw!")).await;
    let messages = gateway.messages();
    assert_eq!(messages[2]["content"], "[image 1: image/png, 5 bytes]");
    assert_eq!(messages[3]["role"], "tool");
    assert_eq!(
        messages[4],
        json!({ "role": "user", "content": [
            { "type": "text", "text": "image 1 of the result of `fake-emit`:" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGVsbG8=" } },
        ] })
    );
}

#[tokio::test]
async fn a_model_that_takes_no_images_gets_words() {
    for stream in [false, true] {
        let refusal = json!({ "error": { "message": "this model takes no images", "type": "invalid_request_error" } });
        let turns = [
            draws(),
            Turn::status(400, &refusal),
            draws(),
            Turn::text("I see nothing."),
        ];
        let gateway = Gateway::start(turns).await;
        let mut body = says("Draw!");
        body["stream"] = json!(stream);
        let response = gateway.post(&body).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(gateway.asked(1)["messages"].as_array().unwrap().len(), 5);
        for nth in [2, 3] {
            let asked = gateway.asked(nth);
            let messages = asked["messages"].as_array().unwrap();
            assert!(
                messages[1..]
                    .iter()
                    .all(|message| message["role"] != "user"),
                "{messages:?}"
            );
        }
    }
}
