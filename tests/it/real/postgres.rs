//! `postgres-mcp` on a PostgreSQL of the test's own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use serde_json::json;
use tempfile::TempDir;

use super::{PYTHON, has_no_stranger, installed, is_undisturbed, names, text};
use crate::harness::{skipped, until};

pub(super) const SERVER: &str = "postgres/bin/postgres-mcp";

/// A running database server with an empty cluster. Dropping it stops it and removes its files.
#[derive(Debug)]
pub(super) struct Postgres {
    server: Child,
    port: u16,
    _dir: TempDir,
}

#[tokio::test]
async fn schemas_are_listed_and_sql_is_executed() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let Some(database) = Postgres::start().await else {
        return;
    };
    let served = installed
        .serve("", &[&installed.path(SERVER), &database.url()])
        .await;
    let create = "create table if not exists heron (legs int); insert into heron values (1)";
    let steps = json!([
        {"tools": true},
        {"call": "list_schemas"},
        {"call": "execute_sql", "arguments": {"sql": create}},
        {"call": "execute_sql", "arguments": {"sql": "select max(legs) + 41 as answer from heron"}},
        {"call": "execute_sql", "arguments": {"sql": "select nonsense"}},
    ]);
    for transport in served.transports() {
        let facts = served.python(transport, &steps).await;
        let results = &facts["results"];
        assert!(names(&results[0]).contains(&"list_schemas"));
        let schemas = text(&results[1]);
        assert!(schemas.contains("public") && schemas.contains("pg_catalog"));
        assert!(text(&results[3]).contains("'answer': 42"), "{results}");
        assert!(results[4]["text"].as_str().unwrap().contains("nonsense"));
    }
}

#[tokio::test]
async fn twenty_clients_get_the_rows_that_they_asked_for() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let Some(database) = Postgres::start().await else {
        return;
    };
    let served = installed
        .serve("", &[&installed.path(SERVER), &database.url()])
        .await;
    let steps = json!([
        {"call": "list_schemas"},
        {"call": "execute_sql", "arguments": {"sql": "select 'row of client-{i}.' as mine, pg_sleep(0.05)"}},
    ]);
    for transport in served.transports() {
        let all = served
            .pythons(transport, &steps, &["--clients", "20"])
            .await;
        assert_eq!(all.len(), 20);
        for (number, facts) in all.iter().enumerate() {
            let schemas = text(&facts["results"][0]);
            assert!(
                schemas.contains("public"),
                "{transport} {number}: {schemas}"
            );
            let rows = text(&facts["results"][1]);
            let own = format!("row of client-{number}.");
            assert!(rows.contains(&own), "{transport} {number}: {rows}");
            assert_eq!(rows.matches("row of client-").count(), 1, "{rows}");
            has_no_stranger(facts, number);
            is_undisturbed(facts);
        }
    }
}

impl Postgres {
    /// Starts a server; says so and returns `None` if there is none to start.
    pub(super) async fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            skipped("no PostgreSQL server is installed");
            return None;
        };
        // its user must be able to reach the directory, whatever TMPDIR says
        let dir = tempfile::Builder::new()
            .prefix("mcp-bridged-pg-")
            .tempdir_in("/tmp")
            .unwrap();
        // it refuses to run as root
        let user = geteuid().is_root().then(|| {
            let names = ["postgres", "nobody"];
            let mut users = names
                .iter()
                .filter_map(|name| User::from_name(name).unwrap());
            users.next().expect("nobody is everywhere")
        });
        if let Some(user) = &user {
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let root = dir.path().to_owned();
        let data = root.join("data");
        let command = |name: &str| {
            let mut command = Command::new(bin.join(name));
            command.current_dir(&root).stdin(Stdio::null());
            command.env("LC_ALL", "C.UTF-8");
            if let Some(user) = &user {
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            command
        };
        let made = command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // free a moment ago; nobody else binds ports in this range on purpose
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let log = fs::File::create(root.join("log")).unwrap();
        let server = command("postgres")
            .args(["-F", "-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(&root)
            .arg("-D")
            .arg(&data)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let started = Self {
            server,
            port,
            _dir: dir,
        };
        until("PostgreSQL", async || {
            let ready = command("pg_isready")
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status();
            ready.unwrap().success().then_some(())
        })
        .await;
        Some(started)
    }

    pub(super) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.server.id()).unwrap());
        // SIGQUIT is the immediate shutdown, which ends its own children, too; it may have ended by itself
        kill(pid, Signal::SIGQUIT).ok();
        self.server.wait().ok();
    }
}

/// The folder of the server's programs: in the PATH, or where Debian puts them (the newest version).
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin"))
        .collect();
    folders.sort();
    folders.extend(std::env::split_paths(&path));
    let has_all = |folder: &PathBuf| {
        let mut programs = ["initdb", "postgres", "pg_isready"].iter();
        programs.all(|program| Path::new(folder).join(program).exists())
    };
    folders.into_iter().rev().find(has_all)
}
