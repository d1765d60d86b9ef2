use std::ffi::OsString;
use std::path::Path;

use super::*;
use crate::config::Listen;

/// A configuration with everything that matters: other hosts, proxies, keys of all kinds, a gateway.
const CONFIG: &str = r#"
defaults: { api_keys: ["${BRIDGE_KEY}"] }
bridges:
  open: { port: 48001, demo: true, api_keys: [] }
  post-gres: { aliases: [db, sql], port: 48010, host: 0.0.0.0, demo: true, description: "It's 5$: SQL" }
  proxied: { port: 48011, demo: true, public_url: "https://mcp.example.org/p", api_keys: [sk-literal] }
  gone: { port: 48012, command: no-such-program, optional: true }
  far: { url: "http://h/mcp", aliases: [f] }
gateway: { port: 4000, master_key: os.environ/MASTER, model_list: [{ model_name: m, provider: mock }] }
"#;

/// What the daemon of `yaml` says.
fn load(yaml: &str) -> Offers {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bridges.yaml");
    std::fs::write(&file, yaml).unwrap();
    let variables = [("BRIDGE_KEY", "sk-hidden-1"), ("MASTER", "sk-hidden-2")];
    let environment: Environment = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    let loaded: Result<_, _> = Config::load(Path::new(&file), &environment);
    Offers::of(&loaded.unwrap().config)
}

#[track_caller]
fn check(client: ClientProgram, transport: ExportTransport, names: &[&str], expected: &str) {
    let mut exported = exported(&load(CONFIG), &Source::Daemon, Some("mcp"));
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    exported.only(&names).unwrap();
    let text = snippet(client, transport, &mut exported);
    assert_eq!(text.trim_end(), expected.trim());
    let said = format!("{text}{:?}", exported.notes);
    assert!(!said.contains("sk-"), "{said}");
}

#[test]
fn litellm_gets_names_that_it_allows_and_aliases() {
    check(
        ClientProgram::Litellm,
        ExportTransport::Sse,
        &[],
        "
mcp_servers:
  open:
    url: http://127.0.0.1:48001/sse
    transport: sse
  post_gres:
    url: http://mcp:48010/sse
    transport: sse
    auth_type: bearer_token
    auth_value: os.environ/BRIDGE_KEY
    description: \"It's 5$: SQL\"
  proxied:
    url: https://mcp.example.org/p/sse
    transport: sse
    auth_type: bearer_token
    auth_value: os.environ/PROXIED_KEY
  gateway:
    url: http://127.0.0.1:4000/sse
    transport: sse
    auth_type: bearer_token
    auth_value: os.environ/MASTER
    description: \"The tools of all bridges\"

litellm_settings:
  mcp_aliases:
    db: post_gres",
    );
}

#[test]
fn codex_gets_variables_and_a_provider() {
    check(
        ClientProgram::Codex,
        ExportTransport::Http,
        &["open", "sql", "gateway"],
        "
[mcp_servers.open]
url = \"http://127.0.0.1:48001/mcp\"

[mcp_servers.post-gres]
url = \"http://mcp:48010/mcp\"
bearer_token_env_var = \"BRIDGE_KEY\"

[mcp_servers.gateway]
url = \"http://127.0.0.1:4000/mcp\"
bearer_token_env_var = \"MASTER\"

# for `model_provider = \"mcp-bridged\"`: models that have the tools of the gateway
[model_providers.mcp-bridged]
name = \"mcp-bridged\"
base_url = \"http://127.0.0.1:4000/v1\"
wire_api = \"responses\"
env_key = \"MASTER\"",
    );
}

#[test]
fn vs_code_asks_for_keys() {
    check(
        ClientProgram::Vscode,
        ExportTransport::Http,
        &["open", "db"],
        r#"
{
  "inputs": [
    {
      "type": "promptString",
      "id": "bridge-key",
      "description": "The value of BRIDGE_KEY",
      "password": true
    }
  ],
  "servers": {
    "open": {
      "type": "http",
      "url": "http://127.0.0.1:48001/mcp"
    },
    "post-gres": {
      "type": "http",
      "url": "http://mcp:48010/mcp",
      "headers": {
        "Authorization": "Bearer ${input:bridge-key}"
      }
    }
  }
}"#,
    );
}

#[test]
fn claude_code_gets_references() {
    check(
        ClientProgram::Claude,
        ExportTransport::Sse,
        &["db"],
        r#"
{
  "mcpServers": {
    "post-gres": {
      "type": "sse",
      "url": "http://mcp:48010/sse",
      "headers": {
        "Authorization": "Bearer ${BRIDGE_KEY}"
      }
    }
  }
}"#,
    );
}

#[test]
fn open_webui_gets_one_variable_of_json() {
    check(
        ClientProgram::OpenWebui,
        ExportTransport::Http,
        &["db", "gateway"],
        r#"
environment:
  TOOL_SERVER_CONNECTIONS: '[{"type":"mcp","url":"http://mcp:48010/mcp","path":"","auth_type":"bearer","key":"${BRIDGE_KEY}","config":{"enable":true},"info":{"id":"post-gres","name":"post-gres","description":"It''s 5$$: SQL"}},{"type":"mcp","url":"http://127.0.0.1:4000/mcp","path":"","auth_type":"bearer","key":"${MASTER}","config":{"enable":true},"info":{"id":"gateway","name":"gateway","description":"The tools of all bridges"}}]'
  OPENAI_API_BASE_URL: http://127.0.0.1:4000/v1
  OPENAI_API_KEY: "${MASTER}""#,
    );
}

#[test]
fn what_a_reader_should_know_is_said() {
    let mut all = exported(&load(CONFIG), &Source::Daemon, None);
    all.only(&[]).unwrap();
    let left_out = |name: &str| {
        let mut left_out = all.left_out.iter();
        let found = left_out.find(|it| it.names[0] == name).unwrap();
        found.why.clone()
    };
    assert!(left_out("gone").starts_with("it is unavailable: command `no-such-program` not found"));
    assert!(left_out("far").contains("`export … gateway`"));
    assert_eq!(all.left_out.len(), 2);
    let said = all.notes.join("\n");
    for part in [
        "the key of proxied has no variable in the configuration; give it to the client as PROXIED_KEY",
        "127.0.0.1 is for clients on this machine",
        "`gateway` has the tools of all the others once more",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(all.notes.len(), 3, "{said}");
    assert_eq!(all.servers[1].base, "http://127.0.0.1:48010");

    for (name, part) in [
        ("post-grse", "did you mean `post-gres`?"),
        ("gone", "`gone` can't be exported: it is unavailable"),
        ("far", "`far` can't be exported: it is a remote server"),
        ("f", "`f` can't be exported: it is a remote server"),
    ] {
        let message = all.only(&[name.to_owned()]).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
    all.only(&["db".to_owned()]).unwrap();
    assert_eq!(all.left_out, [], "nobody asked for these");
}

#[test]
fn addresses_are_what_a_client_can_use() {
    for (listen, public_url, host, expected) in [
        ("127.0.0.1", None, Some("mcp"), "http://127.0.0.1:9"),
        ("0.0.0.0", None, Some("mcp"), "http://mcp:9"),
        ("0.0.0.0", None, Some("fd00::1"), "http://[fd00::1]:9"),
        ("::", None, None, "http://[::1]:9"),
        ("10.0.0.7", None, Some("mcp"), "http://10.0.0.7:9"),
        ("0.0.0.0", Some("https://h/p/"), Some("mcp"), "https://h/p"),
    ] {
        let mut offer = load(CONFIG).bridges.remove(0);
        offer.listen = Listen {
            host: listen.parse().unwrap(),
            port: 9,
        };
        offer.public_url = public_url.map(str::to_owned);
        assert_eq!(base(&offer, host).as_deref(), Some(expected));
        offer.listen.port = 0;
        let without_port = public_url.map(|_| expected);
        assert_eq!(base(&offer, host).as_deref(), without_port);
    }
}
