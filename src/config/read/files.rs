//! What stands in files beside the configuration: keys, and variables of a bridge.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::expand::{expand, only_variable};
use super::super::secret::Purpose;
use super::super::wording::{Lack, reason};
use super::super::yaml::{Node, Value};
use super::super::{Place, Problem, Secret, env_file};
use super::{Absent, Missing, Reader};

impl Reader<'_> {
    /// A secret: written out, from a variable, or from a file. `None` when it was reported, or is empty and may be.
    pub(super) fn secret(
        &mut self,
        node: &Node,
        path: &str,
        purpose: Purpose,
        may_be_empty: bool,
    ) -> Option<Secret> {
        let expected = purpose.expected();
        let known = self.missing.len();
        let text = match self.text(node, path, &expected) {
            None if self.missing.len() > known => return self.absent(node),
            text => text?,
        };
        let is_file = text.value.starts_with("file:");
        let value = match text.value.strip_prefix("file:") {
            None => text.value,
            Some(file) => {
                let file = self.base.join(file);
                match fs::read_to_string(&file) {
                    Ok(content) => {
                        self.warn_if_exposed(node.place, path, &file);
                        content.trim().to_owned()
                    }
                    Err(_) if self.absent == Absent::StaysOpen => return self.absent(node),
                    Err(error) => {
                        let text = format!("cannot read `{}`: {}", file.display(), reason(&error));
                        self.report.at(node.place, path, text);
                        return None;
                    }
                }
            }
        };
        if purpose.admits(&value) {
            let variable = variable_of(node).filter(|_| !is_file);
            return Some(Secret::from_variable(value, variable));
        }
        match value.is_empty() {
            // The default of a variable that is set elsewhere, or what this user has of it.
            true if variable_of(node).is_some() && self.absent == Absent::StaysOpen => {
                return self.absent(node);
            }
            true if may_be_empty => {}
            true => self.unfit(node, path, "nothing", &expected, ""),
            false => self.unfit(node, path, "a value that is not shown", &expected, ""),
        }
        None
    }

    /// The secret that is somewhere else, where that may be.
    fn absent(&self, node: &Node) -> Option<Secret> {
        let may_be = self.absent == Absent::StaysOpen;
        may_be.then(|| Secret::from_variable(String::new(), variable_of(node)))
    }

    /// Reads the environment file that `entry` names into [`Reader::variables`]. The key itself is checked with the others.
    pub(in crate::config) fn env_file(&mut self, node: &Node, path: &str) {
        let Value::Scalar(written) = &node.value else {
            return;
        };
        let Ok(name) = expand(written, &|name| {
            self.environment.get(name).map(OsString::from)
        }) else {
            return;
        };
        if name.trim().is_empty() {
            return;
        }
        let file: PathBuf = self.base.join(name);
        let content = match fs::read(&file) {
            Ok(content) => content,
            Err(error) => {
                self.missing.push(Missing {
                    place: node.place,
                    key: path.to_owned(),
                    what: Lack::File(file, reason(&error)),
                });
                return;
            }
        };
        self.warn_if_exposed(node.place, path, &file);
        let Ok(content) = String::from_utf8(content) else {
            self.report.at(
                node.place,
                path,
                format!("`{}` is not UTF-8", file.display()),
            );
            return;
        };
        let parsed = env_file::parse(&content);
        for (place, flaw) in parsed.flaws {
            let (file, key, text) = (file.clone(), path.to_owned(), flaw.to_owned());
            self.report.add(Problem {
                file,
                place: Some(place),
                key,
                text,
            });
        }
        self.variables = parsed.variables.into_iter().collect();
    }

    fn warn_if_exposed(&mut self, place: Place, path: &str, file: &Path) {
        // systemd gives the service access by an ACL, which looks like a right of the group (systemd.exec(5), Credentials).
        let credentials = self.environment.get("CREDENTIALS_DIRECTORY");
        if credentials.is_some_and(|directory| file.starts_with(directory)) {
            return;
        }
        if file
            .metadata()
            .is_ok_and(|file| file.permissions().mode() & 0o044 != 0)
        {
            let file = file.display();
            self.warnings.at(
                place,
                path,
                format!("others can read `{file}`; run `chmod 600 {file}`"),
            );
        }
    }
}

/// The variable that the value is, as a whole.
fn variable_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(written) => only_variable(written),
        _ => None,
    }
}
