//! Rings, and connections that carry a stream one after the other.

use bytes::Bytes;

use super::*;
use crate::bridge::DeliveryKind;

fn ring() -> Ring {
    Ring {
        events: VecDeque::new(),
        bytes: 0,
        next: 1,
        kept: Arc::default(),
    }
}

fn numbers(ring: &Ring, from: u64) -> Vec<u64> {
    ring.from(from).map(|event| event.number).collect()
}

fn body(size: usize) -> Body {
    Bytes::from(vec![b'x'; size]).into()
}

fn delivery(kind: DeliveryKind, text: &'static str) -> Delivery {
    Delivery {
        kind,
        body: Bytes::from_static(text.as_bytes()).into(),
    }
}

/// What a carrier sends now, and whether its stream is over.
fn sent(carrier: &mut Carrier) -> (String, bool) {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut text = Vec::new();
    let mut frames = Frames::default();
    loop {
        let outcome = carrier.poll_fill(&mut context, &mut frames, false);
        while let Some(piece) = frames.pop() {
            text.extend_from_slice(&piece);
        }
        if outcome != Poll::Ready(true) {
            let text = String::from_utf8(text).unwrap();
            let text = text
                .replace("event: message\nid: ", "")
                .replace("\ndata: ", "=")
                .replace("\n\n", " ");
            return (text, outcome == Poll::Ready(false));
        }
    }
}

#[test]
fn event_ids_read_as_they_are_written() {
    for text in ["p1-0", "g4294967295-18446744073709551615"] {
        assert_eq!(EventId::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "1-1",
        "p-1",
        "p1",
        "p1-",
        "x1-1",
        "p1-x",
        "p99999999999-1",
        "é1-1",
    ] {
        assert_eq!(EventId::parse(text), None, "{text}");
    }
}

#[test]
fn a_ring_is_bounded_in_events_bytes_and_time() {
    let start = Instant::now();
    let mut ring = ring();
    for _ in 0..300 {
        ring.push(body(1), start);
    }
    assert_eq!((ring.events.len(), ring.events[0].number), (EVENTS, 45));
    assert_eq!(numbers(&ring, 298), [298, 299, 300]);
    ring.push(body(BYTES - 10), start);
    assert_eq!(ring.events.len(), 11);
    ring.push(body(2 * BYTES), start);
    assert_eq!(numbers(&ring, 0), [302]);
    ring.push(body(1), start + AGE);
    ring.push(body(1), start + AGE + Duration::from_secs(1));
    assert_eq!(numbers(&ring, 0), [303, 304]);
    let kept = ring.kept.clone();
    assert_eq!(kept.load(Ordering::Relaxed), 2);
    drop(ring);
    assert_eq!(kept.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_resumed_stream_sends_what_was_missed_once_and_goes_on() {
    let mailbox = Mailbox::new(&Arc::default());
    let mut streams = Streams::default();
    let stream = streams.begin(
        Origin::Post { unanswered: 1 },
        mailbox.clone(),
        &Arc::default(),
    );
    let mut first = stream.attach(0);
    for text in ["a", "b"] {
        mailbox.push(delivery(DeliveryKind::Notification, text));
    }
    assert_eq!(sent(&mut first), ("p1-1=a p1-2=b ".to_owned(), false));
    mailbox.push(delivery(DeliveryKind::Notification, "c"));

    let mut second = streams
        .find(EventId::parse("p1-1").unwrap().stream)
        .unwrap()
        .attach(1);
    assert_eq!(
        sent(&mut first),
        (String::new(), true),
        "the older connection gives the stream up"
    );
    assert_eq!(sent(&mut second), ("p1-2=b p1-3=c ".to_owned(), false));
    mailbox.push(delivery(DeliveryKind::Answer, "d"));
    drop(second);

    let mut third = stream.attach(3);
    assert_eq!(sent(&mut third), ("p1-4=d ".to_owned(), true));
    assert_eq!(sent(&mut stream.attach(3)), ("p1-4=d ".to_owned(), true));
    assert_eq!(sent(&mut stream.attach(4)), (String::new(), true));
}

#[tokio::test]
async fn streams_of_one_mailbox_share_its_messages_without_doubles() {
    let mailbox = Mailbox::new(&Arc::default());
    let mut streams = Streams::default();
    let kept = Arc::default();
    let mut one = streams.begin(Origin::Get, mailbox.clone(), &kept).attach(0);
    let mut two = streams.begin(Origin::Get, mailbox.clone(), &kept).attach(0);
    mailbox.push(delivery(DeliveryKind::Notification, "a"));
    assert_eq!(sent(&mut one), ("g1-1=a ".to_owned(), false));
    assert_eq!(sent(&mut two), (String::new(), false));
    mailbox.push(delivery(DeliveryKind::Notification, "b"));
    assert_eq!(sent(&mut two), ("g2-1=b ".to_owned(), false));
    mailbox.close();
    assert!(sent(&mut one).1 && sent(&mut two).1);
}

#[tokio::test]
async fn a_session_keeps_its_newest_streams_until_they_are_old() {
    let mailbox = Mailbox::new(&Arc::default());
    let mut streams = Streams::default();
    let now = Instant::now();
    for _ in 0..STREAMS + 2 {
        let stream = streams.begin(
            Origin::Post { unanswered: 1 },
            mailbox.clone(),
            &Arc::default(),
        );
        stream.record(&delivery(DeliveryKind::Answer, "x"), now);
    }
    assert!(
        streams
            .find(StreamId {
                post: true,
                number: 2
            })
            .is_none()
    );
    assert!(
        streams
            .find(StreamId {
                post: true,
                number: 3
            })
            .is_some()
    );
    assert!(
        streams
            .find(StreamId {
                post: false,
                number: 3
            })
            .is_none()
    );
    streams.sweep(now + AGE);
    assert_eq!(streams.recent.len(), STREAMS);
    streams.sweep(now + AGE + Duration::from_secs(1));
    assert!(streams.recent.is_empty());
}

#[tokio::test]
async fn a_stream_without_events_is_kept_for_its_answer() {
    let mailbox = Mailbox::new(&Arc::default());
    let mut streams = Streams::default();
    let kept = Arc::default();
    let origin = Origin::Post { unanswered: 1 };
    let stream = streams.begin(origin, mailbox.clone(), &kept);
    let id = stream.first_event().stream;
    drop(stream.attach(0));
    drop(stream);
    let now = Instant::now();
    let later = now + AGE + Duration::from_secs(1);
    for at in [now, later] {
        streams.sweep(at);
        assert!(streams.find(id).is_some(), "the call is still running");
    }

    mailbox.push(delivery(DeliveryKind::Answer, "a"));
    streams.sweep(now + AGE);
    let mut carrier = streams.find(id).unwrap().attach(0);
    streams.sweep(later + AGE);
    assert_eq!(sent(&mut carrier), ("p1-1=a ".to_owned(), true));

    let mailbox = Mailbox::new(&Arc::default());
    let other = streams.begin(origin, mailbox.clone(), &kept).id;
    mailbox.push(delivery(DeliveryKind::Answer, "b"));
    streams.sweep(now);
    assert!(streams.find(other).is_some());
    streams.sweep(later);
    assert!(streams.find(other).is_none(), "nobody came for it");
}
