//! Walks a node and a table of keys together: stores what is good and reports the rest, without stopping at either.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::environment::Inherit;
use super::expand::{Flaw, expand};
use super::keys::{Key, Kind};
use super::problem::Report;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use super::wording::{Lack, describe, listed, quote, reason, unknown_key};
use super::yaml::{Node, Value, join};
use super::{Environment, Place, Problem, Secret, secret};

/// The longest duration that any key takes, in hours.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Reads nodes into drafts.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) report: &'a mut Report,
    pub(super) warnings: &'a mut Report,
    pub(super) environment: &'a Environment,
    /// The directory that relative paths count from.
    pub(super) base: &'a Path,
    /// Variables of the bridge's `env_file`; they outrank the environment.
    pub(super) variables: BTreeMap<String, String>,
    /// What an optional bridge can do without, by becoming unavailable.
    pub(super) missing: Vec<Missing>,
}

/// Something outside the file that it needs and that isn't there.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) what: Lack,
}

/// A scalar after expansion, and how a message may quote it.
struct Text {
    value: String,
    shown: String,
}

impl<'a> Reader<'a> {
    /// Reads a map of the keys of `tables` into `target`.
    pub(super) fn map<T>(
        &mut self,
        node: &Node,
        path: &str,
        tables: &[&'static [Key<T>]],
        target: &mut T,
    ) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let path = join(path, &entry.key);
                    match tables
                        .iter()
                        .copied()
                        .flatten()
                        .find(|key| key.name == entry.key)
                    {
                        Some(key) => self.value(&entry.node, &path, &key.kind, target),
                        None => {
                            let known = tables.iter().copied().flatten().map(|key| key.name);
                            self.report.at(
                                entry.place,
                                path,
                                unknown_key(&entry.key, &known.collect::<Vec<_>>()),
                            );
                        }
                    }
                }
            }
            Value::Null | Value::Refused => {}
            _ => self.wrong(node, path, "a map of keys"),
        }
    }

    fn value<T>(&mut self, node: &Node, path: &str, kind: &Kind<T>, target: &mut T) {
        match kind {
            Kind::Elsewhere => {}
            Kind::Section(keys) => self.map(node, path, &[keys], target),
            Kind::Flag(set) => self.parsed(node, path, "`true` or `false`", flag, |value| {
                set(target, value)
            }),
            Kind::Number { least, most, set } => {
                let parse = |text: &str| text.parse().ok().filter(|n| (least..=most).contains(&n));
                let expected = format!("a whole number from {least} to {most}");
                self.parsed(node, path, &expected, parse, |value| set(target, value));
            }
            Kind::Duration { least, set } => {
                let parse =
                    |text: &str| parse_duration(text).filter(|d| (least..=&LONGEST).contains(&d));
                let (least, most) = (format_duration(*least), format_duration(LONGEST));
                let expected = format!(
                    "a duration from {least} to {most} such as `500ms`, `30s`, `5m` or `1h`"
                );
                self.parsed(node, path, &expected, parse, |value| set(target, value));
            }
            Kind::Size { least, most, set } => {
                let parse = |text: &str| parse_size(text).filter(|n| (least..=most).contains(&n));
                let (least, most) = (format_size(*least), format_size(*most));
                let expected = format!("a size from {least} to {most} such as `64KiB` or `16MiB`");
                self.parsed(node, path, &expected, parse, |value| set(target, value));
            }
            Kind::Choice(options) => {
                let parse = |text: &str| options.iter().find(|(name, _)| *name == text);
                let expected = listed(options.iter().map(|(name, _)| *name), "or");
                self.parsed(node, path, &expected, parse, |(_, set)| set(target));
            }
            Kind::Text { expected, set } => {
                if let Some(text) = self.text(node, path, expected)
                    && let Err(reason) = set(target, text.value)
                {
                    self.unfit(node, path, &text.shown, expected, &reason);
                }
            }
            Kind::List {
                of,
                may_be_empty,
                clear,
                add,
            } => {
                let Some(items) = self.list(node, path, of) else {
                    return;
                };
                clear(target);
                if items.is_empty() && !may_be_empty {
                    let text = "found an empty list, which would allow nothing; name something or leave the key out";
                    self.report.at(node.place, path, text);
                }
                for (path, item) in items {
                    if let Some(text) = self.text(item, &path, of)
                        && let Err(reason) = add(target, text.value)
                    {
                        self.unfit(item, &path, &text.shown, of, &reason);
                    }
                }
            }
            Kind::Secrets { clear, add } => {
                let Some(items) = self.list(node, path, "a key") else {
                    return;
                };
                clear(target);
                for (path, item) in items {
                    if let Some(secret) = self.secret(item, &path) {
                        add(target, secret);
                    }
                }
            }
            Kind::Variables { name, set } => match &node.value {
                Value::Map(entries) => {
                    for entry in entries {
                        let path = join(path, &entry.key);
                        if let Err(reason) = name(&entry.key) {
                            let shown = quote(&entry.key);
                            self.unfit_at(
                                entry.place,
                                &path,
                                &shown,
                                "a name of a variable",
                                &reason,
                            );
                        }
                        let expected = "text (`\"\"` for an empty value)";
                        if let Some(text) = self.text(&entry.node, &path, expected) {
                            set(target, entry.key.clone(), text.value);
                        }
                    }
                }
                Value::Null | Value::Refused => {}
                _ => self.wrong(
                    node,
                    path,
                    "a map of names to values, such as `{ TZ: UTC }`",
                ),
            },
            Kind::Inherit(set) => {
                if matches!(node.value, Value::List(_)) {
                    let items = self
                        .list(node, path, "a name of a variable")
                        .unwrap_or_default();
                    let names = items
                        .into_iter()
                        .filter_map(|(path, item)| self.text(item, &path, "a name of a variable"));
                    set(
                        target,
                        Inherit::Names(names.map(|text| text.value).collect()),
                    );
                } else {
                    let everything = |yes| {
                        if yes {
                            Inherit::Everything
                        } else {
                            Inherit::Minimal
                        }
                    };
                    let expected = "`true`, `false` or a list of names";
                    self.parsed(node, path, expected, flag, |yes| {
                        set(target, everything(yes))
                    });
                }
            }
        }
    }

    /// Reads a scalar that `parse` understands.
    fn parsed<V>(
        &mut self,
        node: &Node,
        path: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<V>,
        set: impl FnOnce(V),
    ) {
        let Some(text) = self.text(node, path, expected) else {
            return;
        };
        match parse(&text.value) {
            Some(value) => set(value),
            None => self.unfit(node, path, &text.shown, expected, ""),
        }
    }

    /// A key: written out, from a variable, or from a file.
    fn secret(&mut self, node: &Node, path: &str) -> Option<Secret> {
        let expected = format!("a key of 1 to {} visible ASCII characters", secret::LIMIT);
        let text = self.text(node, path, &expected)?;
        let value = match text.value.strip_prefix("file:") {
            None => text.value,
            Some(file) => {
                let file = self.base.join(file);
                match fs::read_to_string(&file) {
                    Ok(content) => {
                        self.warn_if_exposed(node.place, path, &file);
                        content.trim().to_owned()
                    }
                    Err(error) => {
                        let text = format!("cannot read `{}`: {}", file.display(), reason(&error));
                        self.report.at(node.place, path, text);
                        return None;
                    }
                }
            }
        };
        if (1..=secret::LIMIT).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Some(Secret::new(value));
        }
        self.unfit(
            node,
            path,
            if value.is_empty() {
                "nothing"
            } else {
                "a value that is not shown"
            },
            &expected,
            "",
        );
        None
    }

    /// The items of a list and their paths.
    fn list<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        of: &str,
    ) -> Option<Vec<(String, &'n Node)>> {
        match &node.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| (format!("{path}[{index}]"), item))
                    .collect(),
            ),
            Value::Refused => None,
            _ => {
                self.wrong(node, path, &format!("a list, each item {of}"));
                None
            }
        }
    }

    /// A scalar with its variables expanded. What is wrong with it is reported; what is missing is noted.
    fn text(&mut self, node: &Node, path: &str, expected: &str) -> Option<Text> {
        let Value::Scalar(written) = &node.value else {
            self.wrong(node, path, expected);
            return None;
        };
        match expand(written, &|name| self.lookup(name)) {
            Ok(value) if value.contains('\0') => {
                self.report.at(
                    node.place,
                    path,
                    format!("found a NUL byte, expected {expected}"),
                );
                None
            }
            Ok(value) => {
                let shown = if value == *written {
                    quote(written)
                } else {
                    format!("{} (its value is not shown)", quote(written))
                };
                Some(Text { value, shown })
            }
            Err(Flaw::Missing(names)) => {
                for name in names {
                    self.missing.push(Missing {
                        place: node.place,
                        key: path.to_owned(),
                        what: Lack::Variable(name),
                    });
                }
                None
            }
            Err(flaw) => {
                self.report.at(node.place, path, describe(&flaw));
                None
            }
        }
    }

    fn lookup(&self, name: &str) -> Option<OsString> {
        let own = self.variables.get(name).map(OsString::from);
        own.or_else(|| self.environment.get(name).map(OsString::from))
    }

    /// Reports a node of the wrong type.
    pub(super) fn wrong(&mut self, node: &Node, path: &str, expected: &str) {
        let found = match &node.value {
            Value::Refused => return,
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(entries) if entries.is_empty() => "an empty map".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(_) => "a single value".to_owned(),
        };
        self.report.at(
            node.place,
            path,
            format!("found {found}, expected {expected}"),
        );
    }

    fn unfit(&mut self, node: &Node, path: &str, found: &str, expected: &str, reason: &str) {
        self.unfit_at(node.place, path, found, expected, reason);
    }

    fn unfit_at(&mut self, place: Place, path: &str, found: &str, expected: &str, reason: &str) {
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        self.report.at(
            place,
            path,
            format!("found {found}, expected {expected}{reason}"),
        );
    }

    /// Reads the environment file that `entry` names into [`Reader::variables`]. The key itself is checked with the others.
    pub(super) fn env_file(&mut self, node: &Node, path: &str) {
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
        let parsed = super::env_file::parse(&content);
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

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
