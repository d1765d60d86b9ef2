//! The `mcp-bridged` binary: parses arguments and turns the outcome into an exit code.

fn main() {}
