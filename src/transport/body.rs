//! A request's body, within its limits of size and time.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body::Body as _;

use super::Reject;

/// From the head to the last byte of the body.
const TIME: Duration = Duration::from_secs(30);
/// What is reserved on the word of `Content-Length` alone; beyond it twice what has come.
const RESERVED: usize = 256 * 1024;

/// Reads all of `body`. Most come in one piece and are not copied.
///
/// # Errors
/// [`Reject::TooLarge`] as soon as the limit shows, [`Reject::Slow`] after 30 s, [`Reject::Broken`].
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Bytes, Reject> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(Reject::TooLarge { limit });
    }
    let mut timer = None;
    let mut next = async || {
        std::future::poll_fn(|context| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                return Poll::Ready(Ok(frame));
            }
            // Armed only when the body is not there yet.
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(TIME)));
            timer
                .as_mut()
                .poll(context)
                .map(|()| Err(Reject::Slow(TIME)))
        })
        .await
    };
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = next().await? {
        let Ok(frame) = frame else {
            return Err(Reject::Broken);
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(Reject::TooLarge { limit });
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            if declared == Some(first.len()) {
                return Ok(first);
            }
            continue;
        }
        let needed = first.len() + rest.len() + data.len();
        if needed > rest.capacity() {
            // By doubling, but not beyond the length that was declared.
            let room = declared.map_or(2 * needed, |length| length.min(RESERVED.max(2 * needed)));
            let room = room.max(needed);
            rest.reserve_exact(room - rest.len());
        }
        if !first.is_empty() {
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// A body of these pieces; it never ends when the last one is missing.
    struct Pieces(Vec<Option<&'static str>>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            match self.0.first().copied() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(Some(piece)) => {
                    self.0.remove(0);
                    Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(
                        piece.as_bytes(),
                    )))))
                }
            }
        }
    }

    async fn check(
        length: Option<&'static str>,
        pieces: &[Option<&'static str>],
        limit: usize,
    ) -> Result<Bytes, Reject> {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        read(&headers, Body::new(Pieces(pieces.to_vec())), limit).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_end_at_their_limits() {
        assert_eq!(
            check(Some("3"), &[Some("abc"), None], 3).await.unwrap(),
            "abc"
        );
        assert_eq!(
            check(None, &[Some("a"), Some("b"), Some("c")], 3)
                .await
                .unwrap(),
            "abc"
        );
        assert_eq!(check(None, &[], 3).await.unwrap(), "");
        assert_eq!(
            check(Some("4"), &[None], 3).await,
            Err(Reject::TooLarge { limit: 3 })
        );
        assert_eq!(
            check(None, &[Some("ab"), Some("cd"), None], 3).await,
            Err(Reject::TooLarge { limit: 3 })
        );
        assert_eq!(
            check(Some("3"), &[Some("ab"), None], 3).await,
            Err(Reject::Slow(TIME))
        );
    }
}
