//! Which era a server speaks. Pure: what it answers to the first words, time is an argument.
//!
//! MCP 2026-07-28, stdio § Backward Compatibility: `server/discover` comes first; a server that knows it is modern, any
//! other answer and silence mean that it is to be initialised. A server whose answer only comes after the bridge went on
//! to `initialize` (package runners take their time) is modern if it refuses that.

use std::time::Duration;

use tokio::time::Instant;

use super::handshake::Handshake;
use crate::jsonrpc::{Message, member};
use crate::mcp::Era;
use crate::mcp::era::server::Versions;

/// A server that is silent so long on `server/discover` is taken not to know it.
const SILENCE: Duration = Duration::from_secs(3);

/// What to say first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// `initialize`.
    Initialize,
    /// `server/discover`, and `initialize` if that leads to nothing.
    Discover,
    /// `server/discover` and nothing else, because the configuration says so.
    DiscoverOnly,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing.
    Wait,
    /// The server is to be initialised.
    Initialize,
    /// It is ready.
    Ready(Handshake),
    /// It is of no use, and why.
    Fail(String),
}

/// How far the conversation with one generation has come.
#[derive(Debug)]
pub(crate) enum Discovery {
    /// `server/discover` is on its way.
    Discovering {
        /// `initialize` is to follow then.
        silent_at: Option<Instant>,
    },
    /// `initialize` is to be answered.
    Initializing(Discovered),
    /// `initialize` was refused, and `server/discover` may still be answered.
    Refused {
        /// Why the server is of no use if it isn't.
        reason: String,
        /// By then.
        until: Instant,
    },
    /// The server is ready.
    Settled(Era),
}

/// What came of `server/discover` while the server is initialised.
#[derive(Debug)]
pub(crate) enum Discovered {
    /// Nothing, or nothing of use.
    Nothing,
    /// It may still be answered.
    Pending,
    /// The server is a modern one, if it turns out not to be both.
    Late(Box<Handshake>),
}

/// What the answer to `server/discover` says of a server.
enum Verdict {
    Modern(Box<Handshake>),
    /// It is not modern, and what it said.
    Legacy(String),
    /// It is modern, and speaks nothing that is spoken here.
    Useless(String),
}

impl Discovery {
    pub(crate) fn new(opening: Opening, now: Instant) -> Discovery {
        match opening {
            Opening::Initialize => Discovery::Initializing(Discovered::Nothing),
            Opening::Discover => Discovery::Discovering {
                silent_at: Some(now + SILENCE),
            },
            Opening::DiscoverOnly => Discovery::Discovering { silent_at: None },
        }
    }

    /// When [`Discovery::tick`] has something to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Discovery::Discovering { silent_at } => *silent_at,
            Discovery::Refused { until, .. } => Some(*until),
            Discovery::Initializing(_) | Discovery::Settled(_) => None,
        }
    }

    /// The era, once it is known.
    pub(crate) fn era(&self) -> Option<Era> {
        match self {
            Discovery::Settled(era) => Some(*era),
            _ => None,
        }
    }

    /// The method that is waited for.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Discovery::Discovering { .. } => "server/discover",
            _ => "initialize",
        }
    }

    /// Whether an exit of the server may be its way to refuse `server/discover`.
    pub(crate) fn may_have_hurt(&self) -> bool {
        matches!(
            self,
            Discovery::Discovering { silent_at: Some(_) }
                | Discovery::Initializing(Discovered::Pending)
        )
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Next {
        match self {
            Discovery::Discovering {
                silent_at: Some(at),
            } if *at <= now => {
                *self = Discovery::Initializing(Discovered::Pending);
                Next::Initialize
            }
            Discovery::Refused { reason, until } if *until <= now => {
                Next::Fail(std::mem::take(reason))
            }
            _ => Next::Wait,
        }
    }

    /// `server/discover` was answered by `name`'s server.
    pub(crate) fn discovered(&mut self, answer: &Message, name: &str) -> Next {
        let verdict = judge(answer, name);
        match (&mut *self, verdict) {
            (
                Discovery::Discovering { .. } | Discovery::Refused { .. },
                Verdict::Modern(handshake),
            ) => {
                *self = Discovery::Settled(Era::Modern);
                Next::Ready(*handshake)
            }
            (Discovery::Discovering { silent_at: None }, Verdict::Legacy(said)) => {
                Next::Fail(format!("it is no server of era: modern: {said}"))
            }
            (Discovery::Discovering { .. }, Verdict::Legacy(_)) => {
                *self = Discovery::Initializing(Discovered::Nothing);
                Next::Initialize
            }
            (Discovery::Discovering { .. }, Verdict::Useless(reason)) => Next::Fail(reason),
            (Discovery::Refused { reason, .. }, _) => Next::Fail(std::mem::take(reason)),
            (Discovery::Initializing(discovered), Verdict::Modern(handshake)) => {
                *discovered = Discovered::Late(handshake);
                Next::Wait
            }
            (Discovery::Initializing(discovered), _) => {
                *discovered = Discovered::Nothing;
                Next::Wait
            }
            (Discovery::Settled(_), _) => Next::Wait,
        }
    }

    /// The bridge's `initialize` was answered.
    pub(crate) fn initialized(
        &mut self,
        handshake: Result<Handshake, String>,
        now: Instant,
    ) -> Next {
        let Discovery::Initializing(discovered) = self else {
            return Next::Wait;
        };
        let discovered = std::mem::replace(discovered, Discovered::Nothing);
        match (handshake, discovered) {
            (Ok(handshake), _) => {
                *self = Discovery::Settled(Era::Legacy);
                Next::Ready(handshake)
            }
            (Err(_), Discovered::Late(handshake)) => {
                *self = Discovery::Settled(Era::Modern);
                Next::Ready(*handshake)
            }
            (Err(reason), Discovered::Pending) => {
                let until = now + SILENCE;
                *self = Discovery::Refused { reason, until };
                Next::Wait
            }
            (Err(reason), Discovered::Nothing) => Next::Fail(reason),
        }
    }

    /// A dedicated instance's server has answered its client's `initialize`.
    pub(crate) fn client_initialized(&mut self) {
        *self = Discovery::Settled(Era::Legacy);
    }
}

fn judge(answer: &Message, name: &str) -> Verdict {
    if let Some(result) = answer.result() {
        return match Versions::read(&result, "supportedVersions") {
            Some(versions) if versions.has_modern() => {
                Verdict::Modern(Box::new(Handshake::discovered(&result, versions, name)))
            }
            Some(versions) => of_other_versions(&versions),
            None => Verdict::Legacy("its answer to server/discover names no revisions".to_owned()),
        };
    }
    let error = answer.part(answer.envelope().error).unwrap_or_default();
    let said = format!(
        "it answered server/discover with the error {}",
        String::from_utf8_lossy(error)
    );
    let part = |key| member(error, key).map(|place| place.of(error));
    if !matches!(part("code"), Some(b"-32020" | b"-32021" | b"-32022")) {
        return Verdict::Legacy(said);
    }
    let supported = part("data").and_then(|data| Versions::read(data, "supported"));
    match supported {
        Some(versions) if !versions.has_modern() => of_other_versions(&versions),
        _ => Verdict::Useless(said),
    }
}

fn of_other_versions(versions: &Versions) -> Verdict {
    let list = String::from_utf8_lossy(versions.text());
    let said = format!("it speaks the revisions {list}");
    if versions.has_legacy() {
        Verdict::Legacy(said)
    } else {
        Verdict::Useless(format!("{said} only, of which none is spoken here"))
    }
}

#[cfg(test)]
mod tests;
