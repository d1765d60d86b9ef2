//! Entries of `bridges` that have a `url`.

use std::time::Duration;

use tempfile::TempDir;

use super::{load, load_in};
use crate::config::{Auth, Remote, RemoteTransport, Secret, ToolFilter};

fn secret(value: &str) -> Secret {
    Secret::new(value.to_owned())
}

/// A remote server `n8n` of these keys beside `url`.
fn remote(keys: &str) -> Remote {
    let yaml = format!("bridges: {{ n8n: {{ url: http://n8n/mcp, {keys} }} }}\ngateway:");
    let mut config = load(&yaml).config;
    assert_eq!(config.bridges, []);
    config.remotes.remove(0)
}

#[test]
fn a_remote_server_of_one_key_has_the_documented_defaults() {
    let loaded = load("bridges: { n8n: { url: \"http://mcp-n8n:8080/mcp/?a=1\" } }\ngateway:");
    let expected = Remote {
        name: "n8n".to_owned(),
        aliases: Vec::new(),
        url: "http://mcp-n8n:8080/mcp/?a=1".to_owned(),
        transport: RemoteTransport::Http,
        auth: None,
        headers: Vec::new(),
        description: None,
        tools: ToolFilter::default(),
        request_timeout: Duration::from_secs(300),
        init_timeout: Duration::from_secs(60),
        unavailable: None,
    };
    assert_eq!(loaded.config.remotes, [expected]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_key_of_a_remote_server_arrives() {
    let directory = TempDir::new().unwrap();
    let yaml = "
defaults: { request_timeout: 2m, init_timeout: 5s, host: 127.0.0.2, env: { A: b }, api_keys: [k], env_file: all.env }
bridges:
  files: { port: 1, command: cat }
  n8n:
    url: https://${HOST_OF_N8N}/mcp
    transport: sse
    auth_type: bearer_token
    auth_value: ${TOKEN}
    headers: { X-Team: file:team, x-two: a b }
    aliases: [flows]
    description: d
    tools: { allow: [\"a*\"], deny: [ab] }
    init_timeout: 1s
    optional: true
gateway: { virtual_keys: [{ api_key: k, mcp_servers: [flows, n8n, files] }] }";
    let files = [("team", "hunter2-team\n"), ("all.env", "HOST_OF_N8N=a:1")];
    let loaded = load_in(&directory, yaml, &files);
    let own = |text: &str| vec![text.to_owned()];
    let expected = Remote {
        name: "n8n".to_owned(),
        aliases: own("flows"),
        url: "https://a:1/mcp".to_owned(),
        transport: RemoteTransport::Sse,
        auth: Some(Auth::Bearer(secret("hunter2"))),
        headers: vec![
            ("x-team".to_owned(), secret("hunter2-team")),
            ("x-two".to_owned(), secret("a b")),
        ],
        description: Some("d".to_owned()),
        tools: ToolFilter::new(own("a*"), own("ab")).unwrap(),
        request_timeout: Duration::from_secs(120),
        init_timeout: Duration::from_secs(1),
        unavailable: None,
    };
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    assert_eq!(loaded.config.remotes, [expected]);
    assert_eq!(loaded.config.bridges[0].name, "files");
    assert!(loaded.config.remotes[0].is_called("flows"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn secrets_are_sent_as_their_type_says() {
    let auth = |auth_type: &str| remote(&format!("auth_type: {auth_type}, auth_value: x")).auth;
    assert_eq!(auth("bearer_token"), Some(Auth::Bearer(secret("x"))));
    assert_eq!(auth("basic"), Some(Auth::Basic(secret("x"))));
    assert_eq!(auth("api_key"), Some(Auth::ApiKey(secret("x"))));
    assert_eq!(
        auth("authorization"),
        Some(Auth::Authorization(secret("x")))
    );
    assert_eq!(remote("auth_type: none").auth, None);
    let headers =
        remote("auth_type: api_key, auth_value: x, headers: { Authorization: y }").headers;
    assert_eq!(headers, [("authorization".to_owned(), secret("y"))]);
}

#[test]
fn a_transport_has_several_names() {
    for name in ["http", "streamable_http", "streamable-http"] {
        let transport = remote(&format!("transport: {name}")).transport;
        assert_eq!(transport, RemoteTransport::Http);
    }
    assert_eq!(remote("transport: sse").transport, RemoteTransport::Sse);
}

#[test]
fn an_optional_remote_server_is_unavailable_while_a_variable_is_missing() {
    let n8n = remote("optional: true, auth_type: bearer_token, auth_value: \"${NONE}\"");
    assert_eq!(
        n8n.unavailable.unwrap(),
        "environment variable `NONE` is not set; put it into the bridge's `env_file` and reload, or set it and start anew"
    );
    let yaml = "defaults: { optional: true, api_keys: [\"${NONE}\"] }\nbridges: { a: { url: \"${URL}\" }, b: { url: http://b } }";
    let config = load(&format!("{yaml}\ngateway:")).config;
    assert!(config.remotes[0].unavailable.is_some());
    assert_eq!(
        config.remotes[1].unavailable, None,
        "it has no use for keys"
    );
}

#[test]
fn a_remote_server_that_nothing_uses_is_a_warning() {
    let loaded = load("bridges: { a: { port: 1, command: cat }, n8n: { url: http://a } }");
    let warnings: Vec<_> = loaded.warnings.iter().map(|w| (&w.key, &w.text)).collect();
    assert_eq!(
        warnings,
        [(
            &"bridges.n8n".to_owned(),
            &"nothing uses a remote server without a gateway; add a `gateway:` section or remove the server".to_owned()
        )]
    );
}

#[test]
fn an_endpoint_is_shown_up_to_its_path() {
    let check = |url: &str, expected: &str| {
        let mut remote = remote("");
        remote.url = url.to_owned();
        assert_eq!(remote.origin(), expected);
        assert!(!format!("{remote:?}").contains("hunter2"));
    };
    check("http://a:1/hunter2/mcp", "http://a:1");
    check("https://a?hunter2", "https://a");
    check("https://a", "https://a");
    check("", "");
}
