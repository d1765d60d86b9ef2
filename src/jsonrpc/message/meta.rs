//! Another `_meta` in a message, without reading the rest of it again.

use super::Message;
use crate::jsonrpc::scan::{Envelope, Span, is_of_the_request};
use crate::jsonrpc::{Edit, members, splice};

impl Message {
    /// The same with `meta`, a well-formed object of members that this message's `_meta` has, in its place. `None` when
    /// it has no `_meta`.
    #[must_use]
    pub fn with_meta(&self, meta: &[u8]) -> Option<Message> {
        let place = self.envelope.meta?;
        let mut text =
            Vec::with_capacity(self.text.len() - place.of(&self.text).len() + meta.len());
        splice(
            &mut text,
            &self.text,
            &mut [Edit {
                span: place,
                with: meta,
            }],
        );
        let mut envelope = self.envelope;
        for span in envelope.outside_meta() {
            *span = span.map(|span| moved(span, place, meta.len()));
        }
        let place = Span::new(place.start(), place.start() + meta.len());
        envelope.meta = Some(place);
        for span in envelope.inside_meta() {
            *span.1 = None;
        }
        envelope.has_other_meta = false;
        for (key, value) in members(meta) {
            envelope.has_other_meta |= !is_of_the_request(&key);
            let slots = envelope.inside_meta();
            for (name, slot) in slots {
                // A token that is null is none.
                let is_none = name == "progressToken" && value.of(meta) == b"null";
                if name.as_bytes() == key.as_ref() && !is_none {
                    *slot = Some(value.inside(place));
                }
            }
        }
        Some(Message {
            text: text.into(),
            envelope,
            kind: self.kind,
        })
    }
}

/// Where `span` stands when what stood at `place` has `length` bytes now: behind it, around it, or before it as ever.
fn moved(span: Span, place: Span, length: usize) -> Span {
    let shift = |at: usize| {
        if at >= place.end() {
            at - place.end() + place.start() + length
        } else {
            at
        }
    };
    Span::new(shift(span.start()), shift(span.end()))
}

impl Envelope {
    fn outside_meta(&mut self) -> [&mut Option<Span>; 12] {
        [
            &mut self.id,
            &mut self.method,
            &mut self.params,
            &mut self.result,
            &mut self.error,
            &mut self.progress_token,
            &mut self.request_id,
            &mut self.uri,
            &mut self.level,
            &mut self.name,
            &mut self.input_responses,
            &mut self.request_state,
        ]
    }

    fn inside_meta(&mut self) -> [(&'static str, &mut Option<Span>); 7] {
        [
            ("progressToken", &mut self.meta_progress_token),
            (
                "io.modelcontextprotocol/related-task",
                &mut self.related_task,
            ),
            (
                "io.modelcontextprotocol/protocolVersion",
                &mut self.meta_version,
            ),
            ("io.modelcontextprotocol/clientInfo", &mut self.meta_client),
            (
                "io.modelcontextprotocol/clientCapabilities",
                &mut self.meta_capabilities,
            ),
            ("io.modelcontextprotocol/logLevel", &mut self.meta_level),
            (
                "io.modelcontextprotocol/subscriptionId",
                &mut self.subscription_id,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_that_a_scan_finds() {
        let before = r#"{"id": 1,"params":{"name":"n","_meta" : {"a":1,"progressToken":"t","io.modelcontextprotocol/protocolVersion":"v"} ,"uri":"u","inputResponses":{}},"x":[1], "method":"m","jsonrpc":"2.0"}"#;
        let message = Message::parse(before.into()).unwrap();
        for meta in [
            "{}",
            r#"{"progressToken":"t"}"#,
            r#"{"io.modelcontextprotocol/logLevel":"info"}"#,
            r#"{"a":1,"io.modelcontextprotocol/protocolVersion":null}"#,
        ] {
            let with = message.with_meta(meta.as_bytes()).unwrap();
            let again = Message::parse(with.text().clone()).unwrap();
            assert_eq!(with.envelope(), again.envelope(), "{meta}");
            assert_eq!(with.part(with.envelope().meta), Some(meta.as_bytes()));
            assert_eq!(with.kind(), again.kind());
        }
        let bare = Message::parse(r#"{"jsonrpc":"2.0","method":"m"}"#.into()).unwrap();
        assert!(bare.with_meta(b"{}").is_none());
    }
}
