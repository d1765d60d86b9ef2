//! What the demo server offers, as the JSON that clients see: its introduction, tools, resources and prompt.

use serde_json::{Value, json};

/// The name of the only prompt.
pub(super) const PROMPT: &str = "explain";

const README_URI: &str = "demo://readme";
const GREETING_PREFIX: &str = "demo://greeting/";

const README: &str = "# Demo server

A small MCP server that lives inside mcp-bridged. Its tools:

- `echo`: returns a message
- `add`: adds two numbers
- `current_time`: the time in UTC
- `count`: counts to n, with progress, and can be cancelled
- `server_info`: process id, uptime and calls so far
- `list_tool_schemas`: which arguments these tools take
";

/// The result of `initialize`: the client's revision if this server speaks it, else the newest one.
pub(super) fn initialize(params: &Value, versions: &[&str]) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let agreed = asked.filter(|version| versions.contains(version));
    json!({
        "protocolVersion": agreed.or(versions.last().copied()),
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "logging": {}},
        "serverInfo": {
            "name": "mcp-bridged-demo",
            "title": "Demo server",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": "Tools to try a connection with. Nothing here touches files or the network.",
    })
}

pub(super) fn tools() -> Value {
    json!([
        {
            "name": "echo",
            "title": "Echo",
            "description": "Returns the message unchanged.",
            "inputSchema": {
                "type": "object",
                "properties": {"message": {"type": "string", "description": "What to return"}},
                "required": ["message"],
            },
            "annotations": annotations(true),
        },
        {
            "name": "add",
            "title": "Add",
            "description": "Adds two numbers.",
            "inputSchema": {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                "required": ["a", "b"],
            },
            "outputSchema": {
                "type": "object",
                "properties": {"sum": {"type": "number"}},
                "required": ["sum"],
            },
            "annotations": annotations(true),
        },
        {
            "name": "current_time",
            "title": "Current time",
            "description": "The current time in UTC.",
            "inputSchema": {"type": "object", "properties": {}},
            "outputSchema": {
                "type": "object",
                "properties": {
                    "utc": {"type": "string", "description": "RFC 3339, to the second"},
                    "unix_seconds": {"type": "integer"},
                },
                "required": ["utc", "unix_seconds"],
            },
            "annotations": annotations(false),
        },
        {
            "name": "count",
            "title": "Count",
            "description": "Counts from 1 to n, reporting progress when asked to; can be cancelled.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "n": {"type": "integer", "minimum": 0, "maximum": super::MAX_COUNT},
                    "delay_ms": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": super::MAX_DELAY_MS,
                        "default": 0,
                        "description": "Pause before each step",
                    },
                },
                "required": ["n"],
            },
            "outputSchema": {
                "type": "object",
                "properties": {"counted": {"type": "integer"}},
                "required": ["counted"],
            },
            "annotations": annotations(true),
        },
        {
            "name": "server_info",
            "title": "Server info",
            "description": "Process id, uptime and number of tool calls of this server.",
            "inputSchema": {"type": "object", "properties": {}},
            "outputSchema": {
                "type": "object",
                "properties": {
                    "pid": {"type": "integer"},
                    "uptime_ms": {"type": "integer"},
                    "calls": {"type": "integer"},
                },
                "required": ["pid", "uptime_ms", "calls"],
            },
            "annotations": annotations(false),
        },
        {
            "name": "list_tool_schemas",
            "title": "List tool schemas",
            "description": "Lists this server's own tools with the JSON Schemas of their arguments.",
            "inputSchema": {"type": "object", "properties": {}},
            "annotations": annotations(true),
        },
    ])
}

/// The schemas of all tools' arguments, by the tool's name.
pub(super) fn tool_schemas() -> Value {
    let tools = tools();
    let tools = tools.as_array().into_iter().flatten();
    let schema = |tool: &Value| {
        let name = tool.get("name")?.as_str()?.to_owned();
        Some((name, tool.get("inputSchema")?.clone()))
    };
    Value::Object(tools.filter_map(schema).collect())
}

/// Every tool here only reads; `idempotent` where equal arguments give equal results.
fn annotations(idempotent: bool) -> Value {
    json!({
        "readOnlyHint": true,
        "destructiveHint": false,
        "idempotentHint": idempotent,
        "openWorldHint": false,
    })
}

pub(super) fn resources() -> Value {
    json!([{
        "uri": README_URI,
        "name": "readme",
        "title": "About the demo server",
        "description": "What this server offers.",
        "mimeType": "text/markdown",
        "size": README.len(),
    }])
}

pub(super) fn resource_templates() -> Value {
    json!([{
        "uriTemplate": format!("{GREETING_PREFIX}{{name}}"),
        "name": "greeting",
        "title": "Greeting",
        "description": "A greeting for the given name.",
        "mimeType": "text/plain",
    }])
}

/// The contents behind `uri`; `None` if there is nothing.
pub(super) fn read(uri: &str) -> Option<Value> {
    let (mime_type, text) = if uri == README_URI {
        ("text/markdown", README.to_owned())
    } else {
        let name = uri.strip_prefix(GREETING_PREFIX)?;
        if name.is_empty() {
            return None;
        }
        ("text/plain", format!("Hello, {name}!"))
    };
    Some(json!({"contents": [{"uri": uri, "mimeType": mime_type, "text": text}]}))
}

pub(super) fn prompts() -> Value {
    json!([{
        "name": PROMPT,
        "title": "Explain",
        "description": "Asks for a short explanation of a topic.",
        "arguments": [{"name": "topic", "description": "What to explain", "required": true}],
    }])
}

pub(super) fn explain(topic: &str) -> Value {
    json!({
        "description": "Asks for a short explanation of a topic.",
        "messages": [{
            "role": "user",
            "content": {"type": "text", "text": format!("Explain in three sentences: {topic}")},
        }],
    })
}
