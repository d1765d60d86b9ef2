//! `--config`: which configuration is meant.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(super) struct ConfigArgument {
    /// The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where the configuration is when nobody says.
const PLACES: [&str; 2] = ["bridges.yaml", "/etc/mcp-bridged/bridges.yaml"];

impl ConfigArgument {
    /// The file that is named, or the first of the usual ones that is there.
    ///
    /// # Errors
    /// Nobody named a file, and none is where it is looked for: in words.
    pub(super) fn found(self) -> Result<PathBuf, String> {
        let usual = || {
            let mut places = PLACES.into_iter().map(PathBuf::from);
            places.find(|place| place.exists())
        };
        self.config.or_else(usual).ok_or_else(no_file)
    }
}

/// Why there is nothing to read where nobody named a file.
pub(super) fn no_file() -> String {
    let [local, installed] = PLACES;
    format!(
        "there is neither ./{local} nor {installed}; name the configuration with `--config FILE`"
    )
}
