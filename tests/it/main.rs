//! Every test that crosses the process boundary, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic like the tests that they serve"
)]

mod broken_configs;
mod child_io;
mod floods;
mod harness;
mod health;
mod isolation_life;
mod layering;
mod leaks;
mod notify;
mod orphans;
mod real;
mod reload;
mod restart_calls;
mod smoke;
mod stop;
mod supervision;
mod survival;
