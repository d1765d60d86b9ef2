//! `--config`: which configuration is meant.

use std::path::{Path, PathBuf};

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(super) struct ConfigArgument {
    /// The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The configuration of the machine's own daemon.
pub(super) const INSTALLED: &str = "/etc/mcp-bridged/bridges.yaml";

/// Where the configuration is when nobody says.
const PLACES: [&str; 2] = ["bridges.yaml", INSTALLED];

impl ConfigArgument {
    /// The file that is named, or the first of the usual ones that is there.
    ///
    /// # Errors
    /// Nobody named a file, and none is where it is looked for: in words.
    pub(super) fn found(self) -> Result<PathBuf, String> {
        let usual = || usual().map(PathBuf::from);
        self.config.or_else(usual).ok_or_else(no_file)
    }
}

/// The first of the usual places that has a file.
pub(super) fn usual() -> Option<&'static str> {
    PLACES.into_iter().find(|place| Path::new(place).exists())
}

/// Why there is nothing to read where nobody named a file.
pub(super) fn no_file() -> String {
    let [local, installed] = PLACES;
    format!(
        "there is neither ./{local} nor {installed}; name the configuration with `--config FILE`"
    )
}
