//! Files that are no configuration: not readable as YAML, or not of the right shape.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an empty file",
        yaml: b"",
        problems: &["bridges.yaml: the file is empty, expected a map with the key `bridges`"],
    },
    Case {
        name: "nothing but comments",
        yaml: br#"
# nothing

"#,
        problems: &["bridges.yaml: the file is empty, expected a map with the key `bridges`"],
    },
    Case {
        name: "a list at the top",
        yaml: br#"
- a
- b
"#,
        problems: &["bridges.yaml:1:1: found a list, expected a map with the key `bridges`"],
    },
    Case {
        name: "a word at the top",
        yaml: br#"
bridges
"#,
        problems: &[
            "bridges.yaml:1:1: found a single value, expected a map with the key `bridges`",
        ],
    },
    Case {
        name: "a byte that is not UTF-8",
        yaml: b"bridges:\n  a: { port: 1, command: caf\xe9 }\n",
        problems: &[
            "bridges.yaml:2:29: found the byte 0xe9, which is not UTF-8; save the file as UTF-8",
        ],
    },
    Case {
        name: "tabs as indentation",
        yaml: b"bridges:\n\ta:\n\t\tport: 1\n",
        problems: &[
            "bridges.yaml:2:1: found a tab in the indentation, expected spaces",
            "bridges.yaml:3:1: found a tab in the indentation, expected spaces",
        ],
    },
    Case {
        name: "a tab below spaces",
        yaml: b"bridges:\n  a:\n  \tport: 1\n    command: x\n",
        problems: &["bridges.yaml:3:3: found a tab in the indentation, expected spaces"],
    },
    Case {
        name: "a bracket that is not closed",
        yaml: br#"
bridges:
  a: { port: 1, command: x
admin: { port: 2 }
"#,
        problems: &[
            "bridges.yaml:3:6: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        ],
    },
    Case {
        name: "a quote that is not closed",
        yaml: br#"
bridges:
  a: { port: 1, command: "x }
"#,
        problems: &["bridges.yaml:2:26: not valid YAML: unclosed quote"],
    },
    Case {
        name: "a colon without a space",
        yaml: br#"
bridges:
  a:
    port:8001
    command: cat
"#,
        problems: &[
            "bridges.yaml:4:12: not valid YAML: mapping values are not allowed in this context",
        ],
    },
    Case {
        name: "a wrong indentation",
        yaml: br#"
bridges:
  a:
    port: 1
   command: x
"#,
        problems: &[
            "bridges.yaml:4:4: not valid YAML: while parsing a block mapping, did not find expected key",
        ],
    },
    Case {
        name: "two documents",
        yaml: br#"
bridges: { a: { port: 1, command: x } }
---
bridges: { a: { port: 1, command: x } }
"#,
        problems: &[
            "bridges.yaml:2:1: found a second document, expected one; put all bridges under the one `bridges:`",
        ],
    },
    Case {
        name: "anchors, aliases, merge keys and tags",
        yaml: br#"
defaults: &d
  host: 127.0.0.1
bridges:
  a:
    <<: *d
    port: !!int 1
    command: cat
    args: &v [x]
  b: { port: 2, command: cat, args: *v }
"#,
        problems: &[
            "bridges.yaml:2:3: defaults: found an anchor; anchors are not supported, use `defaults:` or repeat the value",
            "bridges.yaml:5:5: bridges.a.<<: merge keys are not supported, use `defaults:` or repeat the values",
            "bridges.yaml:6:17: bridges.a.port: found a tag; tags are not supported, write the value without it",
            "bridges.yaml:8:14: bridges.a.args: found an anchor; anchors are not supported, use `defaults:` or repeat the value",
            "bridges.yaml:9:37: bridges.b.args: found an alias; aliases are not supported, use `defaults:` or repeat the value",
        ],
    },
    Case {
        name: "merge keys alone",
        yaml: br#"
bridges:
  a: { <<: { port: 1 } }
"#,
        problems: &[
            "bridges.yaml:2:8: bridges.a.<<: merge keys are not supported, use `defaults:` or repeat the values",
        ],
    },
    Case {
        name: "keys that are no text",
        yaml: br#"
bridges:
  [a]: { port: 1, command: x }
  ~: { port: 2, command: x }
  ? { b: c }
  : { port: 3, command: x }
"#,
        problems: &[
            "bridges.yaml:2:3: bridges: found a list or map as a key, expected text; quote the value if `[` or `{` belongs to it",
            "bridges.yaml:3:3: bridges: found a key without a name, expected text",
            "bridges.yaml:4:5: bridges: found a list or map as a key, expected text; quote the value if `[` or `{` belongs to it",
        ],
    },
    Case {
        name: "keys given twice",
        yaml: br#"
bridges:
  a:
    port: 1
    command: x
    port: 2
  b: { port: 3, command: x, env: { A: 1, B: 2, A: 3 } }
  a: { port: 4, command: x }
admin: { port: 5 }
admin: { port: 6 }
"#,
        problems: &[
            "bridges.yaml:5:5: bridges.a.port: key given twice, first at line 3; remove one",
            "bridges.yaml:6:48: bridges.b.env.A: key given twice, first at line 6; remove one",
            "bridges.yaml:7:3: bridges.a: key given twice, first at line 2; remove one",
            "bridges.yaml:9:1: admin: key given twice, first at line 8; remove one",
        ],
    },
    Case {
        name: "no bridges",
        yaml: br#"
admin: { port: 8000 }
"#,
        problems: &["bridges.yaml:1:1: `bridges` is missing; name at least one bridge below it"],
    },
    Case {
        name: "an empty map of bridges",
        yaml: br#"
bridges: {}
admin: { port: 70000 }
"#,
        problems: &[
            "bridges.yaml:1:10: bridges: found an empty map, expected at least one bridge, such as `demo: { port: 48001, demo: true }`",
            "bridges.yaml:2:16: admin.port: found `70000`, expected a whole number from 0 to 65535",
        ],
    },
    Case {
        name: "bridges that hold nothing",
        yaml: br#"
bridges:
# a: { port: 1, command: x }
"#,
        problems: &[
            "bridges.yaml:1:1: bridges: found nothing, expected at least one bridge, such as `demo: { port: 48001, demo: true }`",
        ],
    },
    Case {
        name: "a list of bridges",
        yaml: br#"
bridges:
  - name: a
    port: 1
    command: x
"#,
        problems: &[
            "bridges.yaml:2:3: bridges: found a list, expected at least one bridge, such as `demo: { port: 48001, demo: true }`",
        ],
    },
    Case {
        name: "bridges of the wrong shape",
        yaml: br#"
bridges:
  a: 8001
  b:
  c: [x]
"#,
        problems: &[
            "bridges.yaml:2:6: bridges.a: found a single value, expected a map of keys",
            "bridges.yaml:3:3: bridges.b: found nothing, expected a map of keys",
            "bridges.yaml:4:6: bridges.c: found a list, expected a map of keys",
        ],
    },
    Case {
        name: "unknown keys",
        yaml: br#"
bridge: {}
bridges:
  a:
    prot: 1
    command: cat
    requestTimeout: 5s
    colour: red
    limits: { cpu: 2 }
    tools: { alow: [x] }
logs: { level: info }
"#,
        problems: &[
            "bridges.yaml:1:1: bridge: unknown key, did you mean `bridges`?",
            "bridges.yaml:3:3: bridges.a: `port` is missing; choose one for the bridge to listen on",
            "bridges.yaml:4:5: bridges.a.prot: unknown key, did you mean `port`?",
            "bridges.yaml:6:5: bridges.a.requestTimeout: unknown key, did you mean `request_timeout`?",
            "bridges.yaml:7:5: bridges.a.colour: unknown key, expected `port`, …",
            "bridges.yaml:8:15: bridges.a.limits.cpu: unknown key, expected `memory`, `open_files` or `nice`",
            "bridges.yaml:9:14: bridges.a.tools.alow: unknown key, did you mean `allow`?",
            "bridges.yaml:10:1: logs: unknown key, did you mean `log`?",
        ],
    },
    Case {
        name: "keys in the wrong room",
        yaml: br#"
port: 1
request_timeout: 5s
defaults: { port: 2, command: x, drain: 5s }
bridges:
  a: { port: 3, command: cat, max_connections: 5 }
admin: { port: 4, tools: { allow: [x] } }
gateway: { api_keys: [k], drain: 5s }
master_key: k
"#,
        problems: &[
            "bridges.yaml:1:1: port: unknown key here; it belongs to a bridge",
            "bridges.yaml:2:1: request_timeout: unknown key here; it belongs to a bridge or to `defaults`",
            "bridges.yaml:3:13: defaults.port: unknown key here; it belongs to a bridge",
            "bridges.yaml:3:22: defaults.command: unknown key here; it belongs to a bridge",
            "bridges.yaml:3:34: defaults.drain: unknown key here; it belongs to the top level",
            "bridges.yaml:5:31: bridges.a.max_connections: unknown key here; it belongs to the top level",
            "bridges.yaml:6:19: admin.tools: unknown key here; it belongs to a bridge or to `defaults`",
            "bridges.yaml:7:12: gateway.api_keys: unknown key here; it belongs to a bridge or to `defaults`",
            "bridges.yaml:7:27: gateway.drain: unknown key here; it belongs to the top level",
            "bridges.yaml:8:1: master_key: unknown key here; it belongs to `gateway`",
        ],
    },
    Case {
        name: "required keys that are missing",
        yaml: br#"
bridges:
  a: { command: cat }
  b: { port: 8002 }
  c: {}
admin: { host: 127.0.0.1 }
"#,
        problems: &[
            "bridges.yaml:2:3: bridges.a: `port` is missing; choose one for the bridge to listen on",
            "bridges.yaml:3:3: bridges.b: `command` is missing; name a program, say `demo: true` for the built-in server, or give the `url` of a remote one",
            "bridges.yaml:4:3: bridges.c: `command` is missing; name a program, say `demo: true` for the built-in server, or give the `url` of a remote one",
            "bridges.yaml:4:3: bridges.c: `port` is missing; choose one for the bridge to listen on",
            "bridges.yaml:5:1: admin: `port` is missing; choose one for the admin listener",
        ],
    },
    Case {
        name: "a command beside the demo",
        yaml: br#"
bridges:
  a: { port: 1, demo: true, command: cat, args: [x] }
  b: { port: 2, demo: false }
"#,
        problems: &[
            "bridges.yaml:2:29: bridges.a.command: found `command` beside `demo: true`, which is a command of its own; remove one",
            "bridges.yaml:2:43: bridges.a.args: found `args` beside `demo: true`, which is a command of its own; remove one",
            "bridges.yaml:3:3: bridges.b: `command` is missing; name a program, say `demo: true` for the built-in server, or give the `url` of a remote one",
        ],
    },
    Case {
        name: "an admin socket with what belongs to the listener",
        yaml: br#"
bridges:
  a: { port: 1, demo: true }
admin: { socket: a.sock, socket_mode: 666, host: 127.0.0.1, api_keys: [k] }
"#,
        problems: &[
            "bridges.yaml:3:39: admin.socket_mode: found `666`, expected `600` or `660`",
            "bridges.yaml:3:44: admin.host: found `host` without `port`, to which it belongs; add `port` or remove it",
            "bridges.yaml:3:61: admin.api_keys: found `api_keys` without `port`, to which it belongs; add `port` or remove it",
        ],
    },
];
