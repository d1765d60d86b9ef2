//! What the client calls the servers and their tools: `server_label` and `name` of `mcp_call` and its relatives.
//!
//! A label is that of the request's `mcp` tool, or the server's own name when the catalogue is offered unasked. Within a label
//! a tool goes by its server's name for it; where a label covers several servers, by its public name, which is unique.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::gateway::catalogue::Tool;
use crate::gateway::selection::Selection;

/// The labels of one request.
#[derive(Debug, Default)]
pub(super) struct Labels {
    labels: Vec<Label>,
    /// The label of each tool, by its public name.
    of_tool: HashMap<String, usize>,
}

#[derive(Debug)]
struct Label {
    name: String,
    tools: Vec<Arc<Tool>>,
    /// Whether its tools are of more than one server.
    mixed: bool,
}

impl Labels {
    /// The labels of what was selected. A tool that several entries select belongs to the first.
    pub(super) fn of(selection: &Selection) -> Labels {
        let mut labels = Labels::default();
        for label in &selection.labels {
            labels.label(&label.server_label);
            for offered in &label.tools {
                labels.add(&label.server_label, &offered.tool);
            }
        }
        if selection.labels.is_empty() {
            for offered in &selection.offered {
                labels.add(&offered.tool.server, &offered.tool);
            }
        }
        labels
    }

    /// The label of a tool, and its name there.
    pub(super) fn name<'a>(&'a self, tool: &'a Tool) -> (&'a str, &'a str) {
        match self.of_tool.get(&*tool.name) {
            Some(&index) => {
                let label = &self.labels[index];
                (&label.name, label.name_of(tool))
            }
            None => (&tool.server, &tool.original),
        }
    }

    /// The tool that has this name under this label.
    pub(super) fn tool(&self, label: &str, name: &str) -> Option<&Arc<Tool>> {
        let label = self.labels.iter().find(|known| known.name == label)?;
        let tools = &label.tools;
        tools.iter().find(|tool| label.name_of(tool) == name)
    }

    /// The public names of a label's tools; `None` for an unknown label.
    pub(super) fn tools(&self, label: &str) -> Option<&[Arc<Tool>]> {
        let label = self.labels.iter().find(|known| known.name == label)?;
        Some(&label.tools)
    }

    /// All labels.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| &*label.name)
    }

    /// Each label with its tools as `mcp_list_tools` has them.
    pub(super) fn lists(&self) -> impl Iterator<Item = (&str, Value)> {
        self.labels.iter().map(|label| {
            let tools = label.tools.iter().map(|tool| {
                let member = |name: &str| tool.parsed.get(name).cloned().unwrap_or(Value::Null);
                json!({
                    "name": label.name_of(tool),
                    "description": member("description"),
                    "input_schema": member("inputSchema"),
                    "annotations": member("annotations"),
                })
            });
            (&*label.name, Value::Array(tools.collect()))
        })
    }

    fn add(&mut self, name: &str, tool: &Arc<Tool>) {
        if self.of_tool.contains_key(&*tool.name) {
            return;
        }
        let index = self.label(name);
        self.of_tool.insert(tool.name.to_string(), index);
        let label = &mut self.labels[index];
        label.mixed |= label
            .tools
            .first()
            .is_some_and(|first| first.server != tool.server);
        label.tools.push(Arc::clone(tool));
    }

    fn label(&mut self, name: &str) -> usize {
        let known = self.labels.iter().position(|label| label.name == name);
        known.unwrap_or_else(|| {
            self.labels.push(Label {
                name: name.to_owned(),
                tools: Vec::new(),
                mixed: false,
            });
            self.labels.len() - 1
        })
    }
}

impl Label {
    fn name_of<'a>(&self, tool: &'a Tool) -> &'a str {
        if self.mixed {
            &tool.name
        } else {
            &tool.original
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::rounds::Offered;
    use crate::gateway::selection;

    fn offered(server: &str, original: &str) -> Offered {
        let name = format!("{server}-{original}");
        Offered {
            tool: Arc::new(Tool {
                name: name.as_str().into(),
                server: server.into(),
                original: original.into(),
                object: bytes::Bytes::new(),
                parsed: json!({}),
            }),
            needs_approval: false,
        }
    }

    fn entry(label: &str, tools: &[Offered]) -> selection::Label {
        selection::Label {
            server_label: label.to_owned(),
            tools: tools.to_vec(),
        }
    }

    fn lists(labels: &Labels) -> Vec<(String, Vec<String>)> {
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        labels
            .lists()
            .map(|(label, tools)| {
                let tools = tools.as_array().unwrap().iter().map(name).collect();
                (label.to_owned(), tools)
            })
            .collect()
    }

    #[test]
    fn unasked_each_server_is_a_label() {
        let labels = Labels::of(&Selection {
            offered: vec![offered("a", "x"), offered("b", "x"), offered("a", "y")],
            ..Selection::default()
        });
        let expected = [("a", vec!["x", "y"]), ("b", vec!["x"])];
        let expected = expected.map(|(label, tools)| {
            (
                label.to_owned(),
                tools.into_iter().map(str::to_owned).collect(),
            )
        });
        assert_eq!(lists(&labels), expected);
        assert_eq!(labels.name(&offered("b", "x").tool), ("b", "x"));
        assert_eq!(&*labels.tool("b", "x").unwrap().name, "b-x");
        assert!(labels.tool("b", "y").is_none());
    }

    #[test]
    fn names_are_unique_under_a_label_of_several_servers() {
        let labels = Labels::of(&Selection {
            labels: vec![
                entry("one", &[offered("a", "x")]),
                entry(
                    "all",
                    &[offered("a", "x"), offered("b", "x"), offered("c", "x")],
                ),
                entry("empty", &[]),
            ],
            ..Selection::default()
        });
        assert_eq!(labels.name(&offered("a", "x").tool), ("one", "x"));
        assert_eq!(labels.name(&offered("b", "x").tool), ("all", "b-x"));
        assert_eq!(&*labels.tool("all", "c-x").unwrap().name, "c-x");
        assert_eq!(labels.names().collect::<Vec<_>>(), ["one", "all", "empty"]);
        // what is not offered any more goes by its server's names
        assert_eq!(labels.name(&offered("d", "x").tool), ("d", "x"));
    }
}
