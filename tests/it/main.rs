//! Every test that crosses the process boundary, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic like the tests that they serve"
)]

mod broken_configs;
mod harness;
mod http_guards;
mod http_sight;
mod layering;
mod legacy_sse;
mod limits_http;
mod real;
mod resumption;
mod smoke;
mod streamable;
