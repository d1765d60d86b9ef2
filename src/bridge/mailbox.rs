//! What waits for one reader on the client's side.
//!
//! A mailbox is filled by the task that owns an instance and emptied by an HTTP response body. It is bounded: when a
//! reader falls behind, its oldest notifications (and requests of the server) go first; answers are never dropped, because in-flight limits bound
//! their number. All mailboxes together share one [`Budget`]. Several readers may wait on one mailbox (two GET streams
//! of one session); each delivery goes to exactly one of them. A mailbox may stand before another one ([`Mailbox::before`]):
//! then it keeps nothing itself.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::jsonrpc::Body;
use crate::metrics::ProcessMetrics;

/// Deliveries that one mailbox holds before it drops notifications.
pub(crate) const MAX_DELIVERIES: usize = 1024;
/// Bytes that one mailbox holds before it drops notifications.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Bytes that all mailboxes hold before notifications are dropped everywhere.
pub(crate) const MAX_BYTES_IN_ALL: usize = 128 * 1024 * 1024;

/// One message for a client.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What it is to the stream that carries it.
    pub kind: DeliveryKind,
    /// Its text, one line.
    pub body: Body,
}

/// What a delivery means to the stream that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryKind {
    /// A notification; may be dropped when the reader is slow.
    Notification,
    /// A request of the server to the client.
    Request,
    /// The one answer to a request of the client.
    Answer,
    /// The end of a request that the client itself cancelled: it expects no answer, but an HTTP response may be waiting.
    Cancelled,
    /// The one answer to a request that was refused before the server saw it; HTTP may give it a status of its own.
    Refusal(Refusal),
}

impl DeliveryKind {
    /// Whether it goes first when its reader is slow. A request of the server that is lost ends with the call that it is
    /// about, or with its session; a server that asks and takes back without end must not fill the memory.
    fn may_be_dropped(self) -> bool {
        matches!(self, DeliveryKind::Notification | DeliveryKind::Request)
    }

    /// Whether the request it belongs to is over with it.
    pub fn ends_a_request(self) -> bool {
        matches!(
            self,
            DeliveryKind::Answer | DeliveryKind::Cancelled | DeliveryKind::Refusal(_)
        )
    }
}

/// Why a request was refused before acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server is not running: 503.
    Unavailable {
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// A queue, a table or the number of instances is at its limit: 503.
    Overloaded {
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// This session has too many calls in flight: 429.
    TooManyInFlight,
    /// The bridge is stopping: 503.
    ShuttingDown,
    /// The message itself can't be served (duplicate id, denied tool, malformed parameters): 200 with the error.
    Invalid,
}

/// The bytes queued for clients in all mailboxes of the process.
#[derive(Debug, Default)]
pub struct Budget {
    /// The gauge in it is the count.
    metrics: Arc<ProcessMetrics>,
}

impl Budget {
    /// A budget that nothing has been taken from, counted in `metrics`.
    pub fn new(metrics: Arc<ProcessMetrics>) -> Arc<Budget> {
        Arc::new(Budget { metrics })
    }

    /// Bytes queued now.
    pub fn queued(&self) -> usize {
        usize::try_from(self.metrics.output_queue_bytes.get()).unwrap_or(0)
    }

    fn take(&self, bytes: usize) {
        self.metrics.output_queue_bytes.add(signed(bytes));
    }

    fn give_back(&self, bytes: usize) {
        self.metrics.output_queue_bytes.sub(signed(bytes));
    }

    /// Whether notifications are dropped everywhere because readers are slow.
    pub fn is_spent(&self) -> bool {
        self.queued() > MAX_BYTES_IN_ALL
    }
}

/// How many answers a session waits for, and when the last one came, over several mailboxes. It counts when an answer is
/// put into its mailbox, so that whatever the server says after it finds it counted.
#[derive(Debug, Default)]
pub struct Answers {
    state: Mutex<(usize, Option<Instant>)>,
}

impl Answers {
    /// So many more are waited for.
    pub fn expect(&self, count: usize) {
        self.lock().0 += count;
    }

    /// How many are waited for.
    pub fn expected(&self) -> usize {
        self.lock().0
    }

    /// When the last one came, unless one is waited for or none came yet.
    pub fn last(&self) -> Option<Instant> {
        let state = self.lock();
        state.1.filter(|_| state.0 == 0)
    }

    fn came(&self) {
        let mut state = self.lock();
        *state = (state.0.saturating_sub(1), Some(Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, (usize, Option<Instant>)> {
        self.state
            .lock()
            .expect("no code panics while it counts answers")
    }
}

/// The queue of one stream.
#[derive(Debug)]
pub struct Mailbox {
    queue: Mutex<Queue>,
    budget: Arc<Budget>,
    answers: Option<Arc<Answers>>,
    onward: Option<Onward>,
}

/// Where deliveries go at once, and what becomes of them on the way.
struct Onward {
    to: Arc<Mailbox>,
    passage: Box<dyn Fn(Delivery) -> Option<Delivery> + Send + Sync>,
}

impl fmt::Debug for Onward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Onward").field(&self.to).finish()
    }
}

#[derive(Debug, Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    closed: bool,
    readers: Readers,
    next_reader: u64,
}

/// Who waits for the next push or the end; nearly always one at most, which costs no allocation.
#[derive(Debug, Default)]
struct Readers {
    one: Option<(u64, Waker)>,
    more: Vec<(u64, Waker)>,
}

impl Readers {
    fn wait(&mut self, reader: u64, context: &Context<'_>) {
        let mut known = self.one.iter_mut().chain(&mut self.more);
        if let Some((_, waker)) = known.find(|(id, _)| *id == reader) {
            return waker.clone_from(context.waker());
        }
        let new = (reader, context.waker().clone());
        match &self.one {
            None => self.one = Some(new),
            Some(_) => self.more.push(new),
        }
    }

    fn forget(&mut self, reader: u64) {
        self.one.take_if(|(id, _)| *id == reader);
        self.more.retain(|(id, _)| *id != reader);
    }

    fn wake(self) {
        for (_, waker) in self.one.into_iter().chain(self.more) {
            waker.wake();
        }
    }
}

impl Mailbox {
    /// An open, empty mailbox.
    pub fn new(budget: &Arc<Budget>) -> Arc<Mailbox> {
        Arc::new(Mailbox {
            queue: Mutex::default(),
            budget: budget.clone(),
            answers: None,
            onward: None,
        })
    }

    /// One that stands before `to`: what is put into it is there at once, as `passage` gives it on, or not at all. Its own
    /// end is not that of `to`. `passage` must not wait.
    pub fn before(
        to: &Arc<Mailbox>,
        passage: impl Fn(Delivery) -> Option<Delivery> + Send + Sync + 'static,
    ) -> Arc<Mailbox> {
        Arc::new(Mailbox {
            queue: Mutex::default(),
            budget: to.budget.clone(),
            answers: None,
            onward: Some(Onward {
                to: to.clone(),
                passage: Box::new(passage),
            }),
        })
    }

    /// The same for one whose answers are counted.
    pub fn counted(budget: &Arc<Budget>, answers: &Arc<Answers>) -> Arc<Mailbox> {
        Arc::new(Mailbox {
            queue: Mutex::default(),
            budget: budget.clone(),
            answers: Some(answers.clone()),
            onward: None,
        })
    }

    /// Puts a delivery at the end and wakes the readers. Returns how many deliveries were dropped for it, itself
    /// included; after [`Mailbox::close`] everything is dropped.
    pub fn push(&self, delivery: Delivery) -> usize {
        if let Some(onward) = &self.onward
            && !self.is_closed()
        {
            let delivery = (onward.passage)(delivery);
            return delivery.map_or(0, |delivery| onward.to.push(delivery));
        }
        if let Some(answers) = &self.answers
            && delivery.kind.ends_a_request()
        {
            answers.came();
        }
        let mut queue = self.lock();
        let droppable = delivery.kind.may_be_dropped();
        if queue.closed || (droppable && self.budget.is_spent()) {
            return usize::from(droppable);
        }
        let size = delivery.body.len();
        let mut dropped = 0;
        if queue.deliveries.len() >= MAX_DELIVERIES || queue.bytes + size > MAX_BYTES {
            dropped = self.make_room(&mut queue, size);
            let full = queue.deliveries.len() >= MAX_DELIVERIES || queue.bytes + size > MAX_BYTES;
            if droppable && full && !queue.deliveries.is_empty() {
                return dropped + 1;
            }
        }
        queue.bytes += size;
        self.budget.take(size);
        queue.deliveries.push_back(delivery);
        let readers = std::mem::take(&mut queue.readers);
        drop(queue);
        readers.wake();
        dropped
    }

    /// No delivery comes any more; readers get what is there and then the end.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let readers = std::mem::take(&mut queue.readers);
        drop(queue);
        readers.wake();
    }

    /// Whether [`Mailbox::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Bytes waiting to be read.
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// A reader; dropping it leaves what it has not read to the others.
    pub fn reader(self: &Arc<Mailbox>) -> Reader {
        let mut queue = self.lock();
        queue.next_reader += 1;
        Reader {
            id: queue.next_reader,
            mailbox: self.clone(),
        }
    }

    fn make_room(&self, queue: &mut Queue, size: usize) -> usize {
        let before = queue.deliveries.len();
        let mut freed = 0;
        let (bytes, mut count) = (queue.bytes, before);
        queue.deliveries.retain(|delivery| {
            let full = count >= MAX_DELIVERIES || bytes - freed + size > MAX_BYTES;
            if !full || !delivery.kind.may_be_dropped() {
                return true;
            }
            freed += delivery.body.len();
            count -= 1;
            false
        });
        queue.bytes -= freed;
        self.budget.give_back(freed);
        before - queue.deliveries.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("no code panics while it holds a mailbox")
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.budget.give_back(bytes);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// One reader of a mailbox.
#[derive(Debug)]
pub struct Reader {
    id: u64,
    mailbox: Arc<Mailbox>,
}

impl Reader {
    /// The next delivery, or `None` when the mailbox is closed and empty.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let mut queue = self.mailbox.lock();
        if let Some(delivery) = queue.deliveries.pop_front() {
            let size = delivery.body.len();
            queue.bytes -= size;
            self.mailbox.budget.give_back(size);
            return Poll::Ready(Some(delivery));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        queue.readers.wait(self.id, context);
        Poll::Pending
    }

    /// Ready when the mailbox is closed, whatever it still holds.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.mailbox.lock();
        if queue.closed {
            return Poll::Ready(());
        }
        queue.readers.wait(self.id, context);
        Poll::Pending
    }

    /// The next delivery, or `None` when the mailbox is closed and empty.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.mailbox.lock();
        queue.readers.forget(self.id);
        // A delivery may have woken only this reader: pass the word on.
        if !queue.deliveries.is_empty() {
            let readers = std::mem::take(&mut queue.readers);
            drop(queue);
            readers.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn delivery(kind: DeliveryKind, text: &str) -> Delivery {
        Delivery {
            kind,
            body: Bytes::copy_from_slice(text.as_bytes()).into(),
        }
    }

    async fn texts(mailbox: &Arc<Mailbox>) -> Vec<String> {
        mailbox.close();
        let mut reader = mailbox.reader();
        let mut texts = Vec::new();
        while let Some(delivery) = reader.next().await {
            texts.push(String::from_utf8_lossy(&delivery.body.into_bytes()).into_owned());
        }
        texts
    }

    #[tokio::test]
    async fn a_full_mailbox_drops_its_oldest_notifications_and_no_answer() {
        let budget = Arc::default();
        let mailbox = Mailbox::new(&budget);
        let mut dropped = mailbox.push(delivery(DeliveryKind::Answer, "answer"));
        for n in 0..MAX_DELIVERIES + 10 {
            dropped += mailbox.push(delivery(DeliveryKind::Notification, &format!("n{n}")));
        }
        dropped += mailbox.push(delivery(DeliveryKind::Answer, "last"));
        assert_eq!(dropped, 12);
        let texts = texts(&mailbox).await;
        assert_eq!(texts.len(), MAX_DELIVERIES);
        assert_eq!((texts[0].as_str(), texts[1].as_str()), ("answer", "n12"));
        assert_eq!(texts.last().map(String::as_str), Some("last"));
        assert_eq!(budget.queued(), 0);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_given_back() {
        let budget = Arc::default();
        let mailbox = Mailbox::new(&budget);
        let text = "x".repeat(MAX_BYTES / 4);
        for _ in 0..9 {
            mailbox.push(delivery(DeliveryKind::Notification, &text));
        }
        assert_eq!(mailbox.queued_bytes(), MAX_BYTES);
        assert_eq!(budget.queued(), MAX_BYTES);
        drop(mailbox);
        assert_eq!(budget.queued(), 0);
    }

    #[tokio::test]
    async fn each_delivery_goes_to_one_reader() {
        let mailbox = Mailbox::new(&Arc::default());
        let (mut one, mut two) = (mailbox.reader(), mailbox.reader());
        let (first, second) = tokio::join!(
            async {
                let first = one.next().await;
                drop(one);
                first
            },
            async {
                mailbox.push(delivery(DeliveryKind::Answer, "a"));
                mailbox.push(delivery(DeliveryKind::Answer, "b"));
                two.next().await
            }
        );
        let mut got: Vec<_> = [first, second]
            .into_iter()
            .flatten()
            .map(|d| d.body.into_bytes())
            .collect();
        got.sort();
        assert_eq!(got, ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_when_it_is_put_into_its_mailbox() {
        let answers = Arc::new(Answers::default());
        let mailbox = Mailbox::counted(&Arc::default(), &answers);
        assert_eq!((answers.expected(), answers.last()), (0, None));
        answers.expect(2);
        mailbox.push(delivery(DeliveryKind::Notification, "progress"));
        mailbox.push(delivery(DeliveryKind::Answer, "a"));
        assert_eq!((answers.expected(), answers.last()), (1, None));
        mailbox.close();
        mailbox.push(delivery(DeliveryKind::Cancelled, "b"));
        assert_eq!(
            (answers.expected(), answers.last()),
            (0, Some(Instant::now())),
            "also when nobody reads it"
        );
    }

    #[tokio::test]
    async fn what_stands_before_another_mailbox_keeps_nothing() {
        let behind = Mailbox::new(&Arc::default());
        let before = Mailbox::before(&behind, |mut delivery| {
            delivery.kind = DeliveryKind::Answer;
            (delivery.body.len() > 1).then_some(delivery)
        });
        for text in ["one", "2", "three"] {
            before.push(delivery(DeliveryKind::Notification, text));
        }
        assert_eq!((before.queued_bytes(), behind.queued_bytes()), (0, 8));
        before.close();
        before.push(delivery(DeliveryKind::Answer, "late"));
        let first = behind.reader().next().await;
        assert_eq!(first.map(|one| one.kind), Some(DeliveryKind::Answer));
        assert_eq!(texts(&behind).await, ["three"]);
    }

    #[tokio::test]
    async fn the_end_is_seen_without_reading_what_is_there() {
        let mailbox = Mailbox::new(&Arc::default());
        let mut reader = mailbox.reader();
        mailbox.push(delivery(DeliveryKind::Notification, "n"));
        let mut closed =
            std::pin::pin!(std::future::poll_fn(|context| reader.poll_closed(context)));
        tokio::select! {
            biased;
            () = &mut closed => panic!("it is open"),
            () = tokio::task::yield_now() => {}
        }
        mailbox.close();
        closed.await;
        assert_eq!(mailbox.queued_bytes(), 1);
    }
}
