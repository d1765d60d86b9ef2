//! What a bridge runs: program, arguments, the child's whole environment, and where the program is found.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where programs are looked for when the child's environment has no `PATH`.
const FALLBACK_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Directories of a search path that a message names.
const SHOWN: usize = 3;

/// A program and how to run it. No shell is involved.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// A path if it contains a slash, else a name to look up in the child's `PATH`.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// The complete environment of the child: nothing else is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; `None` is ours.
    pub cwd: Option<PathBuf>,
    /// The user it runs as, by name or number; `None` is ours.
    pub user: Option<String>,
    /// What it may use.
    pub limits: ProcessLimits,
}

/// Resource limits of a child; `None` leaves ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Niceness, −20 to 19.
    pub nice: Option<i32>,
}

/// Why a command can't be run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// No directory of the `PATH` has it.
    #[error(
        "command `{program}` not found on PATH ({}); {}",
        in_short(path),
        cure(program)
    )]
    NotOnPath {
        /// As configured.
        program: String,
        /// What was searched.
        path: String,
    },
    /// The path leads nowhere.
    #[error("command `{}` does not exist; install it or correct its path", path.display())]
    Missing {
        /// Relative paths count from the child's working directory.
        path: PathBuf,
    },
    /// There is a file, but it is not executable.
    #[error("command `{path}` is not executable; run `chmod +x {path}`, or correct its path", path = path.display())]
    NotExecutable {
        /// What was found.
        path: PathBuf,
    },
    /// There is something else than a file.
    #[error("command `{}` is no file; name a program", path.display())]
    NoFile {
        /// What was found.
        path: PathBuf,
    },
    /// The directory that it is to run in isn't one, so that no program can be started there.
    #[error("the directory `{}` of `cwd` does not exist; create it or correct `cwd`", path.display())]
    NoDirectory {
        /// As configured, below the directory of the file.
        path: PathBuf,
    },
}

impl Command {
    /// A program without arguments, with an empty environment.
    #[must_use]
    pub fn new(program: OsString) -> Self {
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            user: None,
            limits: ProcessLimits::default(),
        }
    }

    /// The file to execute, as of now.
    ///
    /// # Errors
    /// When there is none; the message names the places that were looked at.
    pub fn resolve(&self) -> Result<PathBuf, CommandError> {
        if let Some(path) = self.cwd.as_ref().filter(|path| !path.is_dir()) {
            return Err(CommandError::NoDirectory { path: path.clone() });
        }
        if self.program.as_bytes().contains(&b'/') {
            let path = self.in_cwd(Path::new(&self.program));
            return match kind_of(&path) {
                Kind::Executable => Ok(path),
                Kind::File => Err(CommandError::NotExecutable { path }),
                Kind::Other => Err(CommandError::NoFile { path }),
                Kind::Nothing => Err(CommandError::Missing { path }),
            };
        }
        let search = self.variable("PATH").unwrap_or(OsStr::new(FALLBACK_PATH));
        let mut unfit = None;
        for directory in std::env::split_paths(search) {
            let path = self.in_cwd(&directory.join(&self.program));
            match kind_of(&path) {
                Kind::Executable => return Ok(path),
                Kind::File => unfit = unfit.or(Some(path)),
                // A directory of that name is meant by nobody.
                Kind::Other | Kind::Nothing => {}
            }
        }
        Err(match unfit {
            Some(path) => CommandError::NotExecutable { path },
            None => CommandError::NotOnPath {
                program: self.program.to_string_lossy().into_owned(),
                path: search.to_string_lossy().into_owned(),
            },
        })
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_os_str())
    }

    fn in_cwd(&self, path: &Path) -> PathBuf {
        self.cwd.as_deref().unwrap_or(Path::new("")).join(path)
    }
}

/// Arguments and values of variables may be secret: only their number and names are shown.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field(
                "env",
                &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("limits", &self.limits)
            .finish()
    }
}

/// The first directories of a search path, each once, and how many there are more.
fn in_short(path: &str) -> String {
    let mut directories: Vec<&str> = Vec::new();
    for directory in path.split(':') {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    match directories.split_at_checked(SHOWN) {
        Some((first, rest)) if rest.len() > 1 => {
            format!("{} and {} more", first.join(":"), rest.len())
        }
        _ => directories.join(":"),
    }
}

fn cure(program: &str) -> &'static str {
    match program.contains(' ') {
        true => "no shell is involved, put its arguments under `args`",
        false => "install it or set its full path",
    }
}

enum Kind {
    Executable,
    File,
    Other,
    Nothing,
}

fn kind_of(path: &Path) -> Kind {
    match path.metadata() {
        Ok(file) if !file.is_file() => Kind::Other,
        Ok(file) if file.permissions().mode() & 0o111 != 0 => Kind::Executable,
        Ok(_) => Kind::File,
        Err(_) => Kind::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn command(program: &str, path: Option<&str>, cwd: Option<&Path>) -> Command {
        let env = path
            .map(|path| ("PATH".into(), path.into()))
            .into_iter()
            .collect();
        Command {
            env,
            cwd: cwd.map(Path::to_owned),
            ..Command::new(program.into())
        }
    }

    #[test]
    fn a_program_is_found_on_the_childs_path_or_below_its_directory() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        let tool = home.path().join("bin/tool");
        fs::write(&tool, "").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(home.path().join("bin/data"), "").unwrap();
        let absolute = home.path().join("bin").to_str().unwrap().to_owned();

        assert_eq!(
            command("tool", Some(&format!("/nowhere:{absolute}")), None).resolve(),
            Ok(tool.clone())
        );
        assert_eq!(
            command("tool", Some("bin"), Some(home.path())).resolve(),
            Ok(tool.clone())
        );
        assert_eq!(
            command("bin/tool", None, Some(home.path())).resolve(),
            Ok(tool.clone())
        );
        assert_eq!(
            command(tool.to_str().unwrap(), None, None).resolve(),
            Ok(tool)
        );

        let message = |c: Command| c.resolve().unwrap_err().to_string();
        assert_eq!(
            message(command("tool", Some("/nowhere:/x"), None)),
            "command `tool` not found on PATH (/nowhere:/x); install it or set its full path"
        );
        assert_eq!(
            message(command("/no/tool", None, None)),
            "command `/no/tool` does not exist; install it or correct its path"
        );
        let data = message(command("data", Some(&absolute), None));
        assert!(
            data.contains("bin/data` is not executable; run `chmod +x /"),
            "{data}"
        );
        let directory = message(command("./bin", None, Some(home.path())));
        assert!(
            directory.ends_with("bin` is no file; name a program"),
            "{directory}"
        );
        let spaced = message(command("npx -y x", Some("/x"), None));
        assert!(
            spaced.ends_with("put its arguments under `args`"),
            "{spaced}"
        );
        assert_eq!(
            message(command("sh", None, Some(Path::new("/no/where")))),
            "the directory `/no/where` of `cwd` does not exist; create it or correct `cwd`"
        );
        assert!(command("sh", None, None).resolve().is_ok());
    }

    #[test]
    fn a_long_search_path_is_named_in_short() {
        assert_eq!(in_short("/a:/b:/a:/c:/d"), "/a:/b:/c:/d");
        assert_eq!(in_short("/a:/b:/b:/c:/d:/e"), "/a:/b:/c and 2 more");
        assert_eq!(in_short(""), "");
    }

    #[test]
    fn debug_shows_no_arguments_and_no_values() {
        let mut command = command("x", Some("hunter2"), None);
        command.args.push("--password=hunter2".into());
        assert!(!format!("{command:?}").contains("hunter2"));
    }
}
