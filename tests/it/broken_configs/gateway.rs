//! A `gateway` section that can't be served.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a gateway of the wrong shape",
        yaml: br#"
bridges: { a: { port: 1, command: cat } }
gateway: [4000]
"#,
        problems: &["bridges.yaml:2:10: gateway: found a list, expected a map of keys"],
    },
    Case {
        name: "bad values of a gateway",
        yaml: br#"
bridges: { a: { port: 1, command: cat } }
gateway:
  host: example.org
  port: 65536
  prot: 1
  separator: "."
  tools: { allow: [], deny: ["[a"] }
  max_rounds: 0
  deadline: 10
  tool_timeout: 0s
  max_result: 32MiB
  max_body: 1
  max_sessions: many
  session_idle: never
  public_url: a
  allowed_origins: ["*"]
  allowed_hosts: ["http://a"]
  audit_arguments: yes
  virtual_keys: { api_key: k }
  model_list: gpt
"#,
        problems: &[
            "bridges.yaml:3:9: gateway.host: found `example.org`, expected an IP address or `localhost`",
            "bridges.yaml:4:9: gateway.port: found `65536`, expected a whole number from 0 to 65535",
            "bridges.yaml:5:3: gateway.prot: unknown key, did you mean `port`?",
            "bridges.yaml:6:14: gateway.separator: found `.`, expected one to four of a-z, A-Z, 0-9, `_` and `-`",
            "bridges.yaml:7:19: gateway.tools.allow: found an empty list, which would allow nothing; name something or leave the key out",
            "bridges.yaml:7:30: gateway.tools.deny[0]: found `[a`, expected a glob such as `list_*`: unclosed character class; missing ']'",
            "bridges.yaml:8:15: gateway.max_rounds: found `0`, expected a whole number from 1 to 100",
            "bridges.yaml:9:13: gateway.deadline: found `10`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:10:17: gateway.tool_timeout: found `0s`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:11:15: gateway.max_result: found `32MiB`, expected a size from 1KiB to 16MiB such as `64KiB` or `16MiB`",
            "bridges.yaml:12:13: gateway.max_body: found `1`, expected a size from 4KiB to 1GiB such as `64KiB` or `16MiB`",
            "bridges.yaml:13:17: gateway.max_sessions: found `many`, expected a whole number from 1 to 1000000",
            "bridges.yaml:14:17: gateway.session_idle: found `never`, expected a duration from 1ms to 24h such as `500ms`, `30s`, `5m` or `1h`",
            "bridges.yaml:15:15: gateway.public_url: found `a`, expected a URL such as `https://mcp.example.org/db`: it must start with `http://` or `https://`",
            "bridges.yaml:16:21: gateway.allowed_origins[0]: found `*`, expected an origin such as `https://chat.example.org`: it must start with a scheme such as `https://`",
            "bridges.yaml:17:19: gateway.allowed_hosts[0]: found `http://a`, expected a host such as `mcp.example.org` or `mcp:8080`: it has no scheme and no path",
            "bridges.yaml:18:20: gateway.audit_arguments: found `yes`, expected `true` or `false`",
            r#"bridges.yaml:19:17: gateway.virtual_keys: found a map, expected a list, each item a map such as `{ name: team, api_key: "${TEAM_KEY}" }`"#,
            "bridges.yaml:20:15: gateway.model_list: found a single value, expected a list, each item a map such as `{ model_name: gpt-4o-mock, provider: mock }`",
        ],
    },
    Case {
        name: "a gateway that is open to others without a key",
        yaml: br#"
bridges: { a: { port: 1, command: cat } }
gateway: { host: 0.0.0.0, virtual_keys: [] }
"#,
        problems: &[
            "bridges.yaml:2:18: gateway.host: 0.0.0.0 can be reached from other machines, and the gateway has no keys; set `master_key` or `virtual_keys`, or listen on 127.0.0.1",
        ],
    },
    Case {
        name: "a gateway whose default port is taken",
        yaml: br#"
bridges: { a: { port: 4000, command: cat } }
gateway:
"#,
        problems: &[
            "bridges.yaml:2:1: gateway: 127.0.0.1:4000 clashes with 127.0.0.1:4000 of bridge `a` at line 1; choose another port",
        ],
    },
    Case {
        name: "bad keys of a gateway",
        yaml: br#"
bridges: { a: { port: 1, command: cat } }
gateway:
  host: "::"
  master_key: "${EMPTY}"
  virtual_keys:
    - { api_key: "${NONE:-}" }
    - { api_key: "${SECRET} ${SECRET}" }
    - { api_key: [x] }
    - { api_key: "${NO_KEY}" }
    - { api_key: "file:none.key" }
    - { api_key: "file:empty.key" }
    - { name: team }
    - { name: "", api_key: a, modles: [x], models: ["[a"], mcp_servers: [A], tools: { alow: [] } }
    - k
    -
"#,
        problems: &[
            "bridges.yaml:4:15: gateway.master_key: found nothing, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:6:18: gateway.virtual_keys[0].api_key: found nothing, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:7:18: gateway.virtual_keys[1].api_key: found a value that is not shown, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:8:18: gateway.virtual_keys[2].api_key: found a list, expected a key of 1 to 512 visible ASCII characters",
            "bridges.yaml:9:18: gateway.virtual_keys[3].api_key: environment variable `NO_KEY` is not set; set it",
            "bridges.yaml:10:18: gateway.virtual_keys[4].api_key: cannot read `none.key`: no such file or directory",
            "bridges.yaml:11:18: gateway.virtual_keys[5].api_key: found nothing, expected a key of 1 to 512 visible ASCII characters",
            r#"bridges.yaml:12:7: gateway.virtual_keys[6]: `api_key` is missing; give what clients send, such as `"${TEAM_KEY}"`"#,
            "bridges.yaml:13:15: gateway.virtual_keys[7].name: found an empty text, expected a name for the audit, such as `team-a`",
            "bridges.yaml:13:31: gateway.virtual_keys[7].modles: unknown key, did you mean `models`?",
            "bridges.yaml:13:53: gateway.virtual_keys[7].models[0]: found `[a`, expected a glob over names of models such as `gpt-*`: unclosed character class; missing ']'",
            "bridges.yaml:13:74: gateway.virtual_keys[7].mcp_servers[0]: found `A`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:13:87: gateway.virtual_keys[7].tools.alow: unknown key, did you mean `allow`?",
            "bridges.yaml:14:7: gateway.virtual_keys[8]: found a single value, expected a map of keys",
            "bridges.yaml:15:6: gateway.virtual_keys[9]: found nothing, expected a map of keys",
        ],
    },
    Case {
        name: "keys of a gateway that are equal, and their names",
        yaml: br#"
bridges: { a: { port: 1, command: cat } }
gateway:
  master_key: "${SECRET}"
  virtual_keys:
    - { api_key: hunter2 }
    - { name: x, api_key: two-hunter2 }
    - { name: x, api_key: two-hunter2 }
    - { name: key-5, api_key: three }
    - { api_key: four }
"#,
        problems: &[
            "bridges.yaml:5:18: gateway.virtual_keys[0].api_key: the key is the one of `gateway.master_key` at line 3; choose another",
            "bridges.yaml:7:15: gateway.virtual_keys[2].name: the key has the name of the one at line 6; choose another `name`",
            "bridges.yaml:7:27: gateway.virtual_keys[2].api_key: the key is the one of `gateway.virtual_keys[1].api_key` at line 6; choose another",
            "bridges.yaml:9:7: gateway.virtual_keys[4]: the key has the name of the one at line 8; choose another `name`",
        ],
    },
    Case {
        name: "servers of a key that aren't there",
        yaml: br#"
bridges:
  postgres: { port: 1, command: cat, aliases: [db, "B"] }
  files: { port: 2, command: cat }
gateway:
  virtual_keys:
    - { api_key: a, mcp_servers: [db, postgers, web, "${SECRET}", files] }
    - { api_key: b, mcp_servers: [B, web] }
"#,
        problems: &[
            "bridges.yaml:2:52: bridges.postgres.aliases[1]: found `B`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
            "bridges.yaml:6:39: gateway.virtual_keys[0].mcp_servers[1]: found `postgers`, which no bridge or remote server is called; did you mean `postgres`?",
            "bridges.yaml:6:49: gateway.virtual_keys[0].mcp_servers[2]: found `web`, which no bridge or remote server is called; there is `postgres`, `files` and `db`",
            "bridges.yaml:6:54: gateway.virtual_keys[0].mcp_servers[3]: found `${SECRET}` (its value is not shown), which no bridge or remote server is called; there is `postgres`, `files` and `db`",
            "bridges.yaml:7:34: gateway.virtual_keys[1].mcp_servers: found a name that is not shown, which no bridge or remote server is called; there is `postgres`, `files` and `db`",
            "bridges.yaml:7:35: gateway.virtual_keys[1].mcp_servers[0]: found `B`, expected a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters",
        ],
    },
    Case {
        name: "bad models",
        yaml: br#"
bridges: { a: { port: 1, command: cat } }
gateway:
  model_list:
    - { model_name: m, provider: mock, api_base: "http://a/v1", api_key: k, model: x }
    - { model_name: "*", provider: mock }
    - { model_name: gpt-4o }
    - { api_base: litellm:4000 }
    - { model_name: "gpt-*", api_base: "http://a/v1/chat/completions", provider: ollama }
    - { model_name: "*", api_base: "http://a/v1", model: gpt-4o, api_key: "${SECRET}\n" }
    - { model_name: "", api_base: "${SECRET}", litellm_params: {} }
    - gpt
    -
"#,
        problems: &[
            "bridges.yaml:4:40: gateway.model_list[0].api_base: found `api_base` beside `provider: mock`, which asks nobody; remove one",
            "bridges.yaml:4:65: gateway.model_list[0].api_key: found `api_key` beside `provider: mock`, which asks nobody; remove one",
            "bridges.yaml:4:77: gateway.model_list[0].model: found `model` beside `provider: mock`, which asks nobody; remove one",
            "bridges.yaml:5:21: gateway.model_list[1].model_name: found `*` beside `provider: mock`, which lists no models; give the model a name",
            "bridges.yaml:6:7: gateway.model_list[2]: `api_base` is missing; name an OpenAI-compatible endpoint, such as `http://litellm:4000/v1`, or say `provider: mock`",
            "bridges.yaml:7:7: gateway.model_list[3]: `model_name` is missing; name what clients ask for",
            "bridges.yaml:7:19: gateway.model_list[3].api_base: found `litellm:4000`, expected the base of an OpenAI-compatible endpoint, such as `http://litellm:4000/v1`: it must start with `http://` or `https://`",
            "bridges.yaml:8:21: gateway.model_list[4].model_name: found `gpt-*`, expected the name of a model such as `gpt-4o`, or `*` for every model that the provider lists: only a `*` by itself stands for more than one",
            "bridges.yaml:8:40: gateway.model_list[4].api_base: found `http://a/v1/chat/completions`, expected the base of an OpenAI-compatible endpoint, such as `http://litellm:4000/v1`: it must end before `/chat/completions`",
            "bridges.yaml:8:82: gateway.model_list[4].provider: found `ollama`, expected `openai` or `mock`",
            "bridges.yaml:9:51: gateway.model_list[5].model: found `model` beside `model_name: \"*\"`, with which each model goes by its own name; remove one",
            "bridges.yaml:9:75: gateway.model_list[5].api_key: found a value that is not shown, expected a secret of 1 to 8192 visible ASCII characters",
            "bridges.yaml:10:21: gateway.model_list[6].model_name: found an empty text, expected the name of a model such as `gpt-4o`, or `*` for every model that the provider lists",
            "bridges.yaml:10:35: gateway.model_list[6].api_base: found `${SECRET}` (its value is not shown), expected the base of an OpenAI-compatible endpoint, such as `http://litellm:4000/v1`: it must start with `http://` or `https://`",
            "bridges.yaml:10:48: gateway.model_list[6].litellm_params: unknown key, expected `model_name`, `provider`, `api_base`, `api_key` or `model`",
            "bridges.yaml:11:7: gateway.model_list[7]: found a single value, expected a map of keys",
            "bridges.yaml:12:6: gateway.model_list[8]: found nothing, expected a map of keys",
        ],
    },
];
