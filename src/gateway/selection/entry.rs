//! One entry of `type: "mcp"` in a request's `tools`, read and explained without a catalogue.
//!
//! `litellm_proxy` as `server_url` is how LiteLLM's clients say "the gateway that I'm talking to"; the header
//! `x-mcp-servers` inside the entry narrows it, as it does there.

use serde_json::Value;

use super::super::catalogue::Tool;
use super::super::openai::ApiError;

/// Whether calls wait for the client's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    /// They are executed.
    Never,
    /// They wait.
    Always,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) server_label: Option<String>,
    server_url: Option<String>,
    /// `x-mcp-servers` among its `headers`.
    header: Option<String>,
    allowed_tools: Option<Filter>,
    approval: ByTool,
}

/// What an entry selects.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    /// Whatever the request may use.
    All,
    /// Servers, by name.
    Servers(Vec<String>),
}

/// `allowed_tools`, or one side of `require_approval`.
#[derive(Debug, Default)]
struct Filter {
    names: Option<Vec<String>>,
    read_only: Option<bool>,
}

#[derive(Debug)]
enum ByTool {
    Same(Approval),
    /// A tool in `never` is executed, one in `always` waits; others wait unless only `always` is given.
    Sides {
        never: Option<Filter>,
        always: Option<Filter>,
    },
}

impl Entry {
    /// Reads an entry; `place` is where it stands.
    pub(super) fn read(
        tool: &Value,
        place: &str,
        unless_told: Approval,
    ) -> Result<Entry, ApiError> {
        let headers = tool.get("headers").and_then(Value::as_object);
        let header = headers.and_then(|headers| {
            let mut found = headers.iter();
            found.find(|(name, _)| name.eq_ignore_ascii_case("x-mcp-servers"))
        });
        Ok(Entry {
            server_label: text(tool, "server_label", place)?,
            server_url: text(tool, "server_url", place)?,
            header: header.and_then(|(_, value)| value.as_str().map(str::to_owned)),
            allowed_tools: match tool.get("allowed_tools") {
                None | Some(Value::Null) => None,
                Some(filter) => Some(Filter::read(filter, &format!("{place}.allowed_tools"))?),
            },
            approval: ByTool::read(tool.get("require_approval"), place, unless_told)?,
        })
    }

    /// What it selects; `known` gives the name of the server that is called this, by name or alias.
    pub(super) fn target(
        &self,
        place: &str,
        known: impl Fn(&str) -> Option<String>,
    ) -> Result<Target, ApiError> {
        let unknown = |member: &str, name: &str| {
            ApiError::invalid(
                format!("{place}.{member}"),
                format!("`{place}.{member}` names no MCP server of this gateway: {name:?}"),
            )
        };
        let list = |member: &str, names: &str| {
            let names = names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names
                .map(|name| known(name).ok_or_else(|| unknown(member, name)))
                .collect::<Result<Vec<_>, _>>()
        };
        if let Some(url) = &self.server_url {
            let proxy = url.strip_prefix("litellm_proxy").and_then(|rest| {
                (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/'))
            });
            match proxy {
                Some("" | "mcp" | "sse") => return self.narrowed(list),
                Some(path) => {
                    let names = path.strip_prefix("mcp/").unwrap_or(path);
                    let names = list("server_url", names)?;
                    return Ok(Target::Servers(names));
                }
                None => {}
            }
            let by_path = last_segment(url).and_then(|names| list("server_url", names).ok());
            if let Some(names) = by_path.filter(|names| !names.is_empty()) {
                return Ok(Target::Servers(names));
            }
        }
        let by_label = self.server_label.as_deref();
        if let Some(name) = by_label.and_then(&known) {
            return Ok(Target::Servers(vec![name]));
        }
        if self.header.is_some() {
            return self.narrowed(list);
        }
        match (&self.server_url, by_label) {
            (Some(url), _) => Err(unknown("server_url", without_secrets(url))),
            (None, Some("litellm_proxy")) => Ok(Target::All),
            (None, Some(label)) => Err(unknown("server_label", label)),
            (None, None) => Err(ApiError::invalid(
                place,
                format!(
                    "`{place}` has neither `server_label` nor `server_url`; one has to name an MCP server"
                ),
            )),
        }
    }

    /// Whether `allowed_tools` has this tool; `resolve` gives the public name of what is called this.
    pub(super) fn allows(&self, tool: &Tool, resolve: impl Fn(&str) -> Option<String>) -> bool {
        let filter = self.allowed_tools.as_ref();
        filter.is_none_or(|filter| filter.has(tool, resolve))
    }

    /// Whether a call of this tool waits for the client; `resolve` as for [`Entry::allows`].
    pub(super) fn needs_approval(
        &self,
        tool: &Tool,
        resolve: impl Fn(&str) -> Option<String>,
    ) -> bool {
        let has = |filter: &Option<Filter>| {
            let filter = filter.as_ref();
            filter.is_some_and(|filter| filter.has(tool, &resolve))
        };
        match &self.approval {
            ByTool::Same(approval) => *approval == Approval::Always,
            ByTool::Sides { never, always } => {
                has(always) || !(has(never) || (never.is_none() && always.is_some()))
            }
        }
    }

    /// All servers, or those of the entry's header.
    fn narrowed(
        &self,
        list: impl Fn(&str, &str) -> Result<Vec<String>, ApiError>,
    ) -> Result<Target, ApiError> {
        match &self.header {
            None => Ok(Target::All),
            Some(names) => list("headers.x-mcp-servers", names).map(Target::Servers),
        }
    }
}

impl ByTool {
    fn read(value: Option<&Value>, place: &str, unless_told: Approval) -> Result<ByTool, ApiError> {
        let place = format!("{place}.require_approval");
        let side = |sides: &Value, name: &str| match sides.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(filter) => {
                let filter = Filter::read(filter, &format!("{place}.{name}"));
                // one that names nothing must not let everything pass
                filter.map(|filter| Some(filter).filter(|filter| !filter.is_empty()))
            }
        };
        match value {
            None | Some(Value::Null) => Ok(ByTool::Same(unless_told)),
            Some(Value::String(word)) if word == "never" => Ok(ByTool::Same(Approval::Never)),
            Some(Value::String(word)) if word == "always" => Ok(ByTool::Same(Approval::Always)),
            Some(sides @ Value::Object(_)) => Ok(ByTool::Sides {
                never: side(sides, "never")?,
                always: side(sides, "always")?,
            }),
            Some(_) => Err(ApiError::invalid(
                &place,
                format!(
                    "`{place}` has to be \"never\", \"always\" or an object with `never` or `always`"
                ),
            )),
        }
    }
}

impl Filter {
    /// A list of names, or `{"tool_names": […], "read_only": …}`.
    fn read(value: &Value, place: &str) -> Result<Filter, ApiError> {
        let names = |list: &Value| -> Option<Vec<String>> {
            let names = list.as_array()?.iter();
            names.map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let wrong = || {
            ApiError::invalid(
                place,
                format!(
                    "`{place}` has to be a list of tools' names or an object with `tool_names` or `read_only`"
                ),
            )
        };
        let Value::Object(members) = value else {
            return match names(value) {
                Some(names) => Ok(Filter {
                    names: Some(names),
                    read_only: None,
                }),
                None => Err(wrong()),
            };
        };
        let mut filter = Filter::default();
        for (member, value) in members {
            match (member.as_str(), value) {
                ("tool_names" | "read_only", Value::Null) => {}
                ("tool_names", list) => filter.names = Some(names(list).ok_or_else(wrong)?),
                ("read_only", Value::Bool(wanted)) => filter.read_only = Some(*wanted),
                // a misspelt limit would be none
                _ => return Err(wrong()),
            }
        }
        Ok(filter)
    }

    fn is_empty(&self) -> bool {
        self.names.is_none() && self.read_only.is_none()
    }

    fn has(&self, tool: &Tool, resolve: impl Fn(&str) -> Option<String>) -> bool {
        let named = self.names.as_ref().is_none_or(|names| {
            names.iter().any(|name| {
                **name == *tool.name
                    || **name == *tool.original
                    || resolve(name).is_some_and(|name| *name == *tool.name)
            })
        });
        let read_only =
            tool.parsed.pointer("/annotations/readOnlyHint") == Some(&Value::Bool(true));
        named && self.read_only.is_none_or(|wanted| wanted == read_only)
    }
}

fn text(tool: &Value, member: &str, place: &str) -> Result<Option<String>, ApiError> {
    match tool.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => {
            let place = format!("{place}.{member}");
            Err(ApiError::invalid(
                &place,
                format!("`{place}` has to be a text"),
            ))
        }
    }
}

/// What a URL's path ends in, the endpoint's own `mcp` or `sse` apart.
fn last_segment(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let path = rest.split(['?', '#']).next()?;
    let (_, path) = path.split_once('/')?;
    let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
    let last = segments.next()?;
    match last {
        "mcp" | "sse" => segments.next(),
        other => Some(other),
    }
}

/// A URL without its query and userinfo, for an error.
fn without_secrets(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.rsplit_once('@').map_or(url, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(name: &str) -> Option<String> {
        match name {
            "postgres" | "db" => Some("postgres".to_owned()),
            "files" => Some("files".to_owned()),
            _ => None,
        }
    }

    fn target(entry: &Value) -> Result<Target, String> {
        let entry = Entry::read(entry, "tools[0]", Approval::Never).unwrap();
        entry.target("tools[0]", known).map_err(|error| {
            assert_eq!(error.status, 400);
            error.param.unwrap().into_string()
        })
    }

    fn servers(names: &[&str]) -> Result<Target, String> {
        Ok(Target::Servers(
            names.iter().map(|&name| name.to_owned()).collect(),
        ))
    }

    #[test]
    fn a_url_or_a_label_names_the_servers() {
        let url = |url: &str| target(&json!({ "server_label": "x", "server_url": url }));
        assert_eq!(url("litellm_proxy"), Ok(Target::All));
        assert_eq!(url("litellm_proxy/mcp/"), Ok(Target::All));
        assert_eq!(
            url("litellm_proxy/mcp/db, files"),
            servers(&["postgres", "files"])
        );
        assert_eq!(url("http://gateway:4000/mcp/db"), servers(&["postgres"]));
        assert_eq!(
            url("http://gateway:4000/files/mcp?x=1"),
            servers(&["files"])
        );
        assert_eq!(
            url("litellm_proxy/mcp/db,nobody"),
            Err("tools[0].server_url".to_owned())
        );
        assert_eq!(url("litellm_proxyx"), Err("tools[0].server_url".to_owned()));
        assert_eq!(
            url("https://mcp.example/mcp"),
            Err("tools[0].server_url".to_owned())
        );
        assert_eq!(
            target(&json!({ "server_label": "db", "server_url": "https://mcp.example/mcp" })),
            servers(&["postgres"])
        );
        assert_eq!(
            target(&json!({ "server_label": "db" })),
            servers(&["postgres"])
        );
        assert_eq!(
            target(&json!({ "server_label": "x" })),
            Err("tools[0].server_label".to_owned())
        );
        assert_eq!(target(&json!({})), Err("tools[0]".to_owned()));
    }

    #[test]
    fn the_entrys_header_narrows() {
        let entry = json!({ "server_url": "litellm_proxy", "headers": { "X-MCP-Servers": "db" } });
        assert_eq!(target(&entry), servers(&["postgres"]));
        let entry = json!({ "server_label": "all", "server_url": "http://gateway/mcp/", "headers": { "x-mcp-servers": "db,files" } });
        assert_eq!(target(&entry), servers(&["postgres", "files"]));
    }

    #[test]
    fn an_unknown_url_is_told_without_its_secrets() {
        let entry = json!({ "server_url": "https://user:pass@mcp.example/x?key=abc" });
        let entry = Entry::read(&entry, "tools[0]", Approval::Never).unwrap();
        let message = entry.target("tools[0]", known).unwrap_err().message;
        assert!(message.ends_with("\"mcp.example/x\""), "{message}");
    }

    fn tool(read_only: bool) -> Tool {
        Tool {
            name: "postgres-list".into(),
            server: "postgres".into(),
            original: "list".into(),
            object: bytes::Bytes::new(),
            parsed: json!({ "annotations": { "readOnlyHint": read_only } }),
        }
    }

    #[test]
    fn allowed_tools_are_named_publicly_or_originally() {
        let check = |allowed: Value, expected: bool| {
            let entry = json!({ "server_label": "db", "allowed_tools": allowed });
            let entry = Entry::read(&entry, "tools[0]", Approval::Never).unwrap();
            let by_alias = |name: &str| (name == "db-list").then(|| "postgres-list".to_owned());
            assert_eq!(entry.allows(&tool(true), by_alias), expected, "{entry:?}");
        };
        check(json!(null), true);
        check(json!([]), false);
        check(json!(["list"]), true);
        check(json!(["postgres-list"]), true);
        check(json!(["db-list"]), true);
        check(json!(["drop"]), false);
        check(json!({ "tool_names": ["list"] }), true);
        check(json!({ "read_only": true }), true);
        check(json!({ "read_only": false }), false);
    }

    #[test]
    fn approval_is_by_tool() {
        let check = |approval: Value, unless_told, expected: bool| {
            let entry = json!({ "server_label": "db", "require_approval": approval });
            let entry = Entry::read(&entry, "tools[0]", unless_told).unwrap();
            let by_alias = |name: &str| (name == "db-list").then(|| "postgres-list".to_owned());
            let needed = entry.needs_approval(&tool(true), by_alias);
            assert_eq!(needed, expected, "{entry:?}");
        };
        check(json!(null), Approval::Never, false);
        check(json!(null), Approval::Always, true);
        check(json!("never"), Approval::Always, false);
        check(json!("always"), Approval::Never, true);
        check(
            json!({ "never": { "tool_names": ["list"] } }),
            Approval::Never,
            false,
        );
        check(
            json!({ "never": { "tool_names": ["drop"] } }),
            Approval::Never,
            true,
        );
        check(
            json!({ "always": { "tool_names": ["drop"] } }),
            Approval::Never,
            false,
        );
        check(
            json!({ "always": { "tool_names": ["list"] } }),
            Approval::Never,
            true,
        );
        check(
            json!({ "always": { "tool_names": ["drop"] }, "never": { "read_only": true } }),
            Approval::Never,
            false,
        );
        check(
            json!({ "always": { "tool_names": ["db-list"] } }),
            Approval::Never,
            true,
        );
        check(json!({ "never": {} }), Approval::Never, true);
        check(
            json!({ "never": { "read_only": null }, "always": null }),
            Approval::Never,
            true,
        );
    }

    #[test]
    fn an_approval_that_cannot_be_read_is_refused() {
        for (approval, param) in [
            (json!(1), "tools[3].require_approval"),
            (
                json!({ "never": { "toolnames": ["list"] } }),
                "tools[3].require_approval.never",
            ),
            (
                json!({ "never": { "read_only": "true" } }),
                "tools[3].require_approval.never",
            ),
            (
                json!({ "always": { "tool_names": "list" } }),
                "tools[3].require_approval.always",
            ),
        ] {
            let wrong = json!({ "require_approval": approval });
            let error = Entry::read(&wrong, "tools[3]", Approval::Never).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }
}
