//! mcp-bridged serves unmodified stdio MCP servers over HTTP, each supervised and on its own port.
//!
//! # The floors
//!
//! A module names only modules before it in this list (`tests/it/layering.rs` keeps it so):
//!
//! 1. [`jsonrpc`]: one message's bytes and the spans of its envelope; edits are splices, nothing is re-serialised.
//! 2. [`mcp`]: method names and their routing classes, protocol revisions, capabilities, what the two eras say differently.
//! 3. [`backoff`]: restart delays and quarantine.
//! 4. [`shutdown`]: signals, and the tokens that everything listens to.
//! 5. [`memory`]: what the allocator keeps, and giving it back.
//! 6. [`metrics`]: what is counted, and its Prometheus text.
//! 7. [`journal`]: the last lines about each bridge, for who asks.
//! 8. [`trace`]: which trace a request belongs to, and what is kept of it for a collector.
//! 9. [`config`]: `bridges.yaml`, validated, every error at once with its place.
//! 10. [`process`]: children: spawn, framing of their lines, the stop ladder, reaping.
//! 11. [`bridge`]: one configured server: its instances, the multiplexer, sessions.
//! 12. [`transport`]: one HTTP listener per bridge, or over all: HTTP+SSE, Streamable HTTP, and its stateless revision.
//! 13. [`gateway`]: one listener over all bridges and remote servers: their tools under unique names, executed for models.
//! 14. [`supervisor`]: builds everything from the configuration, reloads by difference, stops in order.
//! 15. [`telemetry`] and [`cli`]: logs and exported traces, and the command line.
//!
//! # How a call goes
//!
//! ```text
//! client POST ── transport ── Session ══ channel ══▶ actor ── mux ── outbox ──▶ server's stdin
//! client SSE  ◀─ transport ◀═ Mailbox ══════════════ actor ◀─ mux ◀─ lines ◀── server's stdout
//! ```
//!
//! A transport finds or opens a [`bridge::Session`] and hands it the message; that never waits. The task that owns the
//! instance (`bridge/actor`) takes many commands at once, lets the multiplexer (`bridge/mux`, pure and synchronous) give
//! each request an id of its own, and writes what the pipe takes. A line of the server is scanned once; the multiplexer
//! says whose it is, and it goes into that reader's [`bridge::Mailbox`]. The transports differ in how long a session
//! lives, where replies go, and what a vanished client means. Health reads a snapshot of the state and asks nobody.
//!
//! Inside, messages are those of the revisions with a handshake. A client of the stateless revision is translated at its
//! edge (`transport/stateless`), a stateless server at its own (`bridge/mux/modern`), and between the two of them messages
//! pass as they are. What a server with a handshake asks a stateless client ends that client's request; the call waits in
//! `transport/stateless/parking` for the retry.
//!
//! The gateway has the same transports over all bridges as one, and calls tools for models over the same sessions, in
//! process; a server that others run it speaks with by rmcp's client.
//!
//! # What always holds
//!
//! - A message's bytes pass as they came, except the spans that routing replaces.
//! - Every request that is accepted ends with exactly one delivery, at the address that it came with.
//! - Nothing of one session reaches another; what can't be attributed reaches nobody.
//! - Every queue has a bound, and the task that reads a server never waits for a client.
//! - Each process is started by one thread that lives as long as the program, and nothing it started outlives it.
//! - One task owns each instance; everybody else sends it a message or reads what it published.

pub mod backoff;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod journal;
pub mod jsonrpc;
pub mod mcp;
pub mod memory;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod trace;
pub mod transport;
