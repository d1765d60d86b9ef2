//! Listening sockets that the service manager bound and holds (sd_listen_fds(3)): they are open while no daemon runs.
//!
//! A listener takes over the socket of its name (the bridge's, `admin` or `gateway`), else one at its very address, so
//! that both a socket unit per bridge and a single one for all of them serve. Where such a socket listens, the file says
//! too: who may connect without a key is decided by that. What is served is always a duplicate. The sockets themselves
//! stay until the process ends, and a bridge that a reload takes away and another one brings back finds its own again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{getsockopt, sockopt};

use crate::config::Listen;

/// What the service manager handed over.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// A socket that can't be served.
#[derive(Debug, thiserror::Error)]
#[error("take over the service manager's socket {name}: {source}")]
pub struct SocketError {
    name: String,
    source: io::Error,
}

impl Sockets {
    /// Those that the environment names; none without a service manager. To be called once, before anything else opens a
    /// descriptor.
    ///
    /// # Errors
    /// [`SocketError`] when one isn't there or isn't a listening TCP socket.
    pub fn inherited() -> Result<Sockets, SocketError> {
        let all = sd_notify::listen_fds_with_names().map_err(|source| SocketError {
            name: "list".to_owned(),
            source,
        })?;
        all.map(|(fd, name)| match take_over(fd) {
            Ok((listener, address)) => Ok(Socket {
                name,
                address,
                listener,
            }),
            Err(source) => Err(SocketError { name, source }),
        })
        .collect::<Result<_, _>>()
        .map(Sockets)
    }

    /// The socket of the listener `name` that the file puts at `listen`, if there is one.
    ///
    /// # Errors
    /// When a socket has the name and another address, or the system has no descriptor left.
    pub(super) fn find(&self, name: &str, listen: &Listen) -> io::Result<Option<TcpListener>> {
        match self.0.iter().find(|socket| socket.serves(name, listen)) {
            Some(socket) => socket.listener.try_clone().map(Some),
            None => match self.0.iter().find(|socket| socket.name == name) {
                Some(socket) => Err(io::Error::other(format!(
                    "the service manager holds its socket at {}; name the same address in the file and in the socket unit",
                    socket.address
                ))),
                None => Ok(None),
            },
        }
    }

    /// Name and address of the sockets that none of these listeners serves: who connects there waits for ever.
    pub(super) fn idle<'a>(
        &self,
        listeners: impl Iterator<Item = (&'a str, Listen)> + Clone,
    ) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0
            .iter()
            .filter(move |socket| {
                !listeners
                    .clone()
                    .any(|(name, listen)| socket.serves(name, &listen))
            })
            .map(|socket| (&*socket.name, socket.address))
    }
}

impl Socket {
    fn serves(&self, name: &str, listen: &Listen) -> bool {
        let host = self.address.ip().to_canonical();
        // `[::]` is what systemd makes of a port without an address, and takes IPv4 as well.
        let same_host = host == listen.host.to_canonical()
            || (host.is_unspecified() && listen.host.is_unspecified());
        let named = self.name == name && listen.port == 0;
        same_host && (named || listen.port == self.address.port())
    }
}

fn take_over(fd: RawFd) -> io::Result<(TcpListener, SocketAddr)> {
    #[expect(
        unsafe_code,
        reason = "a number from the environment becomes a descriptor only so; it is open, or sd_notify had refused it"
    )]
    // SAFETY: the service manager left the descriptor to this process, and nothing else in it uses it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if !getsockopt(&fd, sockopt::AcceptConn)? {
        return Err(io::Error::other("it does not listen (Accept= must be no)"));
    }
    let listener = TcpListener::from(fd);
    let address = listener
        .local_addr()
        .map_err(|_| io::Error::other("it is no TCP socket"))?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(sockets: &[(&str, &str)]) -> Sockets {
        let hold = |&(name, address): &(&str, &str)| {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            let name = name.to_owned();
            Socket {
                name,
                address,
                listener,
            }
        };
        Sockets(sockets.iter().map(hold).collect())
    }

    fn at(host: &str, port: u16) -> Listen {
        let host = host.parse().unwrap();
        Listen { host, port }
    }

    #[test]
    fn a_listener_gets_the_socket_of_its_name_or_its_address() {
        let sockets = held(&[("db", "127.0.0.1:0"), ("mcp-bridged.socket", "[::]:0")]);
        let (db, all) = (sockets.0[0].address.port(), sockets.0[1].address.port());
        let check = |name, listen, expected: Option<u16>| {
            let found = sockets.find(name, &listen).unwrap();
            let port = found.map(|found| found.local_addr().unwrap().port());
            assert_eq!(port, expected, "{name} at {listen}");
        };
        check("db", at("127.0.0.1", db), Some(db));
        check("db", at("127.0.0.1", 0), Some(db));
        check("files", at("127.0.0.1", db), Some(db));
        check("files", at("127.0.0.1", 0), None);
        check("files", at("0.0.0.0", all), Some(all));
        check("files", at("::", all), Some(all));
        check("files", at("127.0.0.1", all), None);
        check("files", at("0.0.0.0", 0), None);
    }

    #[test]
    fn a_socket_of_the_name_at_another_address_is_refused() {
        let sockets = held(&[("db", "127.0.0.1:0")]);
        let port = sockets.0[0].address.port();
        for listen in [at("127.0.0.1", 1), at("0.0.0.0", port), at("::1", 0)] {
            let error = sockets.find("db", &listen).unwrap_err();
            assert!(error.to_string().contains(&port.to_string()), "{error}");
        }
    }

    #[test]
    fn sockets_without_a_listener_are_named() {
        let sockets = held(&[("db", "127.0.0.1:0"), ("old", "127.0.0.1:0")]);
        let listeners = [("db", at("127.0.0.1", 0)), ("files", at("127.0.0.1", 1))];
        let idle: Vec<_> = sockets.idle(listeners.into_iter()).collect();
        assert_eq!(idle, [("old", sockets.0[1].address)]);
    }
}
