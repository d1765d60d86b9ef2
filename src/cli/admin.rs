//! The way to a running daemon: its admin socket, or its admin listener.
//!
//! The configuration file says which daemon is meant. Its socket is looked for first, where the file says or where the daemon of
//! that file puts it (`config::admin_sockets`); then its admin listener. A file with errors in it is good enough for that.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::file::no_file;
use super::service::start_it;
use super::target::KEY_VARIABLE;
use super::{ConfigArgument, output, status};
use crate::config::{Config, Environment, Secret, admin_sockets};
use crate::transport::outward;

/// How long a daemon may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer: longer than it is made to wait for lines of logs.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Args)]
pub(super) struct AdminArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Where the daemon answers: the path of its admin socket, or the URL of its admin listener [default: as the configuration says]
    #[arg(long, value_name = "WHERE")]
    admin: Option<String>,
    /// The key of the admin listener; its socket wants none [default: MCP_BRIDGED_KEY, else the configuration's]
    #[arg(long)]
    key: Option<String>,
}

/// A daemon that answers, or should.
#[derive(Debug)]
pub(super) struct Admin {
    http: reqwest::Client,
    base: Url,
    key: Option<Secret>,
    /// For messages.
    place: String,
}

/// Why the daemon could not be asked, or would not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// No daemon of a configuration answers.
    #[error(
        "no daemon answers for {}; {}, or name the file of the one that runs with --config{}",
        file.display(), start_it(Some(file)), other.as_ref().map_or_else(String::new, |other| format!(" (another one is at `--admin {}`)", other.display()))
    )]
    Nobody {
        file: PathBuf,
        /// The socket of the only one that does.
        other: Option<PathBuf>,
    },
    /// Nobody has said which daemon, and none runs here, or several do.
    #[error("{}, or its daemon with --admin", no_file())]
    NoFile,
    /// Nobody answers where one should.
    #[error("no daemon answers at {0}; {start}, or correct --admin", start = start_it(None))]
    NobodyAt(String),
    /// There is a socket that this user may not open.
    #[error(
        "{0} answers only its own user and root; use `sudo`, or set `admin.socket_mode: 660` and join the daemon's group"
    )]
    Forbidden(String),
    /// `--admin` is neither a path nor a URL.
    #[error("--admin: {0}; expected the path of a socket or a URL such as http://127.0.0.1:48000")]
    Where(String),
    /// The connection broke off.
    #[error("{place} does not answer any more: {reason}")]
    Lost { place: String, reason: String },
    /// The listener wants a key, or another one.
    #[error("{0} wants a key: give that of `admin.api_keys` with --key or in MCP_BRIDGED_KEY")]
    Key(String),
    /// There is something else.
    #[error("{place} is no admin listener of this version of mcp-bridged: it answers {what}")]
    Strange { place: String, what: String },
    /// The HTTP client could not be set up.
    #[error("failed to set up the HTTP client: {0}")]
    Setup(String),
}

/// What the daemon answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl AdminArguments {
    /// The configuration that is meant.
    ///
    /// # Errors
    /// There is none, in words.
    pub(super) fn file(&self) -> Result<PathBuf, String> {
        self.config.clone().found()
    }

    /// Whether it was said where the daemon answers.
    pub(super) fn is_given(&self) -> bool {
        self.admin.is_some()
    }

    /// Finds the daemon.
    pub(super) fn find(&self) -> Result<Admin, AdminError> {
        let environment = Environment::of_process();
        let given = self.key.clone();
        let given = given.or_else(|| std::env::var(KEY_VARIABLE).ok());
        let given = given.filter(|key| !key.is_empty()).map(Secret::new);
        if let Some(place) = &self.admin {
            return at(place, given);
        }
        let Ok(file) = self.file() else {
            let socket = the_only_one(&environment).ok_or(AdminError::NoFile)?;
            return Admin::on_socket(&socket, at_socket(&socket));
        };
        let (listener, socket) = Config::admin_of(&file, &environment);
        let sockets = match socket.path {
            Some(path) => vec![path],
            None => admin_sockets(Some(&file), "", &environment),
        };
        let daemon = format!("the daemon of {}", file.display());
        for path in sockets {
            match UnixStream::connect(&path) {
                Ok(_) => return Admin::on_socket(&path, daemon),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(AdminError::Forbidden(daemon));
                }
                Err(_) => {}
            }
        }
        if let Some(listener) = listener
            && listener.listen.port != 0
        {
            let url = format!("http://{}", output::seen(listener.listen.address()));
            let reached = std::net::TcpStream::connect_timeout(
                &output::seen(listener.listen.address()),
                CONNECT,
            );
            if reached.is_ok() {
                return Admin::at_url(&url, given.or(listener.api_keys.into_iter().next()));
            }
        }
        let other = the_only_one(&environment);
        Err(AdminError::Nobody { file, other })
    }
}

impl Admin {
    fn on_socket(path: &Path, place: String) -> Result<Self, AdminError> {
        let http = builder().unix_socket(path);
        Ok(Self {
            http: built(http)?,
            base: Url::parse("http://localhost/").expect("it is a URL"),
            key: None,
            place,
        })
    }

    fn at_url(url: &str, key: Option<Secret>) -> Result<Self, AdminError> {
        let base = Url::parse(url).map_err(|error| AdminError::Where(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(AdminError::Where(format!("found `{url}`")));
        }
        let mut http = builder();
        if outward::is_loopback(&base) {
            http = http.no_proxy();
        }
        Ok(Self {
            http: built(http)?,
            base,
            key,
            place: format!("the admin listener {url}"),
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, AdminError> {
        self.send(Method::GET, path).await
    }

    pub(super) async fn post(&self, path: &str) -> Result<Answer, AdminError> {
        self.send(Method::POST, path).await
    }

    async fn send(&self, method: Method, path: &str) -> Result<Answer, AdminError> {
        let url = self.base.join(path).expect("a path of ours joins any URL");
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let lost = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            if error.is_connect() {
                return AdminError::NobodyAt(format!("{} ({cause})", self.place));
            }
            AdminError::Lost {
                place: self.place.clone(),
                reason: cause.to_string(),
            }
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(AdminError::Key(self.place.clone()));
        }
        let text = response.text().await.map_err(lost)?;
        match serde_json::from_str(&text) {
            Ok(body) => Ok(Answer { status, body }),
            Err(_) => Err(AdminError::Strange {
                place: self.place.clone(),
                what: format!("{status} without JSON"),
            }),
        }
    }

    /// `answer` was none of what a daemon says.
    pub(super) fn strange(&self, answer: &Answer) -> AdminError {
        AdminError::Strange {
            place: self.place.clone(),
            what: answer.status.to_string(),
        }
    }
}

impl AdminError {
    /// The exit status that it deserves.
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::Nobody { .. }
            | Self::NoFile
            | Self::NobodyAt(_)
            | Self::Forbidden(_)
            | Self::Key(_)
            | Self::Lost { .. }
            | Self::Strange { .. } => status::UNAVAILABLE,
            Self::Where(_) => status::USAGE,
            Self::Setup(_) => status::SOFTWARE,
        }
    }

    /// Says it on stderr, and gives back the exit status.
    pub(super) fn fail(&self) -> std::process::ExitCode {
        output::fail(&self.to_string(), self.status())
    }
}

fn at(place: &str, key: Option<Secret>) -> Result<Admin, AdminError> {
    if place.contains("://") {
        return Admin::at_url(place, key);
    }
    let path = Path::new(place);
    match UnixStream::connect(path) {
        Ok(_) => Admin::on_socket(path, at_socket(path)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(AdminError::Forbidden(at_socket(path)))
        }
        Err(_) => Err(AdminError::NobodyAt(format!("the socket {place}"))),
    }
}

/// The socket of the only daemon that runs here: what is meant where no file says anything.
fn the_only_one(environment: &Environment) -> Option<PathBuf> {
    let places = admin_sockets(None, "", environment);
    let directories = places.iter().filter_map(|place| place.parent());
    let files = directories.filter_map(|directory| std::fs::read_dir(directory).ok());
    let mut living = files
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "sock"))
        .filter(|path| UnixStream::connect(path).is_ok());
    let first = living.next()?;
    living.next().is_none().then_some(first)
}

fn builder() -> reqwest::ClientBuilder {
    outward::install_tls();
    reqwest::Client::builder()
        .user_agent(concat!("mcp-bridged/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .redirect(reqwest::redirect::Policy::none())
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, AdminError> {
    let built = builder.build();
    built.map_err(|error| AdminError::Setup(error.to_string()))
}

fn at_socket(path: &Path) -> String {
    format!("the daemon at {}", path.display())
}
