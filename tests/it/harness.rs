//! What the tests stand on: a daemon with its own configuration and directory, clients that see every byte, and a look at processes.
//!
//! ```ignore
//! let fake = fake::fake("isolation: shared", &["--tools", "3"]).await;
//! let mut client = fake.sse().await;
//! assert_eq!(client.call("echo", &json!({})).await["result"]["params"]["name"], "echo");
//! ```
//!
//! Everything that waits has a generous deadline ([`DEADLINE`]) and says what it waited for. A test that fails prints the daemon's log.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

pub(crate) mod behind;
pub(crate) mod chats;
#[cfg(feature = "otel")]
pub(crate) mod collector;
pub(crate) mod daemon;
pub(crate) mod fake;
pub(crate) mod http;
pub(crate) mod model;
pub(crate) mod proc;
pub(crate) mod raw;
mod selftest;
pub(crate) mod skip;
pub(crate) mod sse;
pub(crate) mod stateless;
pub(crate) mod streamable;

pub(crate) use behind::Behind;
pub(crate) use daemon::{Daemon, Launch};
pub(crate) use fake::Fake;
pub(crate) use http::{Connection, Request};
pub(crate) use raw::Raw;
pub(crate) use skip::skipped;
pub(crate) use sse::Sse;
pub(crate) use stateless::Stateless;
pub(crate) use streamable::{Reply, Streamable};

/// How long a test waits for anything: far longer than it takes on a busy machine, so reaching it is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two looks at something that gives no notice (a file, a process).
pub(crate) const GLANCE: Duration = Duration::from_millis(5);

/// Waits for `future`; panics with `what` when it takes too long.
pub(crate) async fn within<T>(what: impl Debug, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} in vain for {what:?}"),
    }
}

/// Looks until `look` finds something; panics with `what` when it takes too long.
pub(crate) async fn until<T>(what: impl Debug, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(GLANCE).await;
        }
    })
    .await
}
