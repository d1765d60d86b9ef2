//! The command line.

mod check;
pub mod demo_server;
mod output;
mod serve;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

/// The exit statuses of sysexits.h that scripts and unit files rely on.
pub mod status {
    /// The arguments are wrong.
    pub const USAGE: u8 = 64;
    /// A port can't be had, or a server can't be reached.
    pub const UNAVAILABLE: u8 = 69;
    /// A fault of the program or the machine.
    pub const SOFTWARE: u8 = 70;
    /// The configuration is invalid.
    pub const CONFIG: u8 = 78;
}

/// Serves unmodified stdio MCP servers over HTTP, supervised, each on its own port.
#[derive(Debug, Parser)]
#[command(name = "mcp-bridged", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the bridges of a configuration file (the default)
    Serve(ServeArguments),
    /// Check a configuration file and its commands; starts nothing
    Check(CheckArguments),
    /// Serve one server without a configuration file
    Run(RunArguments),
    /// Be a small MCP server on stdin and stdout, to have something to serve
    DemoServer,
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn path(self) -> PathBuf {
        let local = PathBuf::from("bridges.yaml");
        let installed = PathBuf::from("/etc/mcp-bridged/bridges.yaml");
        self.config
            .unwrap_or(if !local.exists() && installed.exists() {
                installed
            } else {
                local
            })
    }
}

#[derive(Debug, Args)]
struct LogArguments {
    /// How log lines look; by default the file's `log.format`, else text on a terminal and JSON otherwise
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// What is logged: a level, or directives such as `info,mcp_bridged=debug`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    log: LogArguments,
    /// Write the addresses of all listeners to this file, as JSON, once they are bound
    #[arg(long, value_name = "FILE", hide = true)]
    ports_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The port to serve it on
    #[arg(short, long)]
    port: u16,
    /// The address to serve it on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The bridge's name [default: the program's]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    log: LogArguments,
    /// The server and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Write the addresses of all listeners to this file, as JSON, once they are bound
    #[arg(long, value_name = "FILE", hide = true)]
    ports_file: Option<PathBuf>,
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wrong = !matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // Help on a closed pipe is nobody's loss.
            let _closed = error.print();
            return if wrong {
                ExitCode::from(status::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Run(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::DemoServer => match demo_server::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::error(&format!("error: the demo server lost its client: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}
