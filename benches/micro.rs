//! `cargo bench`: the pure parts of the way of a message, with time and allocations for each of four sizes.
//!
//! The messages are `tools/call` requests and their answers, whole texts of just these sizes, with an escape every eighty
//! bytes or so, as lines of text have them. What a bench is given is made before the clock starts; the allocations are those of
//! one message, by divan's counting allocator.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, Divan, black_box};
use mcp_bridged::bridge::bench::RoundTrip;
use mcp_bridged::jsonrpc::{Body, Edit, Message, scan};
use mcp_bridged::mcp::era::client::{self, Answer, Freshness};
use mcp_bridged::transport::bench::Framing;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Bytes of a message.
const SIZES: [usize; 4] = [250, 4 << 10, 64 << 10, 1 << 20];
/// What a request of the stateless revision says of itself.
const MODERN: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"#;

/// For each size of each bench; a hundred iterations alone are over before anything is warm.
const AT_LEAST: Duration = Duration::from_millis(100);

fn main() {
    Divan::default()
        .min_time(AT_LEAST)
        .config_with_args()
        .main();
}

/// A request under the id `id`.
fn request(id: u64, meta: &str, size: usize) -> Bytes {
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo",{meta}"arguments":{{"text":""#
    );
    filled(head, r#""}}}"#, size)
}

/// A server's answer to `id`.
fn answer(id: u64, size: usize) -> Bytes {
    let head =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    filled(head, r#""}]}}"#, size)
}

/// `head`, lines of text, `tail`: `size` bytes in all.
fn filled(mut text: String, tail: &str, size: usize) -> Bytes {
    const LINE: &str =
        r"2026-07-28T09:15:02.113Z INFO request from 10.1.2.3 took 12 ms, 4096 bytes\n";
    let end = size.saturating_sub(tail.len());
    while text.len() + LINE.len() <= end {
        text.push_str(LINE);
    }
    text.extend(std::iter::repeat_n('.', end.saturating_sub(text.len())));
    text.push_str(tail);
    text.into()
}

fn parsed(text: Bytes) -> Message {
    Message::parse(text).expect("the benches' messages are well formed")
}

/// What the multiplexer makes of an answer: the client's id in place of the server's.
fn restored(size: usize) -> Body {
    let message = parsed(answer(12_345, size));
    let id = message.envelope().id.expect("an answer has an id");
    message.replacing(id, b"7")
}

/// Well-formedness and the places of the envelope.
#[divan::bench(name = "1 envelope scan", args = SIZES)]
fn envelope_scan(bencher: Bencher<'_, '_>, size: usize) {
    let text = request(7, "", size);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| scan(black_box(&text)));
}

/// The scan, the check for UTF-8 and what kind of message it is.
#[divan::bench(name = "2 message parse", args = SIZES)]
fn message_parse(bencher: Bencher<'_, '_>, size: usize) {
    let text = request(7, "", size);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| Message::parse(black_box(&text).clone()));
}

/// Another id, on the way to the server: one line in a buffer that is there.
#[divan::bench(name = "3 splice to the server", args = SIZES)]
fn splice_to_the_server(bencher: Bencher<'_, '_>, size: usize) {
    let message = parsed(request(7, "", size));
    let span = message.envelope().id.expect("a request has an id");
    let mut line = Vec::with_capacity(2 * size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        line.clear();
        message.write_line(
            &mut line,
            &mut [Edit {
                span,
                with: b"12345",
            }],
        );
        black_box(&line).len()
    });
}

/// The client's id, on the way back.
#[divan::bench(name = "4 splice to the client", args = SIZES)]
fn splice_to_the_client(bencher: Bencher<'_, '_>, size: usize) {
    let message = parsed(answer(12_345, size));
    let span = message.envelope().id.expect("an answer has an id");
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| black_box(&message).replacing(span, b"7"));
}

/// Request and answer, from the client's bytes to those in its mailbox: two parses, the multiplexer, two splices.
#[divan::bench(name = "5 multiplexer round trip", args = SIZES)]
fn multiplexer_round_trip(bencher: Bencher<'_, '_>, size: usize) {
    let mut trip = RoundTrip::new();
    let request = request(7, "", size);
    let minted = Cell::new(0);
    bencher
        .counter(BytesCount::new(2 * size))
        .with_inputs(|| {
            minted.set(minted.get() + 1);
            answer(minted.get(), size)
        })
        .bench_local_values(|answer| {
            let request = parsed(request.clone());
            trip.request(&request);
            trip.answer(parsed(answer))
        });
}

/// An answer as an event.
#[divan::bench(name = "6 sse framing", args = SIZES)]
fn sse_framing(bencher: Bencher<'_, '_>, size: usize) {
    let body = restored(size);
    let mut framing = Framing::default();
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        framing.message(black_box(&body), |piece| {
            black_box(piece);
        });
    });
}

/// A stateless client's request for a server with a handshake.
#[divan::bench(name = "7 era: modern request to legacy", args = SIZES)]
fn modern_request(bencher: Bencher<'_, '_>, size: usize) {
    let message = parsed(request(7, MODERN, size));
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| client::request(black_box(message.clone())));
}

/// That server's answer for that client.
#[divan::bench(name = "8 era: legacy answer to modern", args = SIZES)]
fn legacy_answer(bencher: Bencher<'_, '_>, size: usize) {
    let body = restored(size);
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| Answer::translated(black_box(&body).clone(), Freshness::None));
}
