//! A stdio MCP server for the tests that does what it is told, by flags and by the arguments of its tools. It works on raw lines,
//! so it can show exactly what it received and send exactly what a test wants, also what no server should.
//!
//! Every line received is appended to `--record`; what happens to the process is appended to `--journal`, one JSON object a line:
//! `start` (pid, args), `grandchild` (pid, kind), `cancelled` (id, as raw JSON text), `eof`, `signal` (name), `broken-pipe`.
//!
//! | Tool | Arguments | What it does |
//! |---|---|---|
//! | `echo` | anything | answers with the request's raw line as text, and its raw `params` as `result.params`; so does every listed tool that has no meaning of its own, and every method below `test/` and `tasks/` |
//! | `hold` | `key` or `file`, `ignore_cancel` | answers once `release` was called with `key`, or `file` exists; a cancelled one is not answered, unless `ignore_cancel` |
//! | `release` | `key`, `n` | lets one `hold` of that key go on, or n; also before it arrives |
//! | `sleep` | `ms` | answers later |
//! | `crash` | `code` or `signal`, `stderr`, `partial`, `answer` | ends the process: after writing `stderr`, after half a line, after the answer |
//! | `emit` | `pieces`, `file`, `lines`, `end`, `hex`, `after`, `answer` | writes the first of `pieces`, journals `piece` with the bytes `written` so far, and the second + `end` when `file` exists, with nothing in between; writes each of `lines` + `end` (default `\n`), then the bytes `hex`, then answers (unless `answer: false`), then writes `after`. `$ID` and `$TOKEN` in a line are replaced by the request's raw id and progress token |
//! | `oversize` | `mib`, `id` | answers with a line of so many MiB whose id comes `first`, `last` or not at all (`none`) |
//! | `big` | `bytes` | a valid answer with a text of that length |
//! | `progress` | `n`, `token`, `after` | n progress notifications, for `token` if given, after the answer if `after` |
//! | `log` | `level`, `n`, `data` | n log notifications |
//! | `ask` | `method`, `params`, `id` (raw JSON text), `wait`, `cancel` | sends a request to the client and answers with the raw line that came back; `wait: false` answers at once, `cancel` takes the request back |
//! | `update` | `uri` | `notifications/resources/updated` |
//! | `list_changed` | `kind`, `n`, `add` | n × `notifications/<kind>/list_changed`, after adding a tool named `add` |
//! | `flood` | `n` or `seconds`, `bytes`, `kind`, `line`, `background` | many lines: `log`, `progress`, `garbage`, `list_changed` or the raw `line`; answers with the number sent, at once if `background` |
//! | `hang` | `how` | `stdin`: stops reading; `stop`: SIGSTOP to itself; `silent`: reads, answers nothing more, not even pings |
//! | `close` | `stream` | closes `stdout` or `stdin` and lives on |
//! | `stderr` | `n`, `text`, `bytes`, `end` | n lines of `text`, or of so many bytes |
//! | `alloc` | `mib` | takes and keeps memory |
//! | `spawn` | `kind` | starts a further process: `group`, `setsid` or `daemon`, as the `--grandchild…` flags do |
//! | `input` | `rounds` of `requests` and `state: false`, `endless`, `progress`, `hold` | revision 2026-07-28: wants to know these, one round after the other, then answers as `echo` does. `progress` is reported in each round (`progress` + its number); from the second on it waits until the file `hold` exists |
//! | `end_streams` | `how` | ends every `subscriptions/listen` by its `result`, or takes it back (`cancelled`) |
//! | `fail` | `code`, `message` | answers with an error |
//! | `info` | | pid, ppid, group, session, cwd, args, env, descriptors, limits, signal masks, as structured content |
//! | `state` | | log level, subscriptions, number of requests and of `initialize`s, raw ids cancelled |
//!
//! Of revision 2026-07-28 (`--modern`, `--dual`), `update` and `list_changed` write to the streams that asked for it, and
//! `log` where the request asked for that level. `loose: true` makes these three write as the earlier revisions do. `input`
//! and `end_streams` are not listed.
//!
//! `prompts/get` runs the same tools by `name` and `arguments`, and `resources/read` of the URI `run:{"name":…,"arguments":…}` too.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

mod modern;
mod output;
mod processes;
mod server;
mod tools;

/// What the server does without being called. Times are milliseconds.
#[derive(Debug, Clone, Parser)]
struct Flags {
    /// Append each line from stdin, byte for byte, to this file
    #[arg(long)]
    record: Option<String>,
    /// Append what happens to the process to this file
    #[arg(long)]
    journal: Option<String>,

    /// Exit at once with this code
    #[arg(long)]
    exit_at_start: Option<i32>,
    /// Exit at once with code 1 as long as this file exists
    #[arg(long)]
    fail_while: Option<String>,
    /// Write this line to stdout first
    #[arg(long)]
    banner: Vec<String>,
    /// Write this line to stderr first
    #[arg(long)]
    stderr_banner: Vec<String>,
    /// Exit when the nth request (not counting `server/discover`, `initialize` and `ping`) arrives
    #[arg(long)]
    exit_after: Option<u64>,
    /// Exit when a request or notification with this method arrives
    #[arg(long)]
    exit_on: Option<String>,
    /// The code for `--exit-after` and `--exit-on`
    #[arg(long, default_value_t = 1)]
    exit_code: i32,

    /// Speak revision 2026-07-28 and nothing else
    #[arg(long)]
    modern: bool,
    /// Speak it until an `initialize` comes
    #[arg(long)]
    dual: bool,
    /// Exit with code 1 when anything comes before `initialize`
    #[arg(long)]
    exit_on_probe: bool,
    /// Answer nothing that comes before `initialize`
    #[arg(long)]
    silent_before_init: bool,
    /// Answer `server/discover` once this file exists
    #[arg(long)]
    discover_hold: Option<String>,
    /// Answer `server/discover` with this raw error
    #[arg(long)]
    discover_error: Option<String>,
    /// Answer `server/discover` with this raw result
    #[arg(long)]
    discover_result: Option<String>,
    /// Refuse `subscriptions/listen`
    #[arg(long)]
    refuse_listen: bool,
    /// Tell nobody of updates of this URI
    #[arg(long)]
    refuse_uri: Vec<String>,

    /// Answer `initialize` after this time
    #[arg(long, default_value_t = 0)]
    init_delay: u64,
    /// Answer `initialize` once this file exists
    #[arg(long)]
    init_hold: Option<String>,
    /// Answer `initialize` with an error of this message
    #[arg(long)]
    init_error: Option<String>,
    /// Never answer `initialize`
    #[arg(long)]
    init_silent: bool,
    /// Answer `initialize` with this raw result
    #[arg(long)]
    init_result: Option<String>,
    /// The revision to answer; the client's by default
    #[arg(long)]
    protocol: Option<String>,
    /// The capabilities to declare, as JSON
    #[arg(long)]
    capabilities: Option<String>,
    /// The instructions to give
    #[arg(long)]
    instructions: Option<String>,
    /// Send this raw line when `notifications/initialized` arrives
    #[arg(long)]
    on_initialized: Vec<String>,

    /// List so many more tools, `tool_0` and on
    #[arg(long, default_value_t = 0)]
    tools: usize,
    /// List a tool of this name
    #[arg(long)]
    tool: Vec<String>,
    /// Leave the scripted tools out of the list (they can be called all the same)
    #[arg(long)]
    hide_tools: bool,
    /// Answer `tools/list` with this raw result
    #[arg(long)]
    tools_result: Option<String>,
    /// At most so many tools a page
    #[arg(long)]
    page: Option<usize>,
    /// What the URIs of the resources begin with
    #[arg(long, default_value = "fake")]
    scheme: String,
    /// Refuse `resources/subscribe`
    #[arg(long)]
    refuse_subscribe: bool,
    /// Answer `ping` with −32601
    #[arg(long)]
    refuse_ping: bool,
    /// Don't answer `ping`
    #[arg(long)]
    ignore_ping: bool,
    /// Work on one request at a time, as a synchronous server does
    #[arg(long)]
    synchronous: bool,

    /// Live on when stdin ends
    #[arg(long)]
    ignore_eof: bool,
    /// Live on at SIGTERM, SIGINT and SIGHUP
    #[arg(long)]
    ignore_sigterm: bool,
    /// Start a process that ignores SIGTERM in the same process group
    #[arg(long)]
    grandchild: bool,
    /// Start one in a session of its own
    #[arg(long)]
    grandchild_setsid: bool,
    /// Start one in a session of its own whose parent has exited
    #[arg(long)]
    daemon: bool,
    /// The processes started don't keep stdout and stderr open
    #[arg(long)]
    quiet_grandchildren: bool,

    /// For the processes this one starts
    #[arg(long, hide = true)]
    role: Option<processes::Role>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(role) = flags.role {
        return processes::play(role, &flags);
    }
    let server = Arc::new(server::Server::new(flags));
    server::run(&server)
}
