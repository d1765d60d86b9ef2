//! A response's body that is whole when it begins: of known length, in the pieces that it is made of.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::jsonrpc;

/// Bodies below this size are put together: one write of one piece costs less than the copy.
const COPY_BELOW: usize = 16 * 1024;

/// `body` as that of a response.
pub(super) fn body(body: jsonrpc::Body) -> axum::body::Body {
    let pieces = body.pieces().iter().filter(|piece| !piece.is_empty());
    if body.len() < COPY_BELOW || pieces.count() < 2 {
        return body.into_bytes().into();
    }
    axum::body::Body::new(Whole {
        left: body.len() as u64,
        pieces: body.pieces().clone().into_iter(),
    })
}

#[derive(Debug)]
struct Whole {
    pieces: std::array::IntoIter<Bytes, 3>,
    /// Bytes of all that is still there.
    left: u64,
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.find(|piece| !piece.is_empty());
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn large_pieces_go_out_as_they_are_under_their_length() {
        let large = Bytes::from(vec![b'x'; COPY_BELOW + 9]);
        for (pieces, count) in [
            ([Bytes::new(), "12".into(), large.slice(9..)], 2),
            (["{".into(), Bytes::new(), "}".into()], 1),
            ([Bytes::new(), Bytes::new(), large.clone()], 1),
        ] {
            let text = pieces.concat();
            let mut body = body(jsonrpc::Body::of(pieces));
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            let (mut got, mut frames) = (Vec::new(), 0);
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                assert!(data.len() < 10 || large.as_ptr_range().contains(&data.as_ptr()));
                got.extend_from_slice(&data);
                frames += 1;
            }
            assert_eq!((got, frames), (text, count));
            assert!(body.is_end_stream());
        }
    }
}
