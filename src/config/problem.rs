//! A problem with the configuration: where it is, which key, what was found and expected, and the cure.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// A position in a file, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong; its `Display` is one line, `bridges.yaml:12:5: bridges.db.port: found …, expected …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Where in the file; `None` for the file as a whole.
    pub place: Option<Place>,
    /// The path of the key, such as `bridges.postgres.port`; empty when no key is concerned.
    pub key: String,
    /// What is wrong and what helps.
    pub text: String,
}

/// All that is wrong with a configuration, in the order of the file, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// Collects problems of one file; saying the same thing of the same place twice says it once.
#[derive(Debug)]
pub(super) struct Report {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl Problems {
    /// Each problem.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl Report {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            problems: Vec::new(),
        }
    }

    /// Adds a problem at a place of the file.
    pub(super) fn at(&mut self, place: Place, key: impl Into<String>, text: impl Into<String>) {
        let (file, key, text) = (self.file.clone(), key.into(), text.into());
        self.add(Problem {
            file,
            place: Some(place),
            key,
            text,
        });
    }

    /// Adds a problem of the file as a whole.
    pub(super) fn of_file(&mut self, text: impl Into<String>) {
        let (file, text) = (self.file.clone(), text.into());
        self.add(Problem {
            file,
            place: None,
            key: String::new(),
            text,
        });
    }

    /// Adds a problem that may be of another file.
    pub(super) fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.file != self.file, problem.place));
        self.problems
    }

    /// `value`, if nothing was reported.
    pub(super) fn verdict<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.into_sorted())),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.text)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for Problems {}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
