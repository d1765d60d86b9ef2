//! The framing of event streams for `benches/micro.rs`; see `bridge/bench.rs` for why it is here and always compiled.

use bytes::Bytes;

use super::sse::Frames;
use crate::jsonrpc::Body;

/// The frames of one stream.
#[derive(Debug, Default)]
pub struct Framing(Frames);

impl Framing {
    /// Frames `body` as a `message` event and hands each piece of it to `send`.
    pub fn message(&mut self, body: &Body, mut send: impl FnMut(Bytes)) {
        self.0.message(None, body);
        while let Some(piece) = self.0.pop() {
            send(piece);
        }
    }
}
