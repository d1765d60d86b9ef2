//! A scriptable stdio MCP server for the tests.

fn main() {}
