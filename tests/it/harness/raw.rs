//! Sessions of either transport that send and show the very bytes of messages.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::fake::Fake;
use super::streamable::Reply;
use super::{Sse, Streamable};

/// A session of one of the two transports.
#[derive(Debug)]
pub(crate) enum Raw {
    Sse(Box<Sse>),
    Streamable(Streamable),
}

impl Raw {
    /// A session of each transport.
    pub(crate) async fn both(fake: &Fake) -> [Self; 2] {
        [
            Self::Sse(Box::new(fake.sse().await)),
            Self::Streamable(fake.streamable().await),
        ]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sse(_) => "sse",
            Self::Streamable(_) => "streamable",
        }
    }

    /// Posts a request; returns the texts of the messages that came, the answer last. On a 2024-11-05 stream the next
    /// answer is taken for this request's.
    pub(crate) async fn exchange(&mut self, body: &str) -> Vec<String> {
        let mut texts = Vec::<String>::new();
        match self {
            Self::Sse(client) => {
                let response = client.post(body).await;
                assert_eq!(response.status(), 202, "{}", response.text());
                while texts.last().is_none_or(|text| !is_answer(text)) {
                    texts.push(client.events().next().await.data);
                }
            }
            Self::Streamable(client) => match client.post(body).await {
                Reply::Whole(response) => texts.push(response.text()),
                Reply::Stream(_, mut events) => {
                    while let Some(event) = events.try_next().await {
                        texts.push(event.data);
                    }
                    texts.retain(|text| !text.is_empty());
                }
            },
        }
        texts
    }

    /// Posts a request that nothing but its answer may follow; returns that.
    pub(crate) async fn answer(&mut self, body: &str) -> String {
        let mut texts = self.exchange(body).await;
        assert_eq!(texts.len(), 1, "{texts:?}");
        texts.remove(0)
    }

    /// Posts a body; returns the status and the body of what the POST itself was answered with.
    pub(crate) async fn post(&mut self, body: impl Into<Vec<u8>>) -> (u16, String) {
        match self {
            Self::Sse(client) => {
                let response = client.post(body).await;
                (response.status(), response.text())
            }
            Self::Streamable(client) => {
                let response = client.post(body).await.whole();
                (response.status(), response.text())
            }
        }
    }

    /// Posts a notification or an answer, which must be accepted.
    pub(crate) async fn tell(&mut self, body: &str) {
        let (status, text) = self.post(body).await;
        assert_eq!(status, 202, "{text}");
    }
}

/// Whether a message is an answer, whatever its id and its numbers look like.
pub(crate) fn is_answer(text: &str) -> bool {
    let members: HashMap<String, &RawValue> = serde_json::from_str(text).unwrap();
    !members.contains_key("method")
}

/// The JSON text of a member below `path`.
pub(crate) fn raw_at(text: &str, path: &[&str]) -> Option<String> {
    let Some((key, rest)) = path.split_first() else {
        return Some(text.to_owned());
    };
    let members: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    raw_at(members.get(*key)?.get(), rest)
}
