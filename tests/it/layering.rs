//! The floors of the house: a module of `src` names only modules before it. `src/lib.rs` describes them.

use std::fs;
use std::path::{Path, PathBuf};

/// From bottom to top. Those on one floor may name each other.
const FLOORS: [&[&str]; 15] = [
    &["jsonrpc"],
    &["mcp"],
    &["backoff"],
    &["shutdown"],
    &["memory"],
    &["metrics"],
    &["journal"],
    &["trace"],
    &["config"],
    &["process"],
    &["bridge"],
    &["transport"],
    &["gateway"],
    &["supervisor"],
    &["telemetry", "cli", "main"],
];

#[test]
fn a_module_names_only_modules_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap();
        let module = Path::new(first.as_os_str()).file_stem().unwrap();
        let module = module.to_str().unwrap();
        if module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (line, named) in names(&text) {
            if let Some(fault) = fault(module, &named) {
                wrong.push(format!("src/{}:{line}: {fault}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn fault(module: &str, named: &str) -> Option<String> {
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    match (floor(module), floor(named)) {
        (None, _) => Some(format!("{module} has no floor in this test")),
        (_, None) => Some(format!("{named} has no floor in this test")),
        (Some(own), Some(other)) if other > own => {
            Some(format!("{module} is below {named} and must not know it"))
        }
        _ => None,
    }
}

/// Each module that follows `crate::` or the library's name, with its line; comments don't count.
fn names(text: &str) -> Vec<(usize, String)> {
    let uncommented: Vec<_> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let text = uncommented.join("\n");
    let mut found = Vec::new();
    for root in ["crate::", "mcp_bridged::"] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|before| is_word(before) || before == ':' || before == '$') {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            let rest = &text[at + root.len()..];
            let modules = match rest.strip_prefix('{') {
                Some(group) => heads(group),
                None => vec![word(rest)],
            };
            found.extend(modules.into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// The first word of each member of a `{…}` list, whose opening brace is left out.
fn heads(group: &str) -> Vec<String> {
    let mut heads = vec![word(group)];
    let mut depth = 0;
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => heads.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn word(text: &str) -> String {
    let text = text.trim_start().trim_start_matches("r#");
    text.chars().take_while(|c| is_word(*c)).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

#[test]
fn every_way_to_name_a_module_is_found() {
    let text = "use crate::mcp::version;\n// crate::cli\nuse crate::{\n    bridge::{self, Bridge},\n    config,\n};\nfn f() -> crate::jsonrpc::Message { $crate::x(); other_crate::y() }\nmcp_bridged::cli::run();";
    let found = names(text);
    let found: Vec<_> = found
        .iter()
        .map(|(line, name)| (*line, name.as_str()))
        .collect();
    let expected = [
        (1, "mcp"),
        (3, "bridge"),
        (3, "config"),
        (7, "jsonrpc"),
        (8, "cli"),
    ];
    assert_eq!(found, expected);
    assert!(fault("jsonrpc", "mcp").is_some());
    assert!(fault("mcp", "jsonrpc").is_none());
    assert!(fault("cli", "telemetry").is_none());
    assert!(fault("mcp", "somewhere").is_some());
}
