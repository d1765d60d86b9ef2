//! How a daemon that doesn't answer is started: by systemd where its unit is installed, else by hand. A daemon of the installed
//! configuration that root started by hand would run every server as root.

use std::path::Path;

use super::file::INSTALLED;

/// Where a package, an administrator by hand, and Debian's merged tree have units.
const UNITS: [&str; 3] = [
    "etc/systemd/system/mcp-bridged.service",
    "usr/lib/systemd/system/mcp-bridged.service",
    "lib/systemd/system/mcp-bridged.service",
];
/// Is there while systemd is the machine's init.
const BOOTED: &str = "run/systemd/system";

/// What to do when the daemon of `file`, or of the file that nobody named, doesn't answer.
pub(super) fn start_it(file: Option<&Path>) -> &'static str {
    let file = file.unwrap_or_else(|| Path::new(super::file::usual().unwrap_or_default()));
    started_below(Path::new("/"), file)
}

fn started_below(root: &Path, file: &Path) -> &'static str {
    let is_there = |path: &str| root.join(path).exists();
    if file == Path::new(INSTALLED) && is_there(BOOTED) && UNITS.into_iter().any(is_there) {
        "start it with `sudo systemctl start mcp-bridged` (`systemctl status mcp-bridged` says why it ended)"
    } else {
        "start it with `mcp-bridged serve`"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn systemd_starts_what_its_unit_serves() {
        let root = tempfile::tempdir().unwrap();
        let installed = Path::new(INSTALLED);
        let by_systemd = |file: &Path| started_below(root.path(), file).contains("systemctl start");
        let make = |path: &str| fs::create_dir_all(root.path().join(path)).unwrap();
        make(UNITS[1]);
        assert!(!by_systemd(installed), "a container");
        make(BOOTED);
        assert!(by_systemd(installed));
        assert!(!by_systemd(Path::new("bridges.yaml")));
        fs::remove_dir(root.path().join(UNITS[1])).unwrap();
        assert!(!by_systemd(installed), "no unit");
    }
}
