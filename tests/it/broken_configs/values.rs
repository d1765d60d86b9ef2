//! Values that their keys can't take, and values that don't go together.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "bad names",
        yaml: br#"
bridges:
  My Bridge: { port: 1, command: cat }
  -x: { port: 2, command: cat }
  a: { port: 3, command: cat, aliases: [B, "", 'c d'] }
  abcdefghijabcdefghijabcdefghijabcdefghijx: { port: 4, command: cat }
"#,
        problems: &[
            "bridges.yaml:2:3: bridges.My Bridge: found `My Bridge`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:3:3: bridges.-x: found `-x`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:4:41: bridges.a.aliases[0]: found `B`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:4:44: bridges.a.aliases[1]: found an empty text, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:4:48: bridges.a.aliases[2]: found `c d`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:5:3: bridges.abcdefghijabcdefghijabcdefghijabcdefghijx: found `abcdefghijabcdefghijabcdefghijabcdefghijx`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
        ],
    },
    Case {
        name: "names that clash",
        yaml: br#"
bridges:
  a: { port: 1, command: cat, aliases: [b, x, a] }
  b: { port: 2, command: cat, aliases: [x] }
"#,
        problems: &[
            "bridges.yaml:2:41: bridges.a.aliases[0]: the name `b` is taken at line 3; choose another",
            "bridges.yaml:2:47: bridges.a.aliases[2]: the name `a` is taken at line 2; choose another",
            "bridges.yaml:3:41: bridges.b.aliases[0]: the name `x` is taken at line 2; choose another",
        ],
    },
    Case {
        name: "ports that clash",
        yaml: br#"
bridges:
  a: { port: 8001, command: cat }
  b: { port: 8001, command: cat }
  c: { port: 8002, command: cat, host: 0.0.0.0, api_keys: [k] }
  d: { port: 8002, command: cat, host: 127.0.0.2 }
  e: { port: 8001, command: cat, host: 127.0.0.2 }
  f: { port: 0, command: cat }
  g: { port: 0, command: cat }
admin: { port: 8002 }
"#,
        problems: &[
            "bridges.yaml:3:14: bridges.b.port: 127.0.0.1:8001 clashes with 127.0.0.1:8001 of bridge `a` at line 2; choose another port",
            "bridges.yaml:5:14: bridges.d.port: 127.0.0.2:8002 clashes with 0.0.0.0:8002 of bridge `c` at line 4; choose another port",
            "bridges.yaml:9:16: admin.port: 127.0.0.1:8002 clashes with 0.0.0.0:8002 of bridge `c` at line 4; choose another port",
        ],
    },
    Case {
        name: "bad ports",
        yaml: br#"
bridges:
  a: { port: 65536, command: cat }
  b: { port: -1, command: cat }
  c: { port: http, command: cat }
  d: { port: 80.5, command: cat }
  e: { port: , command: cat }
  f: { port: [1], command: cat }
  g: { port: 0x50, command: cat }
"#,
        problems: &[
            "bridges.yaml:2:14: bridges.a.port: found `65536`, expected a whole number from 0 to 65535",
            "bridges.yaml:3:14: bridges.b.port: found `-1`, expected a whole number from 0 to 65535",
            "bridges.yaml:4:14: bridges.c.port: found `http`, expected a whole number from 0 to 65535",
            "bridges.yaml:5:14: bridges.d.port: found `80.5`, expected a whole number from 0 to 65535",
            "bridges.yaml:6:8: bridges.e.port: found nothing, expected a whole number from 0 to 65535",
            "bridges.yaml:7:14: bridges.f.port: found a list, expected a whole number from 0 to 65535",
            "bridges.yaml:8:14: bridges.g.port: found `0x50`, expected a whole number from 0 to 65535",
        ],
    },
    Case {
        name: "bad durations",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    init_timeout: 30
    request_timeout: 5 min
    ping_interval: 0s
    ping_timeout: -1s
    session_idle: 1.5h
    start_wait: 48h
drain: soon
"#,
        problems: &[
            "bridges.yaml:5:19: bridges.a.init_timeout: found `30`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:6:22: bridges.a.request_timeout: found `5 min`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:7:20: bridges.a.ping_interval: found `0s`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:8:19: bridges.a.ping_timeout: found `-1s`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:9:19: bridges.a.session_idle: found `1.5h`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:10:17: bridges.a.start_wait: found `48h`, expected a duration from 0s to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:11:8: drain: found `soon`, expected a duration from 0s to 24h such as `500ms`, `30s`, `5m` or `1h`",
        ],
    },
    Case {
        name: "bad sizes",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    max_body: 16MB
    max_message: 0
    limits: { memory: lots }
"#,
        problems: &[
            "bridges.yaml:5:15: bridges.a.max_body: found `16MB`, expected a size from 4KiB to 1GiB such as `64KiB` or `16MiB`",
            "bridges.yaml:6:18: bridges.a.max_message: found `0`, expected a size from 4KiB to 1GiB such as `64KiB` or `16MiB`",
            "bridges.yaml:7:23: bridges.a.limits.memory: found `lots`, expected a size from 1MiB to 4096GiB such as `64KiB` or `16MiB`",
        ],
    },
    Case {
        name: "bad numbers",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    max_sessions: 0
    max_instances: many
    max_in_flight: 1e3
    ping_failures: 101
    limits: { nice: 20, open_files: 1 }
max_connections: 0
max_connections_per_ip: 1000001
"#,
        problems: &[
            "bridges.yaml:5:19: bridges.a.max_sessions: found `0`, expected a whole number from 1 to 1000000",
            "bridges.yaml:6:20: bridges.a.max_instances: found `many`, expected a whole number from 1 to 1000000",
            "bridges.yaml:7:20: bridges.a.max_in_flight: found `1e3`, expected a whole number from 1 to 1000000",
            "bridges.yaml:8:20: bridges.a.ping_failures: found `101`, expected a whole number from 1 to 100",
            "bridges.yaml:9:21: bridges.a.limits.nice: found `20`, expected a whole number from -20 to 19",
            "bridges.yaml:9:37: bridges.a.limits.open_files: found `1`, expected a whole number from 16 to 1073741824",
            "bridges.yaml:10:18: max_connections: found `0`, expected a whole number from 1 to 1000000",
            "bridges.yaml:11:25: max_connections_per_ip: found `1000001`, expected a whole number from 1 to 1000000",
        ],
    },
    Case {
        name: "bad words",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    isolation: shred
    restart: no
    on_crash: Keep
    optional: yes
log: { level: verbose, format: xml }
"#,
        problems: &[
            "bridges.yaml:5:16: bridges.a.isolation: found `shred`, expected `auto`, `shared` or `session`",
            "bridges.yaml:6:14: bridges.a.restart: found `no`, expected `always`, `on_failure` or `never`",
            "bridges.yaml:7:15: bridges.a.on_crash: found `Keep`, expected `keep` or `end`",
            "bridges.yaml:8:15: bridges.a.optional: found `yes`, expected `true` or `false`",
            "bridges.yaml:9:15: log.level: found `verbose`, expected `error`, `warn`, `info`, `debug`, `trace`, `off` or directives such as `info,mcp_bridged=debug`: `verbose` is neither",
            "bridges.yaml:9:32: log.format: found `xml`, expected `auto`, `text` or `json`",
        ],
    },
    Case {
        name: "wrong types",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    description: [x]
    env: [A=b]
    tools: open
    limits: 5
    cwd: {}
    api_keys: k
    allowed_hosts: a
defaults: none
admin: 8000
log: debug
"#,
        problems: &[
            "bridges.yaml:5:18: bridges.a.description: found a list, expected text",
            "bridges.yaml:6:10: bridges.a.env: found a list, expected a map of names to values, such as `{ TZ: UTC }`",
            "bridges.yaml:7:12: bridges.a.tools: found a single value, expected a map of keys",
            "bridges.yaml:8:13: bridges.a.limits: found a single value, expected a map of keys",
            "bridges.yaml:9:10: bridges.a.cwd: found an empty map, expected a path",
            "bridges.yaml:10:15: bridges.a.api_keys: found a single value, expected a list, each item a key",
            "bridges.yaml:11:20: bridges.a.allowed_hosts: found a single value, expected a list, each item a host such as `mcp.example.org` or `mcp:8080`",
            "bridges.yaml:12:11: defaults: found a single value, expected a map of keys",
            "bridges.yaml:13:8: admin: found a single value, expected a map of keys",
            "bridges.yaml:14:6: log: found a single value, expected a map of keys",
        ],
    },
    Case {
        name: "a command with its arguments in it",
        yaml: br#"
bridges:
  a: { port: 1, command: [npx, -y, x] }
  b: { port: 2, command: "" }
  c: { port: 3, command: cat, args: -v }
  d: { port: 4, command: cat, args: [{ a: b }, [c], ~] }
"#,
        problems: &[
            "bridges.yaml:2:26: bridges.a.command: found a list, expected the name or path of a program (its arguments go under `args`)",
            "bridges.yaml:3:26: bridges.b.command: found an empty text, expected the name or path of a program (its arguments go under `args`)",
            "bridges.yaml:4:37: bridges.c.args: found a single value, expected a list, each item text",
            "bridges.yaml:5:38: bridges.d.args[0]: found a map, expected text",
            "bridges.yaml:5:48: bridges.d.args[1]: found a list, expected text",
            "bridges.yaml:5:53: bridges.d.args[2]: found nothing, expected text",
        ],
    },
    Case {
        name: "bad hosts, URLs and origins",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    host: example.org
    public_url: mcp.example.org
    allowed_origins: ["*", "https://a/"]
    allowed_hosts: ["http://a"]
admin: { port: 1, host: 127.0.0.1:80 }
"#,
        problems: &[
            "bridges.yaml:5:11: bridges.a.host: found `example.org`, expected an IP address or `localhost`",
            "bridges.yaml:6:17: bridges.a.public_url: found `mcp.example.org`, expected a URL such as `https://mcp.example.org/db`: it must start with `http://` or `https://`",
            "bridges.yaml:7:23: bridges.a.allowed_origins[0]: found `*`, expected an origin such as `https://chat.example.org`: it must start with a scheme such as `https://`",
            "bridges.yaml:7:28: bridges.a.allowed_origins[1]: found `https://a/`, expected an origin such as `https://chat.example.org`: an origin has no path, not even a final `/`",
            "bridges.yaml:8:21: bridges.a.allowed_hosts[0]: found `http://a`, expected a host such as `mcp.example.org` or `mcp:8080`: it has no scheme and no path",
            "bridges.yaml:9:25: admin.host: found `127.0.0.1:80`, expected an IP address or `localhost`",
        ],
    },
    Case {
        name: "bad globs",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    tools: { allow: ["[a", "{b", ok_*], deny: [""] }
"#,
        problems: &[
            "bridges.yaml:5:22: bridges.a.tools.allow[0]: found `[a`, expected a glob such as `list_*`: unclosed character class; missing ']'",
            "bridges.yaml:5:28: bridges.a.tools.allow[1]: found `{b`, expected a glob such as `list_*`: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            "bridges.yaml:5:48: bridges.a.tools.deny[0]: found an empty text, expected a glob such as `list_*`",
        ],
    },
    Case {
        name: "an empty allow list",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    tools: { allow: [], deny: [] }
"#,
        problems: &[
            "bridges.yaml:5:21: bridges.a.tools.allow: found an empty list, which would allow nothing; name something or leave the key out",
        ],
    },
    Case {
        name: "an inherit_env of the wrong kind",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    inherit_env: some
"#,
        problems: &[
            "bridges.yaml:5:18: bridges.a.inherit_env: found `some`, expected `true`, `false` or a list of names",
        ],
    },
    Case {
        name: "a user that is missing",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    user: no-such-user
"#,
        problems: &[
            "bridges.yaml:5:11: bridges.a.user: found `no-such-user`, expected a user's name or number: there is no such user",
        ],
    },
    Case {
        name: "a NUL byte",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    args: ["a\0b"]
"#,
        problems: &["bridges.yaml:5:12: bridges.a.args[0]: found a NUL byte, expected text"],
    },
    Case {
        name: "headers for the child that can't be",
        yaml: br#"
defaults: { headers_to_env: { x-a: A } }
bridges:
  a: { port: 1, command: cat, isolation: shared }
  b: { port: 2, command: cat, isolation: shared, headers_to_env: { x-b: B } }
  c: { port: 3, command: cat, headers_to_env: { "x b": C, X-B: "A=B", x-b: "", x-c: LISTEN_FDS, x-d: [D] } }
"#,
        problems: &[
            "bridges.yaml:3:31: bridges.a.isolation: `headers_to_env` needs an instance for each client that sends the headers, and `isolation` is `shared`; say `isolation: auto` or `session`, or remove `headers_to_env`",
            "bridges.yaml:4:50: bridges.b.headers_to_env: `headers_to_env` needs an instance for each client that sends the headers, and `isolation` is `shared`; say `isolation: auto` or `session`, or remove `headers_to_env`",
            "bridges.yaml:5:49: bridges.c.headers_to_env.x b: found `x b`, expected the name of a header",
            "bridges.yaml:5:64: bridges.c.headers_to_env.X-B: found `A=B`, expected the name of a variable",
            "bridges.yaml:5:71: bridges.c.headers_to_env.x-b: found `x-b` again, first at line 5; remove one",
            "bridges.yaml:5:76: bridges.c.headers_to_env.x-b: found an empty text, expected the name of a variable",
            "bridges.yaml:5:85: bridges.c.headers_to_env.x-c: found `LISTEN_FDS`, expected the name of a variable: the service manager's own variables are not for children",
            "bridges.yaml:5:102: bridges.c.headers_to_env.x-d: found a list, expected the name of a variable",
        ],
    },
];
