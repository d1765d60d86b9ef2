//! Another `_meta` in a message, without reading the rest of it again.

use bytes::Bytes;

use super::Message;
use crate::jsonrpc::scan::{Envelope, Span, is_of_the_request};
use crate::jsonrpc::{Edit, members, splice};

impl Message {
    /// The same with `meta`, a well-formed object of members that this message's `_meta` has, in its place, if it has
    /// one. A text that nobody shares is not copied.
    #[must_use]
    pub fn with_meta(self, meta: &[u8]) -> Message {
        let Some(place) = self.envelope.meta else {
            return self;
        };
        let text = replaced(self.text, place, meta);
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
        Message {
            text,
            envelope,
            kind: self.kind,
        }
    }
}

/// `text` with no more at `place` than `with`.
fn replaced(text: Bytes, place: Span, with: &[u8]) -> Bytes {
    let text = match text.try_into_mut() {
        Ok(mut text) if with.len() <= place.end() - place.start() => {
            let end = place.start() + with.len();
            text[place.start()..end].copy_from_slice(with);
            text.copy_within(place.end().., end);
            text.truncate(text.len() - (place.end() - end));
            return text.freeze();
        }
        Ok(text) => text.freeze(),
        Err(text) => text,
    };
    let mut out = Vec::with_capacity(text.len() - place.of(&text).len() + with.len());
    splice(&mut out, &text, &mut [Edit { span: place, with }]);
    out.into()
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
            let own = Message::parse(Bytes::from(before.to_owned())).unwrap();
            let with = own.with_meta(meta.as_bytes());
            let shared = message.clone().with_meta(meta.as_bytes());
            assert_eq!(shared.text(), with.text());
            let again = Message::parse(with.text().clone()).unwrap();
            assert_eq!(with.envelope(), again.envelope(), "{meta}");
            assert_eq!(with.part(with.envelope().meta), Some(meta.as_bytes()));
            assert_eq!(with.kind(), again.kind());
        }
        let bare = Message::parse(r#"{"jsonrpc":"2.0","method":"m"}"#.into()).unwrap();
        assert_eq!(bare.clone().with_meta(b"{}").text(), bare.text());
    }

    #[test]
    fn a_text_that_nobody_shares_is_not_copied() {
        let text = r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"a":1},"b":2}}"#;
        let message = Message::parse(Bytes::from(text.to_owned())).unwrap();
        let (place, copy) = (message.text().as_ptr(), message.clone());
        let changed = copy.with_meta(b"{}");
        assert_ne!(changed.text().as_ptr(), place);
        assert_eq!(message.text(), text);
        let changed = message.with_meta(b"{}");
        assert_eq!(changed.text().as_ptr(), place);
        assert_eq!(changed.text(), &text.replace(r#"{"a":1}"#, "{}"));
        let longer = changed.with_meta(br#"{"a":123}"#);
        assert_eq!(longer.text(), &text.replace(r#"{"a":1}"#, r#"{"a":123}"#));
    }
}
