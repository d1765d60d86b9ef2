//! Some futures at the same time, inside one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Runs these futures, at most `at_once` of them at a time and begun in order; returns their outputs in order.
///
/// # Cancel safety
/// Dropping the future drops all of them.
pub(crate) async fn concurrently<T>(
    mut waiting: impl Iterator<Item = Pin<Box<dyn Future<Output = T> + Send + '_>>> + Send,
    at_once: usize,
) -> Vec<T>
where
    T: Send,
{
    let mut running = Vec::new();
    let mut outputs: Vec<Option<T>> = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < at_once
                && let Some(future) = waiting.next()
            {
                running.push((outputs.len(), future));
                outputs.push(None);
            }
            let before = running.len();
            running.retain_mut(|(at, future)| match future.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(output) => {
                    outputs[*at] = Some(output);
                    false
                }
            });
            if running.is_empty() && before == 0 {
                return Poll::Ready(());
            }
            // what has ended makes room for others, which have to be polled too
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    let outputs = outputs.into_iter();
    outputs
        .map(|output| output.expect("all have ended"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outputs_are_in_order_and_the_bound_holds() {
        let begun = Mutex::new(Vec::new());
        let start = Instant::now();
        let futures = [30, 10, 20, 10].into_iter().enumerate().map(|(n, delay)| {
            let begun = &begun;
            Box::pin(async move {
                begun.lock().unwrap().push((n, start.elapsed().as_millis()));
                sleep(Duration::from_millis(delay)).await;
                n
            }) as Pin<Box<dyn Future<Output = usize> + Send + '_>>
        });
        assert_eq!(concurrently(futures, 2).await, [0, 1, 2, 3]);
        // the second ends first and lets the third begin; the first and the third end together
        let begun: Vec<_> = begun.lock().unwrap().iter().map(|(n, _)| *n).collect();
        assert_eq!(begun, [0, 1, 2, 3]);
        assert_eq!(start.elapsed().as_millis() / 10, 4);
    }

    #[tokio::test]
    async fn nothing_to_do_is_done_at_once() {
        let none = std::iter::empty::<Pin<Box<dyn Future<Output = ()> + Send>>>();
        assert!(concurrently(none, 2).await.is_empty());
    }
}
