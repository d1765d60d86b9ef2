//! Remote servers that can't be spoken with, and keys that suit only one kind of server.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "keys of a bridge beside a url",
        yaml: br#"
bridges:
  a:
    url: http://a/mcp
    command: cat
    args: [x]
    demo: true
    port: 1
    host: 127.0.0.1
    api_keys: [k]
    isolation: shared
    env: { A: "${NO_A}" }
    prot: 1
    transprot: sse
  b: { url: http://b }
gateway:
"#,
        problems: &[
            "bridges.yaml:4:5: bridges.a.command: found `command` beside `url`: a server either runs here or is remote; remove one",
            "bridges.yaml:5:5: bridges.a.args: found `args` beside `url`: the key belongs to a server that runs here; remove it",
            "bridges.yaml:6:5: bridges.a.demo: found `demo` beside `url`: a server either runs here or is remote; remove one",
            "bridges.yaml:7:5: bridges.a.port: found `port` beside `url`: the key belongs to a server that runs here; remove it",
            "bridges.yaml:8:5: bridges.a.host: found `host` beside `url`: the key belongs to a server that runs here; remove it",
            "bridges.yaml:9:5: bridges.a.api_keys: found `api_keys` beside `url`: the key belongs to a server that runs here; remove it",
            "bridges.yaml:10:5: bridges.a.isolation: found `isolation` beside `url`: the key belongs to a server that runs here; remove it",
            "bridges.yaml:11:5: bridges.a.env: found `env` beside `url`: the key belongs to a server that runs here; remove it",
            "bridges.yaml:12:5: bridges.a.prot: unknown key, expected `url`, `transport`, `auth_type`, `auth_value`, `headers`, `aliases`, `description`, `env_file`, `tools`, `init_timeout`, `request_timeout` or `optional`",
            "bridges.yaml:13:5: bridges.a.transprot: unknown key, did you mean `transport`?",
        ],
    },
    Case {
        name: "keys of a remote server without a url",
        yaml: br#"
defaults: { url: http://a }
bridges:
  a: { port: 1, command: cat, auth_type: none, headers: 5 }
  b: { port: 2, transport: sse }
transport: http
"#,
        problems: &[
            "bridges.yaml:1:13: defaults.url: unknown key here; it belongs to a remote server below `bridges`",
            "bridges.yaml:3:31: bridges.a.auth_type: found `auth_type` without `url`; the key belongs to a remote server, remove it or give the server's `url`",
            "bridges.yaml:3:48: bridges.a.headers: found `headers` without `url`; the key belongs to a remote server, remove it or give the server's `url`",
            "bridges.yaml:4:3: bridges.b: `command` is missing; name a program, say `demo: true` for the built-in server, or give the `url` of a remote one",
            "bridges.yaml:4:17: bridges.b.transport: found `transport` without `url`; the key belongs to a remote server, remove it or give the server's `url`",
            "bridges.yaml:5:1: transport: unknown key here; it belongs to a remote server below `bridges`",
        ],
    },
    Case {
        name: "bad values of a remote server",
        yaml: br#"
bridges:
  A: { url: mcp-n8n:8080/mcp, transport: ws, auth_type: oauth2, request_timeout: 5 }
  b: { url: "http://u:hunter2@a/mcp", tools: { allow: ["[a"] } }
  c: { url: "http://a/?key=hunter2#x" }
  d: { url: }
  e: { url: "${SECRET}", aliases: [X] }
  f: { url: "${NO_URL}", headers: [a] }
  g: { url: http://a, auth_type: bearer_token, auth_value: "${NO_TOKEN}" }
  h: { url: http://a, auth_type: bearer_token, auth_value: "${EMPTY}" }
gateway:
"#,
        problems: &[
            "bridges.yaml:2:3: bridges.A: found `A`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:2:13: bridges.A.url: found `mcp-n8n:8080/mcp`, expected the URL of an MCP endpoint such as `http://mcp-n8n:8080/mcp`: it must start with `http://` or `https://`",
            "bridges.yaml:2:42: bridges.A.transport: found `ws`, expected `http`, `sse`, `streamable_http` or `streamable-http`",
            "bridges.yaml:2:57: bridges.A.auth_type: found `oauth2`, expected `none`, `bearer_token`, `basic`, `api_key` or `authorization`",
            "bridges.yaml:2:82: bridges.A.request_timeout: found `5`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:3:13: bridges.b.url: found a text that is not shown, expected the URL of an MCP endpoint such as `http://mcp-n8n:8080/mcp`: it must not name a user; use `auth_type` and `auth_value`",
            "bridges.yaml:3:56: bridges.b.tools.allow[0]: found `[a`, expected a glob such as `list_*`: unclosed character class; missing ']'",
            "bridges.yaml:4:13: bridges.c.url: found a text that is not shown, expected the URL of an MCP endpoint such as `http://mcp-n8n:8080/mcp`: it must not have a `#`",
            "bridges.yaml:5:8: bridges.d.url: found nothing, expected the URL of an MCP endpoint such as `http://mcp-n8n:8080/mcp`",
            "bridges.yaml:6:13: bridges.e.url: found `${SECRET}` (its value is not shown), expected the URL of an MCP endpoint such as `http://mcp-n8n:8080/mcp`: it must start with `http://` or `https://`",
            "bridges.yaml:6:36: bridges.e.aliases[0]: found `X`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:7:13: bridges.f.url: environment variable `NO_URL` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            r#"bridges.yaml:7:35: bridges.f.headers: found a list, expected a map of names to values, such as `{ X-Team: "${TEAM}" }`"#,
            "bridges.yaml:8:60: bridges.g.auth_value: environment variable `NO_TOKEN` is not set; set it or put it into the bridge's `env_file`, or say `optional: true`",
            "bridges.yaml:9:60: bridges.h.auth_value: found nothing, expected a secret of 1 to 8192 visible ASCII characters",
        ],
    },
    Case {
        name: "secrets for remote servers that don't fit",
        yaml: br#"
bridges:
  a: { url: http://a, auth_type: basic }
  b: { url: http://b, auth_value: hunter2 }
  c: { url: http://c, auth_type: none, auth_value: "${SECRET}" }
  d: { url: http://d, auth_type: authorization, auth_value: hunter2, headers: { AUTHORIZATION: hunter2 } }
  e: { url: http://e, auth_type: api_key, auth_value: hunter2, headers: { X-Api-Key: hunter2 } }
  f:
    url: http://f
    headers: { Host: a, "a b": c, X-A: hunter2, x-a: hunter2, X-B: "", X-C: [x], X-D: "hunter2\r\n" }
gateway:
"#,
        problems: &[
            r#"bridges.yaml:2:34: bridges.a.auth_type: `auth_value` is missing; give the secret, such as `"${TOKEN}"`, or say `none`"#,
            "bridges.yaml:3:23: bridges.b.auth_value: found a secret without its type; say `auth_type: bearer_token`, `basic`, `api_key` or `authorization`, or remove it",
            "bridges.yaml:4:40: bridges.c.auth_value: found a secret without its type; say `auth_type: bearer_token`, `basic`, `api_key` or `authorization`, or remove it",
            "bridges.yaml:5:81: bridges.d.headers.AUTHORIZATION: found `AUTHORIZATION` beside `auth_type`, which sends it; remove one",
            "bridges.yaml:6:75: bridges.e.headers.X-Api-Key: found `X-Api-Key` beside `auth_type`, which sends it; remove one",
            "bridges.yaml:9:16: bridges.f.headers.Host: found `Host`, expected the name of a header: the gateway sets it itself",
            "bridges.yaml:9:25: bridges.f.headers.a b: found `a b`, expected the name of a header",
            "bridges.yaml:9:49: bridges.f.headers.x-a: found `x-a` again, first at line 9; remove one",
            "bridges.yaml:9:68: bridges.f.headers.X-B: found nothing, expected a secret of 1 to 8192 visible ASCII characters",
            "bridges.yaml:9:77: bridges.f.headers.X-C: found a list, expected a secret of 1 to 8192 visible ASCII characters",
            "bridges.yaml:9:87: bridges.f.headers.X-D: found a value that is not shown, expected a secret of 1 to 8192 visible ASCII characters",
        ],
    },
    Case {
        name: "names of bridges and remote servers that clash",
        yaml: br#"
bridges:
  a: { port: 1, command: cat, aliases: [x] }
  b: { url: http://b, aliases: [a, x, y] }
  c: { port: 2, command: cat, aliases: [y] }
gateway:
"#,
        problems: &[
            "bridges.yaml:3:33: bridges.b.aliases[0]: the name `a` is taken at line 2; choose another",
            "bridges.yaml:3:36: bridges.b.aliases[1]: the name `x` is taken at line 2; choose another",
            "bridges.yaml:4:41: bridges.c.aliases[0]: the name `y` is taken at line 3; choose another",
        ],
    },
];
