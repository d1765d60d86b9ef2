//! Real children. What has to be dead is made to hold a FIFO open, so that its death is an event: end of file.

mod watch_fifo;

use std::ffi::OsStr;
use std::io::Write;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::metrics::Metrics;
use watch_fifo::Watch;

/// Longer than anything here takes; what waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// A ladder that is at its end quickly.
const STEEP: Ladder = Ladder {
    stdin_grace: Duration::from_millis(10),
    term_grace: Duration::from_millis(10),
};
/// A ladder that nothing here comes to the end of.
const FLAT: Ladder = Ladder {
    stdin_grace: PATIENCE,
    term_grace: PATIENCE,
};

fn spawner() -> Spawner {
    Spawner::start(TaskTracker::new()).unwrap()
}

fn spec(program: &str, args: &[&str]) -> Spec {
    Spec {
        name: "test".into(),
        program: program.into(),
        args: args.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        cwd: None,
        user: None,
        memory: None,
        open_files: None,
        nice: None,
        redaction: Redaction::default(),
        metrics: Metrics::new().bridge("test"),
    }
}

fn sh(script: &str) -> Spec {
    spec("/bin/sh", &["-c", script])
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(PATIENCE, event).await.expect("it happens in time")
}

/// All lines until the end of stdout.
async fn lines_of(child: &Child) -> Vec<String> {
    let mut lines = Lines::new(1 << 20);
    let mut found = Vec::new();
    loop {
        soon(child.stdout.readable()).await.unwrap();
        match lines.try_read(&child.stdout) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            Ok(read) => {
                for line in lines.by_ref() {
                    let Line::Message(bytes) = line else {
                        panic!("{line:?}");
                    };
                    found.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                if read == 0 {
                    return found;
                }
            }
        }
    }
}

async fn output_of(spec: Spec) -> Vec<String> {
    let child = spawner().spawn(spec).await.unwrap();
    lines_of(&child).await
}

#[track_caller]
fn assert_no_trace(pids: &[i32]) {
    for pid in pids {
        assert_eq!(kill(Pid::from_raw(*pid), None), Err(Errno::ESRCH));
    }
}

/// A leader that ignores SIGTERM, with a grandchild in its group, one in a session of its own and a daemon.
const FAMILY: &str = "
    trap '' TERM
    sh -c 'echo $$ >&9; exec sleep 1000' &
    setsid sh -c 'echo $$ >&9; exec sleep 1000' &
    (setsid sh -c 'echo $$ >&9; exec sleep 1000' &)
    echo $$ >&9
    while :; do sleep 1000; done";

#[tokio::test]
async fn exit_code_and_signal_are_reported_to_everyone_who_asks() {
    for (script, expected, words) in [
        ("exit 0", Exit::Code(0), "exit code 0"),
        ("exit 42", Exit::Code(42), "exit code 42"),
        ("kill -9 $$", Exit::Signal(9), "signal 9 (SIGKILL)"),
        ("kill -40 $$", Exit::Signal(40), "signal 40"),
    ] {
        let child = spawner().spawn(sh(script)).await.unwrap();
        let early = child.exited();
        assert_eq!(soon(child.exited()).await, expected);
        assert_eq!(soon(child.process.gone()).await, expected);
        assert_eq!(soon(child.exited()).await, expected);
        assert_eq!(soon(early).await, expected);
        assert_eq!(expected.to_string(), words);
    }
}

#[tokio::test]
async fn an_early_exit_is_never_lost() {
    let spawner = spawner();
    let children = (0..100).map(|_| {
        let spawner = spawner.clone();
        async move { spawner.spawn(spec("/bin/true", &[])).await.unwrap() }
    });
    for child in children {
        assert_eq!(soon(child.await.exited()).await, Exit::Code(0));
    }
}

#[tokio::test]
async fn lines_pass_through_and_the_end_of_stdin_ends_a_polite_child() {
    let mut child = spawner().spawn(spec("/bin/cat", &[])).await.unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(b"{\"id\":1}\nlast").await.unwrap();
    child.stdin = None;
    assert_eq!(lines_of(&child).await, ["{\"id\":1}", "last"]);
    assert_eq!(soon(child.stop(FLAT)).await, Exit::Code(0));
    assert_no_trace(&[child.pid()]);
}

#[tokio::test]
async fn stop_closes_stdin_first() {
    let mut child = spawner().spawn(sh("cat; exit 3")).await.unwrap();
    assert_eq!(soon(child.stop(FLAT)).await, Exit::Code(3));
}

#[tokio::test]
async fn a_child_that_blocks_on_stdout_can_stop() {
    let script = "cat; head -c 1000000 /dev/zero; exit 4";
    let mut child = spawner().spawn(sh(script)).await.unwrap();
    assert_eq!(soon(child.stop(FLAT)).await, Exit::Code(4));
}

#[tokio::test]
async fn a_stopped_child_gets_its_sigterm() {
    let mut watch = Watch::new();
    let spec = watch.script("trap 'exit 5' TERM; echo $$ >&9; kill -STOP $$; while :; do :; done");
    let mut child = spawner().spawn(spec).await.unwrap();
    watch.pids(1).await;
    let ladder = Ladder {
        stdin_grace: Duration::ZERO,
        ..FLAT
    };
    assert_eq!(soon(child.stop(ladder)).await, Exit::Code(5));
}

#[tokio::test]
async fn stop_leaves_nothing_of_a_family_that_ignores_sigterm() {
    let mut watch = Watch::new();
    let mut child = spawner().spawn(watch.script(FAMILY)).await.unwrap();
    let pids = watch.pids(4).await;
    assert_eq!(soon(child.stop(STEEP)).await, Exit::Signal(9));
    assert_no_trace(&pids);
    watch.all_are_dead().await;
}

#[tokio::test]
async fn a_crash_of_the_leader_takes_its_family_along() {
    let mut watch = Watch::new();
    let child = spawner().spawn(watch.script(FAMILY)).await.unwrap();
    let pids = watch.pids(4).await;
    kill(
        Pid::from_raw(child.pid()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(soon(child.exited()).await, Exit::Signal(9));
    assert_eq!(soon(child.process.gone()).await, Exit::Signal(9));
    assert_no_trace(&pids);
    watch.all_are_dead().await;
}

#[tokio::test]
async fn a_family_ends_without_a_trace_while_others_are_born() {
    let births = async {
        loop {
            let child = spawner().spawn(spec("/bin/true", &[])).await.unwrap();
            child.exited().await;
        }
    };
    let ends = async {
        for _ in 0..20 {
            let mut watch = Watch::new();
            let child = spawner().spawn(watch.script(FAMILY)).await.unwrap();
            let pids = watch.pids(4).await;
            child.kill_now();
            soon(child.process.gone()).await;
            assert_no_trace(&pids);
        }
    };
    tokio::select! {
        () = births => {}
        () = ends => {}
    }
}

#[tokio::test]
async fn another_child_is_not_touched_by_the_end_of_one() {
    let mut watch = Watch::new();
    let one = spawner().spawn(sh("exit 0")).await.unwrap();
    let mut other = spawner().spawn(watch.script(FAMILY)).await.unwrap();
    let pids = watch.pids(4).await;
    soon(one.process.gone()).await;
    for pid in &pids {
        kill(Pid::from_raw(*pid), None).unwrap();
    }
    soon(other.stop(STEEP)).await;
    watch.all_are_dead().await;
}

#[tokio::test]
async fn dropping_the_last_handle_kills_and_an_earlier_one_does_not() {
    let mut watch = Watch::new();
    let child = spawner().spawn(watch.script(FAMILY)).await.unwrap();
    let pids = watch.pids(4).await;
    let gone = child.process.gone();
    let process = child.process.clone();
    drop(child);
    kill(Pid::from_raw(process.pid()), None).unwrap();
    drop(process);
    assert_eq!(soon(gone).await, Exit::Signal(9));
    assert_no_trace(&pids);
    watch.all_are_dead().await;
}

#[tokio::test]
async fn a_spawn_that_nobody_waits_for_leaves_nothing() {
    let mut watch = Watch::new();
    let spawner = spawner();
    let spec = watch.script("echo $$ >&9; exec sleep 1000");
    // A writer of ours: the child may never come to open the FIFO.
    let writer = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(watch.path())
        .unwrap();
    {
        // Polled once, so that the order is given; the next spawn is served after it.
        let mut spawning = std::pin::pin!(spawner.spawn(spec));
        std::future::poll_fn(|context| {
            drop(spawning.as_mut().poll(context));
            std::task::Poll::Ready(())
        })
        .await;
    }
    let other = spawner.spawn(sh("exit 0")).await.unwrap();
    soon(other.exited()).await;
    drop(writer);
    while soon(watch.lines.recv()).await.is_some() {}
}

#[tokio::test]
async fn children_of_other_libraries_keep_their_exit_status() {
    let ours = spawner().spawn(sh("exit 1")).await.unwrap();
    let mut theirs = tokio::process::Command::new("/bin/sh")
        .args(["-c", "exit 7"])
        .spawn()
        .unwrap();
    soon(ours.process.gone()).await;
    assert_eq!(soon(theirs.wait()).await.unwrap().code(), Some(7));
}

#[tokio::test]
async fn a_failed_spawn_says_whose_fault_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "text").unwrap();
    let missing = directory.path().join("missing");

    let fails = async |spec: Spec| spawner().spawn(spec).await.unwrap_err();
    let not_found = fails(spec(missing.to_str().unwrap(), &[])).await;
    assert!(
        matches!(not_found, SpawnError::NotFound { .. }),
        "{not_found:?}"
    );
    for path in [plain.as_path(), directory.path()] {
        let error = fails(spec(path.to_str().unwrap(), &[])).await;
        assert!(
            matches!(error, SpawnError::NotExecutable { .. }),
            "{error:?}"
        );
        assert!(error.counts());
    }
    let mut spec = sh("exit 0");
    spec.cwd = Some(missing);
    let error = fails(spec).await;
    assert!(matches!(error, SpawnError::Directory { .. }), "{error:?}");
    let mut spec = sh("exit 0");
    spec.user = Some("no-such-user".into());
    let error = fails(spec).await;
    assert!(matches!(error, SpawnError::User { .. }), "{error:?}");
    let mut spec = sh("exit 0");
    spec.open_files = Some(u64::MAX);
    let error = fails(spec).await;
    assert!(matches!(error, SpawnError::Limit { .. }), "{error:?}");
    assert!(!SpawnError::from_io(Errno::EMFILE.into()).counts());
}

#[tokio::test]
async fn limits_niceness_and_directory_reach_the_child() {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = sh("ulimit -v; ulimit -n; nice; pwd -P; cat /proc/self/oom_score_adj");
    spec.memory = Some(1 << 30);
    spec.open_files = Some(77);
    spec.nice = Some(7);
    spec.cwd = Some(directory.path().into());
    let lines = output_of(spec).await;
    let cwd = directory.path().canonicalize().unwrap();
    assert_eq!(lines[..3], ["1048576", "77", "7"]);
    assert_eq!(OsStr::new(&lines[3]), cwd);
    let ours = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let ours: i32 = ours.trim().parse().unwrap();
    assert_eq!(lines[4], (ours + 200).min(1000).to_string());
}

#[tokio::test]
async fn a_child_inherits_nothing_but_three_pipes() {
    let _spawner = spawner();
    let (original, _) = open_files::original();
    // Open in us and not marked close-on-exec.
    let inheritable = nix::unistd::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
    let mut spec = sh(
        // The shell's own directory stream is the fourth.
        "echo /proc/self/fd/*; ulimit -Sn; grep -E 'Sig(Blk|Ign)' /proc/self/status; env | grep -v PWD=",
    );
    spec.env.push(("NOTIFY_SOCKET".into(), "/run/x".into()));
    spec.env.push(("A".into(), "b".into()));
    let lines = output_of(spec).await;
    drop(inheritable);
    assert_eq!(
        lines[0],
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3"
    );
    assert_eq!(lines[1], original.to_string());
    assert_eq!(lines[2], "SigBlk:\t0000000000000000");
    let ignored = lines[3].strip_prefix("SigIgn:\t").unwrap();
    // Signals 32 and 33 are the C library's own; it touches them for nobody.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & !(0b11 << 31);
    assert_eq!(ignored, 0);
    let mut names: Vec<&str> = lines[4..]
        .iter()
        .filter_map(|line| line.split('=').next())
        .filter(|name| *name != "_" && *name != "SHLVL")
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "MCP_BRIDGED_INSTANCE", "PATH"]);
}

#[tokio::test]
async fn a_child_runs_as_its_user_if_we_may() {
    let mut spec = sh("id -un; id -gn; id -Gn");
    spec.user = Some("nobody".into());
    match spawner().spawn(spec).await {
        Ok(child) => {
            let lines = lines_of(&child).await;
            assert_eq!(lines[0], "nobody");
            assert_eq!(lines[1], lines[2], "none of our groups");
        }
        Err(error) => assert!(matches!(error, SpawnError::User { .. }), "{error:?}"),
    }
}

#[tokio::test]
async fn a_flood_on_stderr_blocks_nobody_and_its_end_is_kept() {
    let script = "yes 0123456789 | head -c 22000000 >&2; printf '\\033[31mthe\\033[0m\\nlast' >&2";
    let child = spawner().spawn(sh(script)).await.unwrap();
    assert_eq!(soon(child.exited()).await, Exit::Code(0));
    soon(child.stderr.ended()).await;
    assert_eq!(child.stderr.last_lines(2), ["the", "last"]);
    assert_eq!(child.stderr.tail(4), "last");
    assert_eq!(child.stderr.tail(usize::MAX).len(), 64 * 1024);
}

/// Runs the test `name` of this binary in a process of its own with `variable` set.
fn again(name: &str, variable: &str, value: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &format!("process::tests::{name}"), "--nocapture"])
        .env(variable, value);
    command
}

#[tokio::test]
async fn a_sigkill_of_the_supervisor_ends_its_child() {
    const ROLE: &str = "TEST_SUPERVISED_FIFO";
    if let Some(fifo) = std::env::var_os(ROLE) {
        let script = format!("exec 9>{}; echo $$ >&9; exec sleep 1000", fifo.display());
        let child = spawner().spawn(sh(&script)).await.unwrap();
        child.exited().await;
        return;
    }
    let mut watch = Watch::new();
    let mut supervisor = again(
        "a_sigkill_of_the_supervisor_ends_its_child",
        ROLE,
        &watch.path(),
    )
    .spawn()
    .unwrap();
    watch.pids(1).await;
    supervisor.kill().unwrap();
    watch.all_are_dead().await;
    supervisor.wait().unwrap();
}

#[tokio::test]
async fn two_hundred_children_leave_no_descriptor_and_no_process() {
    const ROLE: &str = "TEST_COUNT_DESCRIPTORS";
    if std::env::var_os(ROLE).is_none() {
        // Alone in its process, because other tests open descriptors too.
        let counted = again(
            "two_hundred_children_leave_no_descriptor_and_no_process",
            ROLE,
            "1",
        )
        .output()
        .unwrap();
        io::stderr().write_all(&counted.stderr).unwrap();
        assert!(counted.status.success());
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let tracker = TaskTracker::new();
    let spawner = Spawner::start(tracker.clone()).unwrap();
    let run = async |script: &str| {
        let mut child = spawner.spawn(sh(script)).await.unwrap();
        soon(child.stop(STEEP)).await;
        child.pid()
    };
    let before = descriptors();
    let mut pids = Vec::new();
    for n in 0..200 {
        let script = if n % 20 == 0 {
            "setsid sleep 1000 & exit 1"
        } else {
            "exit 0"
        };
        pids.push(run(script).await);
    }
    tracker.close();
    soon(tracker.wait()).await;
    assert_eq!(descriptors(), before);
    assert_no_trace(&pids);
    assert_eq!(tree::Snapshot::take().unwrap().strays().count(), 0);
}

#[tokio::test]
async fn kill_strays_finds_what_hid_completely() {
    const ROLE: &str = "TEST_STRAYS";
    if std::env::var_os(ROLE).is_none() {
        // Alone in its process: it would kill the children of other tests.
        let status = again("kill_strays_finds_what_hid_completely", ROLE, "1").status();
        assert!(status.unwrap().success());
        return;
    }
    let mut watch = Watch::new();
    let hidden = "(setsid env -i sh -c 'echo $$ >&9; exec sleep 1000' &); cat";
    let mut child = spawner().spawn(watch.script(hidden)).await.unwrap();
    watch.pids(1).await;
    soon(child.stop(FLAT)).await;
    spawner().kill_strays().unwrap();
    watch.all_are_dead().await;
}
