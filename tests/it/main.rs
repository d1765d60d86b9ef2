//! Every test that crosses the process boundary, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic like the tests that they serve"
)]

mod broken_configs;
mod cli;
mod harness;
mod layering;
mod real;
mod smoke;
