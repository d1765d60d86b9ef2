//! What the file says of the world outside it: variables, other files, and all of it at once.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "variables that are missing",
        yaml: br#"
bridges:
  a:
    port: ${NO_PORT}
    command: ${NO_COMMAND}
    args: ["${NO_A}/${NO_B}"]
    env: { TOKEN: os.environ/NO_TOKEN, FINE: "${NO_X:-y}" }
drain: ${NO_DRAIN}
"#,
        problems: &[
            "bridges.yaml:3:11: bridges.a.port: environment variable `NO_PORT` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:4:14: bridges.a.command: environment variable `NO_COMMAND` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:5:12: bridges.a.args[0]: environment variable `NO_A` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:5:12: bridges.a.args[0]: environment variable `NO_B` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:6:19: bridges.a.env.TOKEN: environment variable `NO_TOKEN` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:7:8: drain: environment variable `NO_DRAIN` is not set; set it",
        ],
    },
    Case {
        name: "variables of defaults",
        yaml: br#"
defaults:
  api_keys: ["${NO_KEY}"]
bridges:
  a: { port: 1, command: cat }
  b: { port: 2, command: cat }
"#,
        problems: &[
            "bridges.yaml:2:14: defaults.api_keys[0]: environment variable `NO_KEY` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
        ],
    },
    Case {
        name: "an optional bridge whose address is missing",
        yaml: br#"
bridges:
  a: { port: "${NO_PORT}", host: "${NO_HOST}", command: "${NO_COMMAND}", optional: true }
"#,
        problems: &[
            "bridges.yaml:2:14: bridges.a.port: environment variable `NO_PORT` is not set; set it or put it into the bridge's `env_file`",
            "bridges.yaml:2:34: bridges.a.host: environment variable `NO_HOST` is not set; set it or put it into the bridge's `env_file`",
        ],
    },
    Case {
        name: "variables that are no variables",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    args: ["${", "${A B}", "${A:?no}", "${BYTES}", "$A $$ $"]
"#,
        problems: &[
            "bridges.yaml:5:12: bridges.a.args[0]: found `${` without `}`; write `$$` for a dollar sign",
            "bridges.yaml:5:18: bridges.a.args[1]: found `${…}` around something that is no name, expected `${VAR}` or `${VAR:-default}`; write `$$` for a dollar sign",
            "bridges.yaml:5:28: bridges.a.args[2]: found `${…}` around something that is no name, expected `${VAR}` or `${VAR:-default}`; write `$$` for a dollar sign",
            "bridges.yaml:5:40: bridges.a.args[3]: environment variable `BYTES` is not UTF-8",
        ],
    },
    Case {
        name: "variables whose values don't fit",
        yaml: br#"
bridges:
  a: { port: "${SECRET}", command: cat, isolation: "${SECRET}", init_timeout: "${SECRET}" }
"#,
        problems: &[
            "bridges.yaml:2:14: bridges.a.port: found `${SECRET}` (its value is not shown), expected a whole number from 0 to 65535",
            "bridges.yaml:2:52: bridges.a.isolation: found `${SECRET}` (its value is not shown), expected `auto`, `shared` or `session`",
            "bridges.yaml:2:79: bridges.a.init_timeout: found `${SECRET}` (its value is not shown), expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
        ],
    },
    Case {
        name: "values that can't change the structure",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    env: { A: "${YAML}" }
    isolation: "${YAML}"
"#,
        problems: &[
            "bridges.yaml:6:16: bridges.a.isolation: found `${YAML}` (its value is not shown), expected `auto`, `shared` or `session`",
        ],
    },
    Case {
        name: "an env_file that is missing",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    env_file: none.env
"#,
        problems: &[
            "bridges.yaml:5:15: bridges.a.env_file: cannot read `none.env`: no such file or directory; create it or correct the path, or say `optional: true`",
        ],
    },
    Case {
        name: "an env_file in defaults that is missing",
        yaml: br#"
defaults: { env_file: none.env }
bridges:
  a: { port: 1, command: cat }
  b: { port: 2, command: cat, env_file: good.env, args: ["${FROM_FILE}"] }
"#,
        problems: &[
            "bridges.yaml:1:23: defaults.env_file: cannot read `none.env`: no such file or directory; create it or correct the path, or say `optional: true`",
        ],
    },
    Case {
        name: "an env_file with bad lines",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    env_file: bad.env
    args: ["${FROM_FILE}"]
    colour: red
"#,
        problems: &[
            "bridges.yaml:7:5: bridges.a.colour: unknown key, expected `port`, …",
            "bad.env:2:1: bridges.a.env_file: expected KEY=VALUE, found no `=`",
            "bad.env:3:3: bridges.a.env_file: found a quote that is not closed on its line",
            "bad.env:4:1: bridges.a.env_file: expected KEY=VALUE, found no name of a variable before `=`",
        ],
    },
    Case {
        name: "bad variables for the child",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    env: { NOTIFY_SOCKET: x, "A=B": y, C: , D: [z], "": w }
    inherit_env: [A, [B]]
"#,
        problems: &[
            "bridges.yaml:5:12: bridges.a.env.NOTIFY_SOCKET: found `NOTIFY_SOCKET`, expected a name of a variable: the service manager's own variables are not for children",
            "bridges.yaml:5:30: bridges.a.env.A=B: found `A=B`, expected a name of a variable",
            r#"bridges.yaml:5:40: bridges.a.env.C: found nothing, expected text (`""` for an empty value)"#,
            r#"bridges.yaml:5:48: bridges.a.env.D: found a list, expected text (`""` for an empty value)"#,
            "bridges.yaml:5:53: bridges.a.env.: found an empty text, expected a name of a variable",
            "bridges.yaml:6:22: bridges.a.inherit_env[1]: found a list, expected a name of a variable",
        ],
    },
    Case {
        name: "bad keys",
        yaml: br#"
bridges:
  a:
    port: 8001
    command: cat
    api_keys: ["", "${EMPTY}", "hunter2 hunter2", "file:none.key", "file:empty.key", [x]]
admin: { port: 1, api_keys: ["${NO_KEY}"] }
"#,
        problems: &[
            "bridges.yaml:5:16: bridges.a.api_keys[0]: found nothing, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:5:20: bridges.a.api_keys[1]: found nothing, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:5:32: bridges.a.api_keys[2]: found a value that is not shown, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:5:51: bridges.a.api_keys[3]: cannot read `none.key`: no such file or directory",
            "bridges.yaml:5:68: bridges.a.api_keys[4]: found nothing, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:5:86: bridges.a.api_keys[5]: found a list, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:6:30: admin.api_keys[0]: environment variable `NO_KEY` is not set; set it",
        ],
    },
    Case {
        name: "everything at once",
        yaml: br#"
defaults: { request_timeout: 5 }
bridges:
  a:
    port: 99999
    command: cat
    isolatoin: auto
  B: { port: 8001, command: cat, restart: old }
  c: { port: 8001, command: cat, env: { T: "${NO_TOKEN}" } }
admin: { port: 8001 }
gateway: { port: 8001, master_key: "${NO_KEY}" }
"#,
        problems: &[
            "bridges.yaml:1:30: defaults.request_timeout: found `5`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:4:11: bridges.a.port: found `99999`, expected a whole number from 0 to 65535",
            "bridges.yaml:6:5: bridges.a.isolatoin: unknown key, did you mean `isolation`?",
            "bridges.yaml:7:3: bridges.B: found `B`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:7:43: bridges.B.restart: found `old`, expected `always`, `on_failure` or `never`",
            "bridges.yaml:8:14: bridges.c.port: 127.0.0.1:8001 clashes with 127.0.0.1:8001 of bridge `B` at line 7; choose another port",
            "bridges.yaml:8:44: bridges.c.env.T: environment variable `NO_TOKEN` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:9:16: admin.port: 127.0.0.1:8001 clashes with 127.0.0.1:8001 of bridge `B` at line 7; choose another port",
            "bridges.yaml:10:18: gateway.port: 127.0.0.1:8001 clashes with 127.0.0.1:8001 of bridge `B` at line 7; choose another port",
            "bridges.yaml:10:36: gateway.master_key: environment variable `NO_KEY` is not set; set it",
        ],
    },
];
