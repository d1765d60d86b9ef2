//! Every test that crosses the process boundary, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic like the tests that they serve"
)]

mod asks;
mod broken_configs;
mod cancellation;
mod child_io;
mod cli;
mod dashboard;
mod eras_server;
mod exporting;
mod floods;
mod gateway_catalogue;
mod gateway_chat;
mod gateway_crowd;
mod gateway_keys;
mod gateway_mcp;
mod gateway_models;
mod gateway_readme;
mod gateway_remote;
mod gateway_responses;
mod gateway_stateless;
mod guidance;
mod harness;
mod health;
mod http_guards;
mod http_sight;
mod ids;
mod importing;
mod initialize;
mod isolation;
mod isolation_life;
mod layering;
mod leaks;
mod legacy_sse;
mod limits_http;
mod logging;
mod night;
mod notify;
mod operator;
mod orphans;
mod papers;
mod passage;
mod pid_one;
mod probing;
mod progress;
mod proxy;
mod real;
mod reload;
mod restart_calls;
mod resumption;
mod shipped;
mod smoke;
mod sockets;
mod stateless;
mod stateless_input;
mod stateless_instances;
mod stateless_listen;
mod stateless_modern;
mod stop;
mod streamable;
mod subscriptions;
mod supervision;
mod survival;
mod tools_filter;
mod trace_context;
#[cfg(feature = "otel")]
mod traces;
