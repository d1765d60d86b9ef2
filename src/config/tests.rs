//! Files that load: defaults, variables, the child's environment, optional bridges, warnings.

mod gateway;
mod remote;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{
    AdminSocket, Bridge, Command, Config, Environment, Gateway, Isolation, Listen, Loaded,
    LogFormat, Model, OnCrash, Provider, Restart, SocketMode, Timing,
};

/// Loads `yaml` from a directory that holds `files` with mode 0600.
fn load_in(directory: &TempDir, yaml: &str, files: &[(&str, &str)]) -> Loaded {
    for (name, content) in files.iter().chain(&[("bridges.yaml", yaml)]) {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let environment = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/home/u"),
        ("TOKEN", "hunter2"),
        ("EXTRA", "e"),
        ("NOTIFY_SOCKET", "/run/n"),
    ];
    let environment = environment.into_iter().collect();
    Config::load(&directory.path().join("bridges.yaml"), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn load(yaml: &str) -> Loaded {
    load_in(&TempDir::new().unwrap(), yaml, &[])
}

/// The one bridge of a file with these lines below `a`.
fn bridge(lines: &str) -> Bridge {
    load(&format!(
        "bridges:\n  a:\n    port: 1\n    command: cat\n{}",
        indented(lines)
    ))
    .config
    .bridges
    .remove(0)
}

fn indented(lines: &str) -> String {
    lines
        .lines()
        .map(|line| format!("    {}\n", line.trim()))
        .collect()
}

fn env(command: &Command) -> Vec<(&str, &str)> {
    command
        .env
        .iter()
        .map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap()))
        .collect()
}

#[test]
fn the_file_in_the_repository_loads_where_nothing_is_installed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bridges.yaml");
    let environment = [("PATH", "/nowhere")].into_iter().collect();
    let Loaded { config, warnings } =
        Config::load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}"));
    let ports: Vec<_> = config
        .bridges
        .iter()
        .map(|b| (b.name.as_str(), b.listen.port))
        .collect();
    assert_eq!(
        ports,
        [("demo", 48001), ("postgres", 48010), ("filesystem", 48011)]
    );
    assert_eq!(config.admin.unwrap().listen, Listen::loopback(48000));
    assert_eq!(config.bridges[0].unavailable, None);
    assert_eq!(config.bridges[0].command.args, ["demo-server"]);
    assert!(config.bridges[0].command.resolve().is_ok());
    assert!(config.bridges[1].is_called("db"));
    assert_eq!(
        config.bridges[1].unavailable.as_deref().unwrap(),
        "environment variable `POSTGRES_MCP_URL` is not set; put it into the bridge's `env_file` and reload, or set it and \
         start anew; command `postgres-mcp` not found on PATH (/nowhere); install it or set its full path, then reload"
    );
    assert!(config.bridges[2].unavailable.is_some());
    let mock = Model {
        name: "gpt-4o-mock".to_owned(),
        provider: Provider::Mock,
    };
    let gateway = Gateway {
        models: vec![mock],
        ..Gateway::new()
    };
    assert_eq!(config.gateway, Some(gateway));
    assert_eq!(warnings, []);
}

#[test]
fn a_bridge_of_two_keys_has_the_documented_defaults() {
    let mut loaded = load("bridges: { a: { port: 8001, command: cat } }");
    assert!(loaded.config.file.take().is_some());
    let mut expected = Bridge::new(
        "a".to_owned(),
        Listen::loopback(8001),
        Command::new("cat".into()),
    );
    expected.command.env = vec![
        ("HOME".into(), "/home/u".into()),
        ("PATH".into(), "/usr/bin:/bin".into()),
    ];
    assert_eq!(loaded.config, Config::of(vec![expected]));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_key_arrives() {
    let a = bridge(
        "aliases: [b, c]
        args: [-v, 1.10, yes, \"x y\"]
        host: ::1
        description: d
        cwd: /tmp
        user: \"0\"
        limits: { memory: 1GiB, open_files: 64, nice: -5 }
        api_keys: [k1, k2]
        tools: { allow: [\"a*\"], deny: [ab] }
        allowed_origins: [HTTPS://A.b]
        allowed_hosts: [\"Mcp:8080\"]
        public_url: https://a.b/c/
        isolation: session
        session_idle: 1h
        input_timeout: 7m
        max_sessions: 1
        max_instances: 2
        max_in_flight: 3
        max_body: 4KiB
        max_message: 8192
        init_timeout: 1s
        request_timeout: 2m
        ping_interval: 3s
        ping_timeout: 400ms
        ping_failures: 5
        start_wait: 0s
        restart: on_failure
        on_crash: end
        headers_to_env: { X-Api-Key: API_KEY, team: TEAM }
        optional: true",
    );
    let headers = [("team", "TEAM"), ("x-api-key", "API_KEY")];
    assert_eq!(
        a.headers_to_env,
        headers.map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    assert_eq!(a.aliases, ["b", "c"]);
    assert_eq!(a.command.args, ["-v", "1.10", "yes", "x y"]);
    assert_eq!(a.listen.host, "::1".parse::<IpAddr>().unwrap());
    assert_eq!(a.description.as_deref(), Some("d"));
    assert_eq!(a.command.cwd, Some(PathBuf::from("/tmp")));
    assert_eq!(a.command.user.as_deref(), Some("0"));
    let process = a.command.limits;
    assert_eq!(
        (process.memory, process.open_files, process.nice),
        (Some(1 << 30), Some(64), Some(-5))
    );
    assert!(
        a.api_keys
            .iter()
            .map(super::Secret::expose)
            .eq(["k1", "k2"])
    );
    assert!(a.tools.permits("ac") && !a.tools.permits("ab") && !a.tools.permits("b"));
    assert_eq!(a.allowed_origins, ["https://a.b"]);
    assert_eq!(a.allowed_hosts, ["mcp:8080"]);
    assert_eq!(a.public_url.as_deref(), Some("https://a.b/c"));
    assert_eq!(a.isolation, Isolation::Session);
    assert_eq!((a.restart, a.on_crash), (Restart::OnFailure, OnCrash::End));
    let limits = a.limits;
    assert_eq!(
        (
            limits.max_sessions,
            limits.max_instances,
            limits.max_in_flight
        ),
        (1, 2, 3)
    );
    assert_eq!((limits.max_body, limits.max_message), (4096, 8192));
    let expected = Timing {
        init_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(120),
        ping_interval: Duration::from_secs(3),
        ping_timeout: Duration::from_millis(400),
        ping_failures: 5,
        start_wait: Duration::ZERO,
        session_idle: Duration::from_secs(3600),
        input_timeout: Duration::from_secs(420),
    };
    assert_eq!(a.timing, expected);
    assert!(a.optional);
    assert_eq!(a.unavailable, None);
}

#[test]
fn the_top_level_arrives() {
    let config = load(
        "drain: 5s
max_connections: 10
max_connections_per_ip: 5
log: { level: 'warn,mcp_bridged=debug', format: json }
admin: { port: 9, host: localhost, api_keys: [\"${TOKEN}\"] }
bridges: { a: { port: 1, command: cat } }",
    )
    .config;
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(
        (config.max_connections, config.max_connections_per_ip),
        (10, 5)
    );
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("warn,mcp_bridged=debug", LogFormat::Json)
    );
    let admin = config.admin.unwrap();
    assert_eq!(admin.listen, Listen::loopback(9));
    assert!(admin.api_keys[0].matches(b"hunter2"));
}

#[test]
fn the_admin_socket_is_found_in_a_broken_file_too() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bridges.yaml");
    let of = |yaml: &str| {
        std::fs::write(&path, yaml).unwrap();
        Config::admin_of(&path, &Environment::default())
    };
    let yaml = "admin: { port: 9, socket: run/a.sock, socket_mode: 660 }\nbridges: { a: { prt: 1 }, b: \"${NO}\" }";
    let (admin, socket) = of(yaml);
    assert_eq!(admin.unwrap().listen, Listen::loopback(9));
    assert_eq!(socket.path, Some(directory.path().join("run/a.sock")));
    assert_eq!(socket.mode, SocketMode::Group);
    for yaml in ["bridges: {}", "admin: { socket: a.sock", ""] {
        assert_eq!(of(yaml), (None, AdminSocket::default()), "{yaml}");
    }
    let loaded = load("admin: { socket: /run/a.sock }\nbridges: { a: { port: 1, command: cat } }");
    assert_eq!(loaded.config.admin, None);
    assert_eq!(
        loaded.config.socket.path.unwrap().to_str(),
        Some("/run/a.sock")
    );
}

#[test]
fn maps_of_defaults_merge_and_everything_else_is_replaced() {
    let config = load(
        "defaults:
  env: { A: 1, B: 2 }
  limits: { nice: 1, open_files: 64 }
  tools: { allow: [x], deny: [y] }
  headers_to_env: { x-a: A, x-b: B }
  api_keys: [k]
bridges:
  a: { port: 1, command: cat }
  b: { port: 2, command: cat, env: { B: 3 }, limits: { nice: 2 }, headers_to_env: { X-B: C }, tools: { allow: [z] }, api_keys: [] }",
    )
    .config;
    let [a, b] = &config.bridges[..] else {
        panic!("{config:?}")
    };
    assert_eq!(env(&a.command)[..2], [("A", "1"), ("B", "2")]);
    assert_eq!(env(&b.command)[..2], [("A", "1"), ("B", "3")]);
    assert_eq!(
        (a.command.limits.nice, a.command.limits.open_files),
        (Some(1), Some(64))
    );
    assert_eq!(
        (b.command.limits.nice, b.command.limits.open_files),
        (Some(2), Some(64))
    );
    assert!(
        a.tools.permits("x")
            && !b.tools.permits("x")
            && b.tools.permits("z")
            && !b.tools.permits("y")
    );
    assert_eq!((a.api_keys.len(), b.api_keys.len()), (1, 0));
    let headers = [("x-a", "A"), ("x-b", "C")];
    assert_eq!(
        b.headers_to_env,
        headers.map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
}

#[test]
fn a_childs_environment_is_what_was_named() {
    assert_eq!(
        env(&bridge("inherit_env: [EXTRA]").command)[0],
        ("EXTRA", "e")
    );
    assert_eq!(
        env(&bridge("inherit_env: true\nenv: { EXTRA: $$5, NEW: os.environ/TOKEN }").command),
        [
            ("EXTRA", "$5"),
            ("HOME", "/home/u"),
            ("NEW", "hunter2"),
            ("PATH", "/usr/bin:/bin"),
            ("TOKEN", "hunter2")
        ]
    );
}

#[test]
fn an_env_file_reaches_the_child_and_the_bridges_own_variables() {
    let directory = TempDir::new().unwrap();
    let yaml = "defaults: { env_file: all.env, args: [] }
bridges:
  a: { port: \"${PORT}\", command: cat, env_file: a.env, env: { B: 2, C: \"${A}!\", D: \"${TOKEN}\" } }
  b: { port: 2, command: cat, cwd: sub, api_keys: [\"file:key\"] }"
        .replace(", args: []", "");
    let files = [
        ("a.env", "PORT=8001\nA=1\nB=1\nTOKEN=own\n"),
        ("all.env", "E=5\n"),
        ("key", "  secret\n"),
    ];
    fs::create_dir(directory.path().join("sub")).unwrap();
    let Loaded { config, warnings } = load_in(&directory, &yaml, &files);
    let [a, b] = &config.bridges[..] else {
        panic!("{config:?}")
    };
    assert_eq!(a.listen.port, 8001);
    let expected = [("A", "1"), ("B", "2"), ("C", "1!"), ("D", "own")];
    assert_eq!(env(&a.command)[..4], expected);
    assert!(!env(&a.command).iter().any(|(name, _)| *name == "E"));
    assert_eq!(env(&b.command)[0], ("E", "5"));
    assert_eq!(b.command.cwd, Some(directory.path().join("sub")));
    assert!(b.api_keys[0].matches(b"secret"));
    assert_eq!(warnings, []);
}

#[test]
fn optional_bridges_become_unavailable_for_what_is_missing() {
    let cure = |lines: &str| bridge(&format!("optional: true\n{lines}")).unavailable;
    assert_eq!(cure(""), None);
    assert_eq!(
        cure("env: { A: \"${NONE}\" }").unwrap(),
        "environment variable `NONE` is not set; put it into the bridge's `env_file` and reload, or set it and start anew"
    );
    let file = cure("env_file: none.env").unwrap();
    assert!(
        file.ends_with(
            "none.env`: no such file or directory; create it or correct the path, then reload"
        ),
        "{file}"
    );
    let config = load("defaults: { optional: true, cwd: \"${NONE}\" }\nbridges: { a: { port: 1, command: no-such } }").config;
    let both = config.bridges[0].unavailable.as_deref().unwrap();
    assert!(
        both.contains("`NONE` is not set")
            && both.contains("command `no-such` not found on PATH (/usr/bin:/bin)")
    );
}

#[test]
fn what_deserves_a_look_is_a_warning() {
    let directory = TempDir::new().unwrap();
    let open = directory.path().join("open.env");
    fs::write(&open, "A=1").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let yaml = "bridges:
  a: { port: 1, command: cat, host: 0.0.0.0, env_file: open.env }
  b: { port: 2, command: npx -y thing }
  c: { port: 3, command: no-such }
  d: { port: 4, command: cat, host: '::', api_keys: [k] }
  e: { port: 6, command: cat, cwd: none }
  f: { port: 7, command: ./open.env, cwd: . }
admin: { port: 5, host: 0.0.0.0 }";
    let Loaded { warnings, config } = load_in(&directory, yaml, &[]);
    assert!(
        config
            .bridges
            .iter()
            .all(|bridge| bridge.unavailable.is_none())
    );
    let prefix = format!("{}/", directory.path().display());
    let warnings: Vec<_> = warnings
        .iter()
        .map(|warning| warning.to_string().replace(&prefix, ""))
        .collect();
    assert_eq!(
        warnings,
        [
            "bridges.yaml:2:14: bridges.a.port: 0.0.0.0:1 can be reached from other machines and has no `api_keys`: everybody \
             there may use it",
            "bridges.yaml:2:56: bridges.a.env_file: others can read `open.env`; run `chmod 600 open.env`",
            "bridges.yaml:3:26: bridges.b.command: command `npx -y thing` not found on PATH (/usr/bin:/bin); no shell is \
             involved, put its arguments under `args`",
            "bridges.yaml:4:26: bridges.c.command: command `no-such` not found on PATH (/usr/bin:/bin); install it or set its \
             full path",
            "bridges.yaml:6:36: bridges.e.cwd: the directory `none` of `cwd` does not exist; create it or correct `cwd`",
            "bridges.yaml:7:26: bridges.f.command: command `././open.env` is not executable; run `chmod +x ././open.env`, or \
             correct its path",
            "bridges.yaml:8:16: admin.port: 0.0.0.0:5 can be reached from other machines and has no `api_keys`: everybody \
             there may use it",
        ]
    );
}

#[test]
fn a_credential_of_the_service_manager_is_not_exposed() {
    let directory = TempDir::new().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "k").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    let file = directory.path().join("bridges.yaml");
    // any other file with this mode is said to be exposed
    for (variable, exposed) in [("CREDENTIALS_DIRECTORY", 0), ("KEYS", 1)] {
        let keys = format!("['file:${{{variable}}}/key']");
        fs::write(
            &file,
            format!("bridges: {{ a: {{ port: 1, command: cat, api_keys: {keys} }} }}"),
        )
        .unwrap();
        let environment = [
            ("PATH", "/usr/bin:/bin"),
            (variable, directory.path().to_str().unwrap()),
        ];
        let loaded = Config::load(&file, &environment.into_iter().collect()).unwrap();
        assert_eq!(loaded.warnings.len(), exposed, "{variable}");
    }
}

#[test]
fn secrets_are_in_no_debug_output() {
    let bridge = bridge(
        "api_keys: [\"${TOKEN}\"]\nargs: [\"${TOKEN}\"]\nenv: { A: \"${TOKEN}\" }\ninherit_env: true",
    );
    assert_eq!(bridge.command.args, ["hunter2"]);
    assert!(!format!("{bridge:?}").contains("hunter2"));
}

#[test]
fn one_command_is_a_configuration() {
    let environment: Environment = [("TOKEN", "t"), ("LISTEN_FDS", "1")].into_iter().collect();
    let config = Config::single(
        Listen::loopback(0),
        "/bin/cat".into(),
        vec!["-u".into()],
        &environment,
    );
    let [cat] = &config.bridges[..] else {
        panic!("{config:?}")
    };
    assert_eq!(
        (cat.name.as_str(), cat.listen),
        ("cat", Listen::loopback(0))
    );
    assert_eq!(cat.command.args, ["-u"]);
    assert_eq!(env(&cat.command), [("TOKEN", "t")]);
}

#[test]
fn a_mark_at_the_start_windows_line_ends_and_json_are_fine() {
    assert_eq!(
        load("\u{feff}bridges:\r\n  a:\r\n    port: 1\r\n    command: cat\r\n")
            .config
            .bridges
            .len(),
        1
    );
    assert_eq!(
        load(r#"{"bridges": {"a": {"port": 1, "command": "cat"}}}"#)
            .config
            .bridges[0]
            .command
            .program,
        "cat"
    );
}
