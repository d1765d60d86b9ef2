//! mcp-bridged serves unmodified stdio MCP servers over HTTP, each supervised and on its own port.
//!
//! # The floors
//!
//! A module names only modules before it in this list (`tests/it/layering.rs` keeps it so):
//!
//! 1. [`jsonrpc`]: one message's bytes and the spans of its envelope; edits are splices, nothing is re-serialised.
//! 2. [`mcp`]: method names and their routing classes, protocol revisions, capabilities.
//! 3. [`backoff`]: restart delays.
//! 4. [`shutdown`]: signals, and the token that everything listens to.
//! 5. [`metrics`]: what is counted, and its Prometheus text.
//! 6. [`config`]: `bridges.yaml`, validated, every error at once with its place.
//! 7. [`process`]: children: spawn, framing of their lines, the stop ladder, reaping.
//! 8. [`bridge`]: one configured server: instances, multiplexer, sessions.
//! 9. [`transport`]: one HTTP listener per bridge: HTTP+SSE and Streamable HTTP.
//! 10. [`supervisor`]: builds everything from the configuration, reloads by difference, stops in order.
//! 11. [`telemetry`] and [`cli`]: logs, and the command line.

pub mod backoff;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod jsonrpc;
pub mod mcp;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod transport;
