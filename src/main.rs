//! The `mcp-bridged` binary: does what its arguments say and ends with the status that the outcome deserves.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_bridged::cli::main()
}
