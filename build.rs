//! Puts the commit into the version of a release build. Without git, or outside a repository, the version stands for itself; and in
//! other builds, which would have to be made anew for every commit.

use std::path::Path;
use std::process::Command;

/// Set where the sources come without their repository, such as in a container.
const COMMIT: &str = "MCP_BRIDGED_COMMIT";

fn main() {
    cargo("rerun-if-changed=build.rs");
    cargo(&format!("rerun-if-env-changed={COMMIT}"));
    let given = std::env::var(COMMIT).ok();
    let given = given.filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(of_repository).flatten());
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    cargo(&format!("rustc-env=MCP_BRIDGED_VERSION={version}"));
}

fn of_repository() -> Option<String> {
    // Of this package, not of a repository that it happens to lie in.
    let root = git(&["rev-parse", "--show-toplevel"])?;
    let own = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&root).canonicalize().ok()? != Path::new(&own).canonicalize().ok()? {
        return None;
    }
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"])?;
    for name in ["HEAD", &branch, "packed-refs"] {
        // What isn't there would be taken for changed each time.
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            cargo(&format!("rerun-if-changed={path}"));
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn cargo(line: &str) {
    println!("cargo::{line}");
}
