//! The admin socket: the admin listener's routes on a Unix socket, for commands on this machine.
//!
//! It is bound under another name and then moved to its place, so that nobody meets it with other permissions or replaces a
//! living one. What a dead daemon left behind is taken away. Who may open the file may use it (unix(7)).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Supervisor;
use crate::config::{Environment, SocketMode, admin_sockets};

/// Connections at a time; commands have one each.
const CONNECTIONS: usize = 64;

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the admin socket {}: {source}{}", path.display(), cure(.source))]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another daemon answers there: stop it, or give this one an `admin.socket` of its own"
        }
        io::ErrorKind::NotFound => {
            "; its directory is missing: create it, or let the unit's `RuntimeDirectory=` do so"
        }
        io::ErrorKind::PermissionDenied => {
            "; the directory must be the daemon's own: see `admin.socket`"
        }
        io::ErrorKind::AlreadyExists => "; something else is there that is no socket",
        io::ErrorKind::InvalidInput => "; its path may have at most 107 bytes",
        _ => "",
    }
}

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    listener: UnixListener,
}

/// A socket that is served. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Of the file, to know ours from another's.
    inode: Option<u64>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Opens the socket of the configuration in force, or says in the log why there is none.
    pub(super) fn reopen_socket(&mut self) {
        // First, because the new one may be at the same place.
        self.socket = None;
        match bind(&self.config) {
            Ok(bound) => self.open_socket(bound),
            Err(error) => warn!("{error}"),
        }
    }

    pub(super) fn open_socket(&mut self, bound: Bound) {
        let router = self.socket_router();
        self.socket = Some(bound.open(router, &self.shared.tasks));
    }
}

/// Binds the socket that `config` wants, or else the first of the usual places that can be had.
///
/// # Errors
/// That of the configured place, or of the first of the usual ones. Nothing is changed then.
pub(super) fn bind(config: &crate::config::Config) -> Result<Bound, SocketError> {
    let mode = config.socket.mode;
    if let Some(path) = &config.socket.path {
        return Bound::at(path, mode);
    }
    let name = format!("run-{}", std::process::id());
    let environment = Environment::of_process();
    let mut first = None;
    for path in admin_sockets(config.file.as_deref(), &name, &environment) {
        let error = match path.parent().map_or(Ok(()), own_directory) {
            Err(source) => SocketError { path, source },
            Ok(()) => match Bound::at(&path, mode) {
                Ok(bound) => return Ok(bound),
                Err(error) => error,
            },
        };
        first.get_or_insert(error);
    }
    Err(first.expect("there is at least one place"))
}

impl Bound {
    fn at(path: &Path, mode: SocketMode) -> Result<Self, SocketError> {
        let outcome = clear(path).and_then(|()| listen(path, mode));
        match outcome {
            Ok(listener) => Ok(Self {
                path: path.to_owned(),
                listener,
            }),
            Err(source) => Err(SocketError {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn open(self, router: Router, tasks: &TaskTracker) -> Socket {
        let stop = CancellationToken::new();
        tasks.spawn(serve(self.listener, router, stop.clone(), tasks.clone()));
        debug!(socket = %self.path.display(), "admin socket open");
        Socket {
            inode: fs::symlink_metadata(&self.path).ok().map(|it| it.ino()),
            path: self.path,
            stop,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.stop.cancel();
        let there = fs::symlink_metadata(&self.path).ok().map(|it| it.ino());
        if there.is_some() && there == self.inode {
            // Whoever comes next takes a dead one away.
            let _left = fs::remove_file(&self.path);
        }
    }
}

/// Makes a directory for sockets of ours, or checks that nobody else can put something into the one that is there.
fn own_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    let is_ours = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    match is_ours {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Takes away what a dead daemon left at `path`.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => fs::remove_file(path),
    }
}

fn listen(path: &Path, mode: SocketMode) -> io::Result<UnixListener> {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    let unready = PathBuf::from(name);
    clear(&unready)?;
    let listener = UnixListener::bind(&unready)?;
    let permitted = fs::set_permissions(&unready, fs::Permissions::from_mode(mode.bits()))
        .and_then(|()| fs::rename(&unready, path));
    if permitted.is_err() {
        // What went wrong before is what matters.
        let _left = fs::remove_file(&unready);
    }
    permitted.map(|()| listener)
}

async fn serve(
    listener: UnixListener,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match (accepted, room.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => {
                tasks.spawn(converse(stream, router.clone(), stop.clone(), permit));
            }
            // One too many: closed at once.
            (Ok(_), Err(_)) => {}
            (Err(error), _) => {
                debug!(%error, "failed to accept at the admin socket");
                // Descriptors or memory are used up; it can only get better.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(
    stream: UnixStream,
    router: Router,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            // What is being answered is answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection of the admin socket broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        for mode in [SocketMode::Owner, SocketMode::Group] {
            let bound = Bound::at(&path, mode).unwrap();
            let permissions = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(permissions & 0o777, mode.bits());
            let refused = Bound::at(&path, mode).unwrap_err().to_string();
            assert!(
                refused.contains("another daemon answers there"),
                "{refused}"
            );
            // Its file stays behind, as after a SIGKILL.
            drop(bound);
            assert!(path.exists());
        }
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[tokio::test]
    async fn something_else_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "precious").unwrap();
        let refused = Bound::at(&path, SocketMode::Owner).unwrap_err().to_string();
        assert!(refused.contains("no socket"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        let missing = directory.path().join("none/a.sock");
        let refused = Bound::at(&missing, SocketMode::Owner)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("RuntimeDirectory="), "{refused}");
        let long = directory.path().join("x".repeat(120));
        let refused = Bound::at(&long, SocketMode::Owner).unwrap_err().to_string();
        assert!(refused.contains("107 bytes"), "{refused}");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run");
        own_directory(&path).unwrap();
        own_directory(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own_directory(&path).is_err());
    }
}
