//! Every test that crosses the process boundary, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic like the tests that they serve"
)]

mod broken_configs;
mod cancellation;
mod harness;
mod initialize;
mod layering;
mod passage;
mod real;
mod smoke;
