use axum::http::header::HeaderMap;

use super::*;
use crate::config::{Gateway, ToolFilter};
use crate::gateway::catalogue;

/// `postgres` (also `db` and `db-old`), `files` and `my_notes`.
fn servers() -> Snapshot {
    catalogue::named(&[
        ("postgres", &["db", "db-old"]),
        ("files", &[]),
        ("my_notes", &[]),
    ])
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn key(name: &str, servers: Option<&[&str]>) -> VirtualKey {
    VirtualKey {
        name: name.to_owned(),
        key: secret(&format!("sk-{name}")),
        models: Some(vec!["gpt-*".to_owned()]),
        servers: servers.map(|all| all.iter().map(|name| (*name).to_owned()).collect()),
        tools: ToolFilter::default(),
    }
}

fn keys() -> Keys {
    let mut settings = Gateway::new();
    settings.master_key = Some(secret("sk-master"));
    settings.virtual_keys = vec![
        key("team", Some(&["db"])),
        key("all", None),
        key("none", Some(&[])),
    ];
    Keys::new(&settings)
}

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    let parsed = all.iter().map(|(name, value)| {
        let value = value.parse().expect("a header's value");
        (HeaderName::from_static(name), value)
    });
    let mut headers = HeaderMap::new();
    for (name, value) in parsed {
        headers.append(name, value);
    }
    headers
}

fn access(all: &[(&'static str, &str)]) -> Result<Access, Denied> {
    keys().access(&headers(all), &servers())
}

#[test]
fn keys_come_in_three_headers() {
    for (all, want) in [
        (&[("authorization", "Bearer sk-master")][..], Ok("master")),
        (&[("authorization", "bearer  sk-team ")], Ok("team")),
        (&[("x-litellm-api-key", "sk-team")], Ok("team")),
        (&[("x-litellm-api-key", "Bearer sk-team")], Ok("team")),
        (&[("x-api-key", "sk-all")], Ok("all")),
        // A proxy's own Authorization doesn't hide the key beside it.
        (
            &[("authorization", "Basic eDp5"), ("x-api-key", "sk-all")],
            Ok("all"),
        ),
        (
            &[
                ("authorization", "Bearer other"),
                ("x-litellm-api-key", "sk-team"),
            ],
            Ok("team"),
        ),
        (&[], Err(Denied::KeyMissing)),
        (
            &[("authorization", "sk-master")],
            Err(Denied::KeyWithoutBearer),
        ),
        (
            &[("authorization", "Bearer")],
            Err(Denied::KeyWithoutBearer),
        ),
        (&[("authorization", "Bearer ")], Err(Denied::KeyWrong)),
        (&[("authorization", "Bearer sk-mas")], Err(Denied::KeyWrong)),
        (&[("x-api-key", "Bearer sk-all")], Err(Denied::KeyWrong)),
        (&[("x-litellm-api-key", "")], Err(Denied::KeyWrong)),
    ] {
        let got = access(all).map(|access| access.key.to_string());
        assert_eq!(got, want.map(str::to_owned), "{all:?}");
    }
}

#[test]
fn without_keys_everybody_may_do_everything() {
    let open = Keys::new(&Gateway::new());
    let any = headers(&[("authorization", "Bearer whatever")]);
    let access = open.access(&any, &servers()).unwrap();
    assert_eq!(&*access.key, "open");
    assert!(access.allows_server("files") && access.allows_model("any"));
}

#[test]
fn a_key_grants_what_it_names_and_the_header_chooses_of_that() {
    let with = |key: &str, chosen: &str| {
        let key = format!("Bearer sk-{key}");
        access(&[("authorization", &key), ("x-mcp-servers", chosen)]).map(|access| {
            let all = ["postgres", "files", "my_notes"].into_iter();
            all.filter(|server| access.allows_server(server))
                .collect::<Vec<_>>()
        })
    };
    for (key, chosen, want) in [
        ("master", "", &["postgres", "files", "my_notes"][..]),
        ("master", "db", &["postgres"]),
        ("master", " files , db-old,", &["postgres", "files"]),
        ("team", "", &["postgres"]),
        ("team", "postgres", &["postgres"]),
        ("none", "", &[]),
    ] {
        assert_eq!(with(key, chosen).unwrap(), want, "{key} {chosen}");
    }
    let unknown = with("team", "nope").unwrap_err().to_string();
    assert!(
        unknown.contains("`nope`") && unknown.contains("`postgres`"),
        "{unknown}"
    );
    assert!(!unknown.contains("files"), "{unknown}");
    let forbidden = with("team", "db,files").unwrap_err();
    assert!(matches!(forbidden, Denied::ServerForbidden { ref name, .. } if name == "files"));
    let nothing = with("none", "db").unwrap_err().to_string();
    assert!(nothing.ends_with("it may use none"), "{nothing}");
}

#[test]
fn several_headers_choose_together() {
    let access = access(&[
        ("x-api-key", "sk-master"),
        ("x-mcp-servers", "db"),
        ("x-mcp-servers", "files"),
    ]);
    let access = access.unwrap();
    assert!(access.allows_server("postgres") && access.allows_server("files"));
    assert!(!access.allows_server("my_notes"));
}

#[test]
fn models_are_globs() {
    let access = access(&[("x-api-key", "sk-team")]).unwrap();
    assert!(access.allows_model("gpt-4o-mock"));
    assert!(!access.allows_model("claude"));
}

#[test]
fn a_header_for_one_server_goes_to_the_longest_name_that_fits() {
    let access = access(&[
        ("x-api-key", "sk-master"),
        ("x-mcp-db-token", "one"),
        ("x-mcp-db-old-token", "two"),
        ("x-mcp-postgres-x-user", "three"),
        ("x-mcp-my-notes-key", "four"),
        ("x-mcp-my_notes-other_key", "five"),
        ("x-mcp-unknown-token", "six"),
        ("x-mcp-db-", "seven"),
        ("x-mcp-files", "eight"),
        ("x-mcp-servers", "db,files,my_notes"),
    ]);
    let access = access.unwrap();
    let of = |server: &str| {
        let headers = access.headers_for(server).into_iter();
        let mut texts: Vec<String> = headers
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        texts.sort();
        texts
    };
    assert_eq!(of("postgres"), ["token=one", "token=two", "x-user=three"]);
    assert_eq!(of("my_notes"), ["key=four", "other_key=five"]);
    assert_eq!(of("files"), Vec::<String>::new());
}

#[test]
fn a_session_goes_on_for_the_same_key_while_it_grants_the_same() {
    let of = |keys: &Keys, name: &str| {
        let key = format!("sk-{name}");
        let headers = headers(&[("x-api-key", &key)]);
        keys.access(&headers, &servers()).unwrap()
    };
    let team = of(&keys(), "team");
    assert!(team.is_like(&of(&keys(), "team")));
    assert!(!team.is_like(&of(&keys(), "all")));
    let mut narrower = Gateway::new();
    narrower.virtual_keys = vec![key("team", Some(&["files"]))];
    assert!(!team.is_like(&of(&Keys::new(&narrower), "team")));
}

#[test]
fn what_headers_say_is_not_shown() {
    let access = access(&[("x-api-key", "sk-master"), ("x-mcp-db-token", "hidden")]);
    let shown = format!("{:?} {:?}", access.unwrap(), keys());
    assert!(
        !shown.contains("hidden") && !shown.contains("sk-"),
        "{shown}"
    );
}
