//! Where the admin socket of a daemon is: as configured, or at a place that daemon and command line both derive from the
//! configuration file, so that they find each other without being told.
//!
//! The directory is systemd's `RuntimeDirectory=`, which is `/run/mcp-bridged` in the unit; else the user's runtime directory
//! (XDG Base Directory Specification), else one of the user's own below `/tmp`, whatever `TMPDIR` says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::Environment;

/// The configuration of an installed daemon.
const INSTALLED: &str = "/etc/mcp-bridged/bridges.yaml";

/// The Unix socket on which a daemon answers what the admin listener does. Who may open it may use it; it wants no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSocket {
    /// Where it is; `None` for the first of [`admin_sockets`] that can be had.
    pub path: Option<PathBuf>,
    /// Who may open it.
    pub mode: SocketMode,
}

/// The permissions of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketMode {
    /// 600: the daemon's user, and root.
    #[default]
    Owner,
    /// 660: its group, too.
    Group,
}

impl SocketMode {
    /// As chmod(2) takes it.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
        }
    }
}

/// Where the socket of the daemon that serves `file` may be, best first. A daemon without a file gives itself a `name`.
#[must_use]
pub fn admin_sockets(file: Option<&Path>, name: &str, environment: &Environment) -> Vec<PathBuf> {
    let name = match file {
        Some(file) => name_for(&std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
        None => format!("{name}.sock"),
    };
    let directories = directories(environment).into_iter();
    directories.map(|directory| directory.join(&name)).collect()
}

/// `admin.sock` for the installed configuration; others are told apart by a digest of their path.
fn name_for(file: &Path) -> String {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    if file == Path::new(INSTALLED) {
        return "admin.sock".to_owned();
    }
    format!("admin-{:016x}.sock", digest(file.as_os_str()))
}

fn directories(environment: &Environment) -> Vec<PathBuf> {
    let named = |name| environment.get(name).filter(|value| !value.is_empty());
    let mut directories = Vec::new();
    // Several are separated by colons; ours is the first.
    if let Some(given) = named("RUNTIME_DIRECTORY") {
        let first = given.as_bytes().split(|byte| *byte == b':').next();
        directories.extend(first.map(|first| PathBuf::from(OsStr::from_bytes(first))));
    }
    directories.push(PathBuf::from("/run/mcp-bridged"));
    if let Some(own) = named("XDG_RUNTIME_DIR") {
        directories.push(Path::new(own).join("mcp-bridged"));
    }
    directories.push(PathBuf::from(format!("/tmp/mcp-bridged-{}", geteuid())));
    directories.dedup();
    directories
}

/// FNV-1a, because it has to be the same in every build.
fn digest(text: &OsStr) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let os = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        variables.iter().map(os).collect()
    }

    #[test]
    fn the_installed_file_has_the_plain_name() {
        let environment = environment(&[("RUNTIME_DIRECTORY", "/run/x:/run/y")]);
        let paths = admin_sockets(Some(Path::new(INSTALLED)), "", &environment);
        let uid = geteuid();
        let expected = [
            "/run/x/admin.sock".to_owned(),
            "/run/mcp-bridged/admin.sock".to_owned(),
            format!("/tmp/mcp-bridged-{uid}/admin.sock"),
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
    }

    #[test]
    fn files_have_sockets_of_their_own_however_they_are_named() {
        let environment = environment(&[("XDG_RUNTIME_DIR", "/run/user/7")]);
        let of = |file: &str| admin_sockets(Some(Path::new(file)), "", &environment)[1].clone();
        assert_eq!(of("Cargo.toml"), of("./src/../Cargo.toml"));
        assert_ne!(of("Cargo.toml"), of("Cargo.lock"));
        assert!(of("no-such-file").starts_with("/run/user/7/mcp-bridged"));
        let unnamed = admin_sockets(None, "run-8000", &environment);
        assert!(unnamed[1].ends_with("mcp-bridged/run-8000.sock"));
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(digest(OsStr::new("foobar")), 0x8594_4171_f739_67e8);
    }
}
