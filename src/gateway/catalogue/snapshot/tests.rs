use axum::http::HeaderMap;

use super::*;
use crate::config::{self, ToolFilter};
use crate::gateway::access::Keys;
use crate::gateway::offer::Listing;

fn object(value: &Value) -> Bytes {
    value.to_string().into()
}

fn named(names: &[&str]) -> Vec<Bytes> {
    let names = names.iter();
    names.map(|name| object(&json!({ "name": name }))).collect()
}

fn source(name: &str, tools: &[&str]) -> Source {
    let listing = Listing {
        tools: named(tools),
        prompts: named(&["greet"]),
        ..Listing::default()
    };
    Source {
        name: name.into(),
        aliases: Vec::new(),
        description: None,
        offer: Offer {
            listing: Arc::new(listing),
            presence: Presence::There,
        },
    }
}

/// A server with resources (URIs) and templates.
fn library(name: &str, resources: &[&str], templates: &[&str]) -> Source {
    let mut source = source(name, &[]);
    let list = |key: &str, texts: &[&str]| -> Vec<Bytes> {
        let texts = texts.iter();
        texts.map(|text| object(&json!({ key: text }))).collect()
    };
    source.offer.listing = Arc::new(Listing {
        resources: list("uri", resources),
        templates: list("uriTemplate", templates),
        ..Listing::default()
    });
    source
}

fn down(mut source: Source) -> Source {
    source.offer.presence = Presence::Down("backoff: exit code 1".to_owned());
    source
}

fn called(mut source: Source, alias: &str) -> Source {
    source.aliases.push(alias.to_owned());
    source
}

fn snapshot(sources: &[Source]) -> Snapshot {
    let rules = Rules {
        separator: "-".to_owned(),
        tools: ToolFilter::default(),
    };
    Snapshot::of(sources, &rules)
}

/// What everybody may do where there are no keys.
fn everything(snapshot: &Snapshot) -> Access {
    let keys = Keys::new(&config::Gateway::new());
    keys.access(&HeaderMap::new(), snapshot).unwrap()
}

fn chosen(snapshot: &Snapshot, servers: &'static str) -> Access {
    let keys = Keys::new(&config::Gateway::new());
    let headers =
        HeaderMap::from_iter([("x-mcp-servers".parse().unwrap(), servers.parse().unwrap())]);
    keys.access(&headers, snapshot).unwrap()
}

fn tool_names(snapshot: &Snapshot, access: &Access) -> Vec<String> {
    let tools = snapshot.tools(access);
    tools.map(|tool| tool.name.to_string()).collect()
}

/// Whose tool it is, and what that server calls it.
fn resolved(snapshot: &Snapshot, name: &str) -> Option<(String, String)> {
    let access = everything(snapshot);
    let tool = snapshot.tool(name, &access)?;
    Some((tool.server.to_string(), tool.original.to_string()))
}

fn pair(server: &str, tool: &str) -> Option<(String, String)> {
    Some((server.to_owned(), tool.to_owned()))
}

#[test]
fn tools_keep_everything_but_their_name_and_their_order() {
    let mut one = source("db", &["b", "a"]);
    let odd = r#"{ "x":1e400, "name":"a.b" , "inputSchema":{"name":"a.b"}}"#;
    let listing = Arc::make_mut(&mut one.offer.listing);
    listing.tools.push(Bytes::from_static(odd.as_bytes()));
    let all = snapshot(&[one, source("files", &["z"])]);
    let access = everything(&all);
    let names = tool_names(&all, &access);
    assert_eq!(names[..2], ["db-b", "db-a"]);
    assert_eq!(names[3], "files-z");
    let renamed = all.tools(&access).nth(2).unwrap();
    let want = odd.replacen("a.b", &renamed.name, 1);
    assert_eq!(renamed.object, want);
    assert_eq!(resolved(&all, &renamed.name), pair("db", "a.b"));
}

#[test]
fn the_second_tool_of_one_name_and_one_without_a_name_are_left_out() {
    let mut one = source("db", &["a", "a", ""]);
    let listing = Arc::make_mut(&mut one.offer.listing);
    for text in [r#"{"title":"nameless"}"#, r#"{"name":7}"#, "[]", "1"] {
        listing.tools.push(Bytes::from_static(text.as_bytes()));
    }
    let all = snapshot(&[one]);
    assert_eq!(tool_names(&all, &everything(&all)), ["db-a", "db-"]);
}

#[test]
fn a_server_can_be_called_by_its_aliases() {
    let all = snapshot(&[
        called(source("postgres", &["list_schemas"]), "db"),
        // A public name wins over an alias.
        called(source("other", &["query"]), "own"),
        source("own", &["query"]),
    ]);
    for (name, want) in [
        ("postgres-list_schemas", pair("postgres", "list_schemas")),
        ("db-list_schemas", pair("postgres", "list_schemas")),
        ("own-query", pair("own", "query")),
        ("list_schemas", None),
        ("db-query", None),
    ] {
        assert_eq!(resolved(&all, name), want, "{name}");
    }
    assert_eq!(all.server("db").map(|name| &**name), Some("postgres"));
    let access = everything(&all);
    assert_eq!(
        *all.prompt("db-greet", &access).unwrap().server,
        *"postgres"
    );
}

#[test]
fn long_names_are_shortened_and_map_back_also_by_alias() {
    let long = "x".repeat(80);
    let all = snapshot(&[called(source("postgres", &[&long]), "db")]);
    let name = &tool_names(&all, &everything(&all))[0];
    assert_eq!(name.len(), 64);
    assert_eq!(resolved(&all, name), pair("postgres", &long));
    let by_alias = format!("db-{long}");
    assert_eq!(resolved(&all, &by_alias), pair("postgres", &long));
}

#[test]
fn what_is_down_is_not_listed_and_still_known() {
    let all = snapshot(&[down(source("db", &["a"])), source("files", &["z"])]);
    let access = everything(&all);
    assert_eq!(tool_names(&all, &access), ["files-z"]);
    assert_eq!(all.prompts(&access).count(), 1);
    assert_eq!(resolved(&all, "db-a"), pair("db", "a"));
    let standing = &all.servers()[0];
    assert_eq!(standing.tools, 0);
    assert_eq!(standing.note().as_deref(), Some("backoff: exit code 1"));
    assert_eq!(all.servers()[1].note(), None);
    assert!(all.is_settled());
}

#[test]
fn a_server_that_was_never_there_is_suspected_by_its_name() {
    let mut never = called(source("db", &[]), "postgres");
    never.offer.presence = Presence::Unknown;
    let all = snapshot(&[never, source("files", &["z"])]);
    assert!(!all.is_settled());
    let access = everything(&all);
    for (name, want) in [
        ("db-list", Some("db")),
        ("postgres-list", Some("db")),
        ("db", None),
        ("dbs-list", None),
        ("files-list", None),
    ] {
        let absent = all.absent(name, &access).map(|server| &*server.name);
        assert_eq!(absent, want, "{name}");
    }
}

#[test]
fn a_resource_belongs_to_who_lists_it_then_to_the_nearest_template_then_to_its_scheme() {
    let all = snapshot(&[
        library("a", &["file:///a", "note://1"], &["file:///{path}"]),
        library("b", &["file:///a", "file:///b"], &["file:///logs/{name}"]),
        down(library("c", &["note://1", "only://c"], &[])),
        library("d", &["note://2"], &["file:///{path}", "{anything}"]),
    ]);
    let access = everything(&all);
    for (uri, want) in [
        ("file:///a", Some("a")),
        ("file:///b", Some("b")),
        ("file:///logs/today", Some("b")),
        ("file:///other", Some("a")),
        ("file:///{path}", Some("a")),
        ("file:///logs/{name}", Some("b")),
        ("only://c", Some("c")),
        ("note://1", Some("a")),
        ("unheard://of", Some("d")),
    ] {
        assert_eq!(all.owner(uri, &access).map(|it| &**it), want, "{uri}");
    }
    let listed: Vec<_> = all.resources(&access).map(|it| &*it.uri).collect();
    let want = ["file:///a", "note://1", "file:///b", "note://2"];
    assert_eq!(listed, want);
    let others = chosen(&all, "b,c");
    for (uri, want) in [
        ("file:///a", Some("b")),
        ("file:///other", Some("b")),
        ("note://9", Some("c")),
        ("unheard://of", None),
    ] {
        assert_eq!(all.owner(uri, &others).map(|it| &**it), want, "{uri}");
    }
}

#[test]
fn a_server_that_is_there_keeps_a_resource_before_one_that_is_not() {
    let all = snapshot(&[
        down(library("a", &["x://1"], &["x://{n}"])),
        library("b", &["x://1"], &["x://{n}"]),
    ]);
    let access = everything(&all);
    for uri in ["x://1", "x://2"] {
        assert_eq!(all.owner(uri, &access).map(|it| &**it), Some("b"), "{uri}");
    }
}

#[test]
fn globs_leave_tools_out_by_their_public_names() {
    let deny = vec!["*-execute_*".to_owned()];
    let rules = Rules {
        separator: "__".to_owned(),
        tools: ToolFilter::new(Vec::new(), vec!["db__drop*".to_owned()]).unwrap(),
    };
    let all = Snapshot::of(&[source("db", &["list", "drop_all"])], &rules);
    assert_eq!(tool_names(&all, &everything(&all)), ["db__list"]);
    assert_eq!(resolved(&all, "db__drop_all"), None);
    let rules = Rules {
        separator: "-".to_owned(),
        tools: ToolFilter::new(Vec::new(), deny).unwrap(),
    };
    let all = Snapshot::of(&[called(source("db", &["execute_sql"]), "pg")], &rules);
    assert_eq!(resolved(&all, "pg-execute_sql"), None);
}

#[test]
fn only_the_lists_that_a_client_sees_make_a_difference_to_it() {
    let before = snapshot(&[source("a", &["x"]), source("b", &["y"])]);
    let after = snapshot(&[source("a", &["x"]), source("b", &["y", "z"])]);
    let sees_all = everything(&after);
    assert_eq!(after.differs_from(&before, &sees_all), [true, false, false]);
    let sees_a = chosen(&after, "a");
    assert_eq!(after.differs_from(&before, &sees_a), [false; 3]);
    let gone = snapshot(&[source("a", &["x"]), down(source("b", &["y"]))]);
    assert_eq!(gone.differs_from(&before, &sees_all), [true, true, false]);
}
