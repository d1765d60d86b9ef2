//! Walks a node and a table of keys together: stores what is good and reports the rest, without stopping at either.

mod files;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::environment::Inherit;
use super::expand::{Flaw, expand};
use super::keys::{Key, Kind, Names, TOOLS};
use super::problem::Report;
use super::secret::Purpose;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use super::wording::{Lack, describe, listed, quote, shown, unknown_key};
use super::yaml::{Node, Value, join};
use super::{Environment, Place};

/// The longest duration that any key takes, in hours.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Reads nodes into drafts.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) report: &'a mut Report,
    pub(super) warnings: &'a mut Report,
    pub(super) environment: &'a Environment,
    pub(super) absent: Absent,
    /// The directory that relative paths count from.
    pub(super) base: &'a Path,
    /// Variables of the bridge's `env_file`; they outrank the environment.
    pub(super) variables: BTreeMap<String, String>,
    /// What an optional bridge can do without, by becoming unavailable.
    pub(super) missing: Vec<Missing>,
}

/// What it means when something outside the file that it needs isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is a problem, or makes an optional bridge unavailable.
    IsWrong,
    /// It may be where the file is served.
    StaysOpen,
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
            Kind::Tools(globs) => self.map(node, path, &[TOOLS], globs(target)),
            Kind::Items { of, add, .. } => {
                for (path, item) in self.list(node, path, of).unwrap_or_default() {
                    add(target, self, item, &path);
                }
            }
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
            Kind::Secret {
                purpose,
                may_be_empty,
                set,
            } => {
                if let Some(secret) = self.secret(node, path, *purpose, *may_be_empty) {
                    set(target, secret);
                }
            }
            Kind::Secrets { clear, add } => {
                let Some(items) = self.list(node, path, "a key") else {
                    return;
                };
                clear(target);
                for (path, item) in items {
                    if let Some(secret) = self.secret(item, &path, Purpose::Presented, false) {
                        add(target, secret);
                    }
                }
            }
            Kind::Texts {
                example,
                names,
                of,
                set,
            } => {
                for (name, path, value) in self.names(node, path, example, names) {
                    if let Some(text) = self.text(value, &path, of)
                        && let Err(reason) = set(target, name, text.value)
                    {
                        self.unfit(value, &path, &text.shown, of, &reason);
                    }
                }
            }
            Kind::SecretTexts {
                example,
                names,
                set,
            } => {
                for (name, path, value) in self.names(node, path, example, names) {
                    if let Some(secret) = self.secret(value, &path, Purpose::Sent, false) {
                        set(target, name, secret);
                    }
                }
            }
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

    /// A map of `keys` as a value of its own.
    pub(super) fn item<I: Default>(
        &mut self,
        node: &Node,
        path: &str,
        keys: &'static [Key<I>],
    ) -> I {
        let mut item = I::default();
        match &node.value {
            Value::Map(_) => self.map(node, path, &[keys], &mut item),
            _ => self.wrong(node, path, "a map of keys"),
        }
        item
    }

    /// The names of a map as they are kept, with the paths and the nodes of their values. One that is no name is reported and
    /// given as it is written, so that its value is looked at, too.
    fn names<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        example: &str,
        names: &Names,
    ) -> Vec<(String, String, &'n Node)> {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            self.wrong(node, path, example);
        }
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in node.entries() {
            let path = join(path, &entry.key);
            let name = (names.read)(&entry.key).unwrap_or_else(|reason| {
                self.unfit_at(entry.place, &path, &quote(&entry.key), names.of, &reason);
                entry.key.clone()
            });
            if let Some(line) = kept.insert(name.clone(), entry.place.line) {
                let text = format!("found `{name}` again, first at line {line}; remove one");
                self.report.at(entry.place, path.as_str(), text);
            }
            found.push((name, path, &entry.node));
        }
        found
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
                let shown = shown(written, &value);
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
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
