//! To be written.

pub mod demo_server;
