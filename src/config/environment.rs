//! The environment that variables are looked up in, and the part of it that a child gets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// What a child gets from us without asking: enough to find programs, a home, a language and a time zone, and no secrets.
const MINIMAL: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR"];

/// Variables of the service manager's protocols, which are meant for us and never for a child.
pub(super) const RESERVED: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A snapshot of environment variables.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// The `inherit_env` key: what a child gets of our environment.
#[derive(Clone, Debug, Default)]
pub(super) enum Inherit {
    /// [`MINIMAL`] and `LC_*`.
    #[default]
    Minimal,
    /// The minimum and these.
    Names(Vec<String>),
    /// All but the variables of the service manager's protocols.
    Everything,
}

impl Environment {
    /// This process's own variables.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// What a child gets under `inherit`.
    pub(super) fn passed_on(&self, inherit: &Inherit) -> BTreeMap<OsString, OsString> {
        let mut variables = self.everything();
        variables.retain(|name, _| {
            let name = name.to_string_lossy();
            match inherit {
                Inherit::Everything => true,
                Inherit::Names(names) => is_minimal(&name) || names.iter().any(|n| *n == name),
                Inherit::Minimal => is_minimal(&name),
            }
        });
        variables
    }

    /// All variables but those of the service manager's protocols, which are meant for us alone.
    pub(super) fn everything(&self) -> BTreeMap<OsString, OsString> {
        let mut variables = self.0.clone();
        variables.retain(|name, _| !is_service_manager(&name.to_string_lossy()));
        variables
    }
}

/// Whether a variable belongs to the protocols of the service manager (sd_notify, watchdog, socket activation), now or in
/// a later version of them.
fn is_service_manager(name: &str) -> bool {
    name == "NOTIFY_SOCKET" || name.starts_with("WATCHDOG_") || name.starts_with("LISTEN_")
}

fn is_minimal(name: &str) -> bool {
    MINIMAL.contains(&name) || name.starts_with("LC_")
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inherit: &Inherit, expected: &[&str]) {
        let ours = [
            "PATH",
            "LC_ALL",
            "SECRET",
            "EXTRA",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "LISTEN_FDS",
        ];
        let ours: Environment = ours.map(|name| (name, "x")).into_iter().collect();
        let names: Vec<_> = ours.passed_on(inherit).into_keys().collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_child_gets_little_unless_asked_and_never_the_service_managers() {
        check(&Inherit::Minimal, &["LC_ALL", "PATH"]);
        check(
            &Inherit::Names(vec!["EXTRA".to_owned(), "LISTEN_FDS".to_owned()]),
            &["EXTRA", "LC_ALL", "PATH"],
        );
        check(&Inherit::Everything, &["EXTRA", "LC_ALL", "PATH", "SECRET"]);
    }

    #[test]
    fn debug_shows_names_only() {
        let environment: Environment = [("TOKEN", "hunter2")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), r#"{"TOKEN"}"#);
    }
}
