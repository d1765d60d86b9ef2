//! Every test that crosses the process boundary, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic like the tests that they serve"
)]

mod asks;
mod broken_configs;
mod cancellation;
mod cli;
mod harness;
mod http_guards;
mod ids;
mod initialize;
mod isolation;
mod layering;
mod legacy_sse;
mod limits_http;
mod logging;
mod passage;
mod progress;
mod real;
mod resumption;
mod smoke;
mod streamable;
mod subscriptions;
mod tools_filter;
