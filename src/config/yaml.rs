//! The file as a tree of nodes that know where they stand. Scalars keep their spelling (`1.10` stays `1.10`).
//!
//! The YAML that is accepted is the plain kind: one document, text as keys, each key once. Anchors, aliases, merge keys and
//! tags are refused by name, so that nothing in the file means something that isn't written there.

use std::path::Path;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::Report;
use super::{Place, Problems};

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing was written, or `~` or `null`.
    Null,
    /// Any scalar, as it is spelled.
    Scalar(String),
    /// `[…]` or lines with dashes.
    List(Vec<Node>),
    /// Keys and values in the order of the file.
    Map(Vec<Entry>),
    /// Something that was reported already.
    Refused,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// The entry of this key, if this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The same without the entries whose keys `keep` refuses, if this is a map.
    pub(super) fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut node = self.clone();
        if let Value::Map(entries) = &mut node.value {
            entries.retain(|entry| keep(&entry.key));
        }
        node
    }

    fn into_json(self) -> serde_json::Value {
        match self.value {
            Value::Null | Value::Refused => serde_json::Value::Null,
            Value::Scalar(text) => text.into(),
            Value::List(items) => items.into_iter().map(Self::into_json).collect(),
            Value::Map(entries) => entries
                .into_iter()
                .map(|entry| (entry.key, entry.node.into_json()))
                .collect(),
        }
    }

    /// The entries, if this is a map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }
}

/// A file of somebody else's as JSON, each scalar as the text that it is spelled with.
///
/// # Errors
/// What is wrong with it, each thing with its place.
pub(crate) fn as_json(file: &Path, text: &str) -> Result<serde_json::Value, Problems> {
    let mut report = Report::new(file);
    let root = parse(text.strip_prefix('\u{feff}').unwrap_or(text), &mut report);
    let value = root.map_or(serde_json::Value::Null, |root| root.into_json());
    report.verdict(Some(value))
}

/// Parses the one document of `text`; `None` when it can't be read to its end or there is none.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        report,
    };
    match builder.stream() {
        Ok(root) => root,
        Err(error) => {
            report_syntax(text, &error, report);
            None
        }
    }
}

struct Builder<'input, 'report> {
    parser: Parser<'input, granit_parser::StrInput<'input>>,
    report: &'report mut Report,
}

impl<'input> Builder<'input, '_> {
    fn next(&mut self) -> Result<(Event<'input>, Span), ScanError> {
        self.parser
            .next_event()
            .unwrap_or_else(|| Ok((Event::StreamEnd, Span::default())))
    }

    fn stream(&mut self) -> Result<Option<Node>, ScanError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let text = "found a second document, expected one; put all bridges under the one `bridges:`";
                    self.report.at(place(&span), "", text);
                    return Ok(root);
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, &span, "")?);
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'input>, span: &Span, path: &str) -> Result<Node, ScanError> {
        let place = place(span);
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let refused = self.refuse(place, path, anchor, tag.is_some());
                let is_null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                match (refused, is_null) {
                    (true, _) => Value::Refused,
                    (false, true) => Value::Null,
                    (false, false) => Value::Scalar(text.into_owned()),
                }
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse(place, path, anchor, tag.is_some());
                Value::List(self.list(path)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse(place, path, anchor, tag.is_some());
                self.map(path)?
            }
            // The alias of a merge key is refused together with the key.
            _ if path.ends_with(".<<") => Value::Refused,
            _ => {
                self.report.at(place, path, "found an alias; aliases are not supported, use `defaults:` or repeat the value");
                Value::Refused
            }
        };
        Ok(Node { place, value })
    }

    fn list(&mut self, path: &str) -> Result<Vec<Node>, ScanError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node(event, &span, &format!("{path}[{}]", items.len()))?);
        }
    }

    fn map(&mut self, path: &str) -> Result<Value, ScanError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut refused = false;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                // A map that has lost all it had isn't empty.
                return Ok(if refused && entries.is_empty() {
                    Value::Refused
                } else {
                    Value::Map(entries)
                });
            }
            let key = self.node(event, &span, path)?;
            let at = key.place;
            let key = match key.value {
                Value::Scalar(text) => Some(text),
                Value::Refused => None,
                Value::Null => {
                    self.report
                        .at(at, path, "found a key without a name, expected text");
                    None
                }
                Value::List(_) | Value::Map(_) => {
                    self.report.at(at, path, "found a list or map as a key, expected text; quote the value if `[` or `{` belongs to it");
                    None
                }
            };
            let below = join(path, key.as_deref().unwrap_or("?"));
            let (event, span) = self.next()?;
            let mut node = self.node(event, &span, &below)?;
            if matches!(node.value, Value::Null) {
                node.place = at;
            }
            let Some(key) = key else {
                refused = true;
                continue;
            };
            if key == "<<" {
                refused = true;
                self.report.at(
                    at,
                    below,
                    "merge keys are not supported, use `defaults:` or repeat the values",
                );
            } else if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                self.report.at(
                    at,
                    below,
                    format!(
                        "key given twice, first at line {}; remove one",
                        first.place.line
                    ),
                );
            } else {
                entries.push(Entry {
                    key,
                    place: at,
                    node,
                });
            }
        }
    }

    /// Reports an anchor or a tag of a node; whether there was one.
    fn refuse(&mut self, place: Place, path: &str, anchor: usize, tag: bool) -> bool {
        if anchor != 0 {
            self.report.at(
                place,
                path,
                "found an anchor; anchors are not supported, use `defaults:` or repeat the value",
            );
        }
        if tag {
            self.report.at(
                place,
                path,
                "found a tag; tags are not supported, write the value without it",
            );
        }
        anchor != 0 || tag
    }
}

/// The path of a key below another.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

/// Tabs as indentation get many different messages from a YAML parser, so they are looked for first.
fn report_syntax(text: &str, error: &ScanError, report: &mut Report) {
    let place = Place {
        line: error.marker().line(),
        column: error.marker().col() + 1,
    };
    let mut tabs = false;
    for (index, line) in text.lines().enumerate() {
        let indent = line.find(|c: char| c != ' ').unwrap_or(line.len());
        if line[indent..].starts_with('\t')
            && !line.trim().is_empty()
            && !line.trim_start().starts_with('#')
        {
            let place = Place {
                line: index + 1,
                column: indent + 1,
            };
            report.at(place, "", "found a tab in the indentation, expected spaces");
            tabs = true;
        }
    }
    if !tabs {
        report.at(place, "", format!("not valid YAML: {}", error.info()));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(text in "([a-c<?*&!|>%@:,#'\"\\[\\]{} \t\r\n-]|---|\n  |: |- ){0,60}") {
            let mut report = Report::new(Path::new("x"));
            parse(&text, &mut report);
            let lines = text.matches(['\n', '\r']).count() + 1;
            for problem in report.into_sorted() {
                let place = problem.place.expect("syntax has a place");
                prop_assert!((1..=lines).contains(&place.line) && place.column >= 1, "{problem}");
            }
        }
    }

    #[test]
    fn scalars_keep_their_spelling() {
        let mut report = Report::new(Path::new("x"));
        let root = parse(
            "[1.10, yes, 0x1F, 'a''b', \"c\\td\", ~, '~', -x]",
            &mut report,
        );
        let Some(Node {
            value: Value::List(items),
            ..
        }) = root
        else {
            panic!("{report:?}")
        };
        let spelled: Vec<_> = items
            .iter()
            .map(|item| match &item.value {
                Value::Scalar(text) => text.as_str(),
                Value::Null => "nothing",
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            spelled,
            ["1.10", "yes", "0x1F", "a'b", "c\td", "nothing", "~", "-x"]
        );
    }
}
