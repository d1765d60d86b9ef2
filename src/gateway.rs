//! The gateway: one listener over all bridges and remote servers, which lists their tools under unique names, executes
//! them, and serves MCP and the OpenAI API.

#![expect(
    dead_code,
    reason = "the listener that uses these rooms is being built"
)]

mod access;
mod audit;
mod catalogue;
mod chat;
mod content;
mod continuations;
mod execute;
mod names;
mod offer;
mod openai;
mod rounds;
mod selection;
mod server;
mod stream;
mod upstream;
