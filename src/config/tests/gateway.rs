//! The `gateway` section: its defaults, and all of it at once.

use std::time::Duration;

use tempfile::TempDir;

use super::{load, load_in};
use crate::config::{Gateway, Listen, Model, Provider, Secret, ToolFilter, VirtualKey};

/// A bridge for the section to stand beside.
const BRIDGE: &str = "bridges: { postgres: { port: 1, command: cat, aliases: [db] } }\n";

fn secret(value: &str) -> Secret {
    Secret::new(value.to_owned())
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_gateway_is_there_when_its_section_is() {
    assert_eq!(load(BRIDGE).config.gateway, None);
    for section in ["gateway:", "gateway: {}"] {
        let loaded = load(&format!("{BRIDGE}{section}"));
        assert_eq!(loaded.config.gateway, Some(Gateway::new()), "{section}");
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn every_key_of_a_gateway_arrives() {
    let yaml = format!(
        "{BRIDGE}gateway:
  host: 0.0.0.0
  port: 4001
  master_key: \"${{TOKEN}}\"
  virtual_keys:
    - name: team a
      api_key: file:team.key
      models: [\"gpt-*\", mock]
      mcp_servers: [db, postgres]
      tools: {{ allow: [\"postgres-*\"], deny: [\"*-execute_sql\"] }}
    - api_key: two
    - {{ api_key: three, models: [], mcp_servers: [] }}
  model_list:
    - {{ model_name: gpt-4o-mock, provider: mock }}
    - {{ model_name: gpt-4o, api_base: http://litellm:4000/v1/, api_key: os.environ/TOKEN, model: openai/gpt-4o }}
    - {{ model_name: \"*\", provider: openai, api_base: \"https://a.b\", api_key: \"${{NONE:-}}\" }}
  separator: __
  tools: {{ deny: [\"*drop*\"] }}
  max_rounds: 3
  deadline: 5m
  tool_timeout: 30s
  max_result: 1KiB
  max_body: 4KiB
  max_sessions: 7
  session_idle: 1h
  input_timeout: 7m
  public_url: https://a.b/c/
  allowed_origins: [HTTPS://A.b]
  allowed_hosts: [\"Gateway:4000\"]
  audit_arguments: true
"
    );
    let loaded = load_in(&TempDir::new().unwrap(), &yaml, &[("team.key", "one\n")]);
    let open = |name: &str, key: &str| VirtualKey {
        name: name.to_owned(),
        key: secret(key),
        models: None,
        servers: None,
        tools: ToolFilter::default(),
    };
    let expected = Gateway {
        listen: Listen {
            host: "0.0.0.0".parse().unwrap(),
            port: 4001,
        },
        master_key: Some(secret("hunter2")),
        virtual_keys: vec![
            VirtualKey {
                models: Some(own(&["gpt-*", "mock"])),
                servers: Some(own(&["db", "postgres"])),
                tools: ToolFilter::new(own(&["postgres-*"]), own(&["*-execute_sql"])).unwrap(),
                ..open("team a", "one")
            },
            open("key-2", "two"),
            VirtualKey {
                models: Some(Vec::new()),
                servers: Some(Vec::new()),
                ..open("key-3", "three")
            },
        ],
        models: vec![
            Model {
                name: "gpt-4o-mock".to_owned(),
                provider: Provider::Mock,
            },
            Model {
                name: "gpt-4o".to_owned(),
                provider: Provider::OpenAi {
                    api_base: "http://litellm:4000/v1".to_owned(),
                    api_key: Some(secret("hunter2")),
                    model: Some("openai/gpt-4o".to_owned()),
                },
            },
            Model {
                name: "*".to_owned(),
                provider: Provider::OpenAi {
                    api_base: "https://a.b".to_owned(),
                    api_key: None,
                    model: None,
                },
            },
        ],
        separator: "__".to_owned(),
        tools: ToolFilter::new(Vec::new(), own(&["*drop*"])).unwrap(),
        max_rounds: 3,
        deadline: Duration::from_secs(300),
        tool_timeout: Duration::from_secs(30),
        max_result: 1024,
        max_body: 4096,
        max_sessions: 7,
        session_idle: Duration::from_secs(3600),
        input_timeout: Duration::from_secs(420),
        public_url: Some("https://a.b/c".to_owned()),
        allowed_origins: own(&["https://a.b"]),
        allowed_hosts: own(&["gateway:4000"]),
        audit_arguments: true,
    };
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    assert_eq!(loaded.config.gateway, Some(expected));
    assert_eq!(loaded.warnings, []);
}
