//! `schema`, `completions` and `man`: what editors, shells and packages want of the program.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Arguments, output, status};
use crate::config;

/// The name that shells know it by.
const NAME: &str = "mcp-bridged";

pub(super) fn schema() -> ExitCode {
    let text = serde_json::to_string_pretty(&config::schema()).expect("a value is JSON");
    output::answer(&text, ExitCode::SUCCESS)
}

pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    output::answer(
        String::from_utf8_lossy(&script).trim_end(),
        ExitCode::SUCCESS,
    )
}

/// Prints the page of the program, or writes one for it and each command into a directory.
pub(super) fn man(directory: Option<&Path>) -> ExitCode {
    let outcome = match directory {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory))
            .map(|()| None),
        None => {
            let mut page = Vec::new();
            // There is no page of `help`.
            let command = Arguments::command().disable_help_subcommand(true);
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            rendered.map(|()| Some(String::from_utf8_lossy(&page).into_owned()))
        }
    };
    match outcome {
        Ok(Some(page)) => output::answer(page.trim_end(), ExitCode::SUCCESS),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => output::fail(
            &format!("failed to write the pages: {error}"),
            status::SOFTWARE,
        ),
    }
}
