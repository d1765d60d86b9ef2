//! The command line.

mod admin;
mod call;
mod check;
mod client;
mod clock;
pub mod demo_server;
mod docs;
mod export;
mod file;
mod import;
mod logs;
mod output;
mod probe;
mod restart;
mod serve;
mod service;
mod show;
mod start_table;
mod target;
mod tools;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::parse_duration;
use crate::telemetry::LogFormat;
use admin::AdminArguments;
use export::{ClientProgram, ExportTransport};
use file::ConfigArgument;
use target::TargetArguments;

/// The exit statuses of sysexits.h that scripts and unit files rely on.
pub mod status {
    /// A server refused or did not start, or its tool or a step of a probe failed.
    pub const FAILURE: u8 = 1;
    /// The arguments are wrong.
    pub const USAGE: u8 = 64;
    /// A port can't be had, or a server can't be reached.
    pub const UNAVAILABLE: u8 = 69;
    /// A fault of the program or the machine.
    pub const SOFTWARE: u8 = 70;
    /// The configuration is invalid.
    pub const CONFIG: u8 = 78;
    /// The user ended it by SIGINT, as shells count it.
    pub const INTERRUPTED: u8 = 130;
}

/// Serves unmodified stdio MCP servers over HTTP, supervised, each on its own port.
///
/// Without a command it serves the bridges of a configuration file.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-bridged",
    version = VERSION,
    args_conflicts_with_subcommands = true,
    after_help = EXIT_STATUSES
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

/// The version, with the commit where the build knew it.
const VERSION: &str = match option_env!("MCP_BRIDGED_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

const EXIT_STATUSES: &str = "\
Exit status:
  0   done, or stopped by a signal after all calls had ended
  1   a server refused or did not start, or its tool or a step of probe failed
  64  wrong arguments
  69  a port can't be had, or a server can't be reached
  70  a fault of the program or the machine
  78  the configuration is invalid";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the bridges of a configuration file (the default)
    ///
    /// Prints one table once every bridge has started or failed, then logs to stderr. SIGTERM and SIGINT let calls in flight
    /// finish, a second one ends at once; SIGHUP applies a changed file.
    Serve(ServeArguments),
    /// Check a configuration file and its commands; starts nothing
    ///
    /// Says everything that is wrong with the file, each thing with line and column, and where each command was found.
    /// Ends with 0 when the file is valid, also if a command is missing, and with 78 when it is not.
    Check(CheckArguments),
    /// Serve one server without a configuration file
    ///
    /// The server gets the whole environment. It is served at /sse (HTTP+SSE) and at /mcp (Streamable HTTP).
    #[command(after_help = "Example: mcp-bridged run --port 8000 -- mcp-server-filesystem /srv")]
    Run(RunArguments),
    /// List the tools of a bridge, of the gateway, or of any MCP server by its URL
    #[command(
        after_help = "Examples:\n  mcp-bridged tools postgres\n  mcp-bridged tools --json http://127.0.0.1:48001/sse"
    )]
    Tools(ToolsArguments),
    /// Call a tool of a bridge, of the gateway, or of any MCP server by its URL
    ///
    /// Shows progress while it waits. Prints the text of the result, on a terminal a list of JSON objects as a table, and saves images
    /// as files. Exit status 1 when the tool says that it failed.
    #[command(
        after_help = "Examples:\n  mcp-bridged call demo add '{\"a\": 1, \"b\": 2}'\n  mcp-bridged call --json http://127.0.0.1:48001/mcp current_time"
    )]
    Call(CallArguments),
    /// Show what runs: states, processes, sessions, calls, last exits
    ///
    /// Ends with 0 when every bridge that should run does, with 1 when one doesn't, with 69 when no daemon answers or this user may
    /// not ask it.
    #[command(
        after_help = "Examples:\n  mcp-bridged status\n  mcp-bridged status --watch\n  mcp-bridged status --json | jq '.bridges[] | select(.state != \"ready\")'"
    )]
    Status(StatusArguments),
    /// Show what servers wrote to stderr and what happened to them
    ///
    /// The daemon keeps the last 2000 lines or 256 KiB of each bridge, whatever its log level.
    #[command(after_help = "Examples:\n  mcp-bridged logs postgres -n 20\n  mcp-bridged logs -f")]
    Logs(LogsArguments),
    /// Drain bridges and start their servers anew
    ///
    /// Waits until each server is ready. Ends with 1 when one can't be started, and says its last words.
    Restart(RestartArguments),
    /// Have the daemon read its configuration again
    ///
    /// Prints what changed, and waits until servers that start are ready. Ends with 78 when the file has errors, and prints
    /// them; nothing is changed then. Ends with 1 when a server doesn't start or a port can't be had with the new
    /// configuration, which is in force all the same. SIGHUP does the same and tells the log.
    Reload(ReloadArguments),
    /// Try servers as a client would, step by step: an acceptance for scripts and archives
    ///
    /// Connects, lists the tools and with --call calls one, each step with its time and PASS or FAIL. A URL that ends in /live,
    /// /health or /ready is only asked. Ends with 0 when every step of every target passed, else with 1.
    #[command(
        after_help = "Examples:\n  mcp-bridged probe http://127.0.0.1:48001/sse http://127.0.0.1:48001/mcp\n  mcp-bridged probe postgres --call list_schemas --log /var/log/acceptance.log\n  mcp-bridged probe http://127.0.0.1:48001/live"
    )]
    Probe(ProbeArguments),
    /// Make a bridges.yaml of what other programs call their MCP servers
    ///
    /// Reads `mcpServers` of Claude and others, `servers` of VS Code, `mcp_servers` of LiteLLM, and command lines of supergateway,
    /// and prints the file. References to variables stay references. What has no counterpart is said on stderr.
    #[command(
        after_help = "Examples:\n  mcp-bridged import ~/.claude.json > bridges.yaml && mcp-bridged check\n  mcp-bridged import --supergateway 'npx -y supergateway --stdio \"uvx mcp-server-git\" --port 8000'"
    )]
    Import(ImportArguments),
    /// Print what a client's own configuration has to say to use the bridges
    ///
    /// The running daemon says what it serves; where none answers, or its socket is for others, the file does. No variable that the
    /// file refers to needs to be set. Addresses are those that a client can use: `public_url` where it is set, this machine for a
    /// bridge that listens everywhere, unless --host names it. Keys stand there by the name of their variable, never by their value.
    #[command(
        after_help = "Examples:\n  mcp-bridged export --client litellm\n  mcp-bridged export --client codex gateway >> ~/.codex/config.toml\n  mcp-bridged export --client vscode --host mcp.example.org postgres > .vscode/mcp.json"
    )]
    Export(ExportArguments),
    /// Print the JSON Schema of bridges.yaml, for editors
    #[command(
        after_help = "Example: mcp-bridged schema > bridges.schema.json, and in the first line of bridges.yaml:\n  # yaml-language-server: $schema=bridges.schema.json"
    )]
    Schema,
    /// Print a shell's completions
    #[command(
        after_help = "Examples:\n  mcp-bridged completions bash > /etc/bash_completion.d/mcp-bridged\n  source <(mcp-bridged completions zsh)"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example: mcp-bridged man | man -l -")]
    Man {
        /// Write this page and one for each command into a directory instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Be a small MCP server on stdin and stdout, to have something to serve
    DemoServer,
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

#[derive(Debug, Args)]
struct ToolsArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Print the server's own JSON, {"tools": [...]}, with nothing lost
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CallArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The tool's name
    tool: String,
    /// Its arguments, a JSON object; `-` reads it from stdin [default: {}]
    #[arg(value_name = "JSON")]
    arguments: Option<String>,
    /// Print the server's own JSON, with nothing lost
    #[arg(long)]
    json: bool,
    /// Print a list of JSON objects as a table also where no terminal is
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// Where images and other files of the result go [default: the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    save: Option<PathBuf>,
    /// How long each answer may take, such as 500ms, 60s or 10m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct StatusArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Refresh it, every two seconds unless another time is given
    #[arg(short, long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", require_equals = true, value_parser = time)]
    watch: Option<Duration>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LogsArguments {
    /// A bridge, or `gateway` [default: everything]
    bridge: Option<String>,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, Args)]
struct RestartArguments {
    /// Their names or aliases
    #[arg(required = true, value_name = "BRIDGE")]
    bridges: Vec<String>,
    /// Don't wait until they are ready
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for each, draining included
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = time)]
    timeout: Duration,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, Args)]
struct ReloadArguments {
    /// Don't wait until servers that start are ready
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for each, draining included
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = time)]
    timeout: Duration,
    /// Print the outcome as JSON, and wait for nothing
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, Args)]
struct ProbeArguments {
    /// URLs, names of bridges in the configuration, or `gateway`
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// A tool to call
    #[arg(long, value_name = "TOOL")]
    call: Option<String>,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", requires = "call", default_value = "{}")]
    args: String,
    /// A tool that must be listed; may be given several times
    #[arg(long, value_name = "TOOL")]
    expect: Vec<String>,
    /// Append a log of it to this file, with times, the catalogue and the result
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// How long each step may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    timeout: Duration,
    #[command(flatten)]
    config: ConfigArgument,
    /// The key to present [default: MCP_BRIDGED_KEY, else the bridge's first key in the configuration]
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Args)]
struct ImportArguments {
    /// A file of one of these programs; `-` is stdin
    #[arg(value_name = "FILE", required_unless_present = "supergateway")]
    files: Vec<PathBuf>,
    /// A command line that runs supergateway, as one argument
    #[arg(long, value_name = "COMMAND LINE")]
    supergateway: Vec<String>,
    /// The port of the first bridge; the others get those after it
    #[arg(long, value_name = "PORT", default_value_t = 48010)]
    first_port: u16,
}

#[derive(Debug, Args)]
struct ExportArguments {
    /// For whom
    #[arg(long, value_enum)]
    client: ClientProgram,
    /// Names or aliases, or `gateway` [default: all]
    bridges: Vec<String>,
    /// The name under which clients reach this machine, for bridges that listen on all addresses
    #[arg(long)]
    host: Option<String>,
    /// The transport to use [default: sse for LiteLLM, else http]
    #[arg(long, value_enum)]
    transport: Option<ExportTransport>,
    #[command(flatten)]
    admin: AdminArguments,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "expected a time such as 500ms, 60s or 10m".to_owned())
}

/// Options of `serve` need no command before them, so a command after them looks like a part of `serve`.
fn explain_order(error: &mut clap::Error) {
    let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    if error.kind() == ErrorKind::ArgumentConflict {
        let tip = format!(
            "options stand after the command: `mcp-bridged {command} …`, such as `mcp-bridged {command} --config FILE`"
        );
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(mut error) => {
            explain_order(&mut error);
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
        Command::Tools(arguments) => tools::tools(arguments),
        Command::Call(arguments) => call::call(arguments),
        Command::Status(arguments) => show::show(arguments),
        Command::Logs(arguments) => logs::logs(arguments),
        Command::Restart(arguments) => restart::restart(arguments),
        Command::Reload(arguments) => restart::reload(arguments),
        Command::Probe(arguments) => probe::probe(arguments),
        Command::Import(arguments) => import::import(arguments),
        Command::Export(arguments) => export::export(arguments),
        Command::Schema => docs::schema(),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::man(dir.as_deref()),
        Command::DemoServer => match demo_server::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::error(&format!("error: the demo server lost its client: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}
