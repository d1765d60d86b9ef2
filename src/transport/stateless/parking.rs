//! Calls whose server has asked something, until their client comes back with the answer.
//!
//! MCP 2026-07-28, Multi Round-Trip Requests. A legacy server that asks goes on waiting inside its call; the client holds
//! nothing but a `requestState`, which names the call here: 128 random bits, good for the principal, the method and the
//! parameters that it was given to, until it is used or its time is over. A retry that comes twice is answered twice and
//! executed once: its outcome is kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::claims::invalid;
use super::exchange::{Final, Mode, Named, finish};
use super::{Open, Stateless};
use crate::bridge::{Mailbox, Principal, Reader};
use crate::jsonrpc::{ErrorObject, Message, RequestId, code, member, members, string_value};
use crate::mcp::ClientCapabilities;
use crate::transport::Reject;
use crate::transport::backend::Conversation;

/// Calls that wait at a time, for one listener.
const MAX_PARKED: usize = 256;
/// How long the outcome of a retry is kept for one that is identical.
const KEPT: Duration = Duration::from_secs(30);
/// Outcomes that are kept at a time.
const MAX_KEPT: usize = 1024;
/// Bytes of all outcomes that are kept.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// A server that was told that nobody answers its question has this long to end the call.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// What a `requestState` is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    principal: Principal,
    method: String,
    params: Principal,
}

impl Bound {
    /// Whose request this is, and what it wants. Where a member of its parameters stands among the others means nothing.
    pub(super) fn of(message: &Message, principal: Principal) -> Bound {
        let params = message.part(message.envelope().params).unwrap_or_default();
        let mut all = members(params);
        all.retain(|(key, _)| {
            !matches!(key.as_ref(), b"_meta" | b"inputResponses" | b"requestState")
        });
        let mut all: Vec<(&[u8], &[u8])> = all
            .iter()
            .map(|(key, value)| (key.as_ref(), value.of(params)))
            .collect();
        all.sort_unstable();
        Bound {
            principal,
            method: message.method().into_owned(),
            params: Principal::of(&all),
        }
    }
}

/// A request of the server that its client has not answered.
#[derive(Debug)]
pub(super) struct Ask {
    /// As the bridge calls it.
    pub(super) id: RequestId,
    method: String,
    /// `{"method":…,"params":…}`, as the server wrote them.
    request: String,
}

impl Ask {
    pub(super) fn of(message: &Message) -> Option<Ask> {
        let envelope = message.envelope();
        let part = |span| message.part(span).map(String::from_utf8_lossy);
        let method = part(envelope.method)?;
        let params = part(envelope.params)
            .map_or_else(String::new, |params| format!(r#","params":{params}"#));
        Some(Ask {
            id: RequestId::new(message.id()?),
            method: message.method().into_owned(),
            request: format!(r#"{{"method":{method}{params}}}"#),
        })
    }

    /// Its key among the input requests.
    fn key(&self) -> String {
        let id = String::from_utf8_lossy(self.id.as_bytes());
        format!("input-{}", id.trim_matches('"'))
    }

    /// The server is told that nobody will answer.
    fn cancelled(&self) -> Bytes {
        if self.method == "elicitation/create" {
            return self.answered(br#"{"action":"cancel"}"#);
        }
        ErrorObject::new(code::INTERNAL_ERROR, "the client did not answer in time")
            .response(Some(self.id.as_bytes()))
    }

    fn answered(&self, result: &[u8]) -> Bytes {
        let head = br#"{"jsonrpc":"2.0","id":"#.as_slice();
        [head, self.id.as_bytes(), br#","result":"#, result, b"}"]
            .concat()
            .into()
    }
}

/// A request as the bridge knows it, whoever waits for it. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Ongoing {
    pub(super) conversation: Box<dyn Conversation>,
    pub(super) reader: Reader,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) mode: Mode,
    pub(super) named: Named,
    /// What its continuation is bound to; without it has none.
    pub(super) bound: Option<Bound>,
    pub(super) declared: ClientCapabilities,
    pub(super) asks: Vec<Ask>,
    pub(super) _place: Open,
}

/// What a retry finds.
pub(super) enum Claim {
    /// The call, which goes on; its outcome is to be recorded.
    Resumed {
        ongoing: Box<Ongoing>,
        record: watch::Sender<Option<Final>>,
    },
    /// An identical retry was here before; this will be its outcome.
    Replayed(watch::Receiver<Option<Final>>),
}

#[derive(Debug, Default)]
pub(super) struct Parking {
    lot: Mutex<HashMap<u128, Place>>,
    /// Calls whose clients wait no more, to be driven to their ends.
    left: Mutex<Vec<Ongoing>>,
    changed: Notify,
}

#[derive(Debug)]
enum Place {
    Waiting {
        ongoing: Box<Ongoing>,
        until: Instant,
    },
    Used {
        bound: Bound,
        /// Of the answers; `None`: its time was over before any came.
        answers: Option<Principal>,
        outcome: watch::Receiver<Option<Final>>,
        until: Option<Instant>,
    },
}

impl Stateless {
    /// Lets a call wait; returns its `requestState` and the JSON of what is asked.
    ///
    /// # Errors
    /// When too many wait already; the call is cancelled then.
    pub(super) fn park(&self, ongoing: Ongoing) -> Result<(String, String), ErrorObject> {
        let requests: Vec<String> = ongoing
            .asks
            .iter()
            .map(|ask| format!("\"{}\":{}", ask.key(), ask.request))
            .collect();
        let requests = format!("{{{}}}", requests.join(","));
        let patience = self.backend.input_timeout();
        let until = Instant::now() + patience;
        let mut lot = self.parking.lot();
        let waiting = lot
            .values()
            .filter(|place| matches!(place, Place::Waiting { .. }));
        if waiting.count() >= MAX_PARKED {
            let text = format!("{MAX_PARKED} calls wait for their clients' input already");
            return Err(ErrorObject::new(code::OVERLOADED, text));
        }
        // The sweeper ends it; until then the server has all the time.
        ongoing.conversation.hold(Some(until + AFTERWARDS));
        let state = random();
        let ongoing = Box::new(ongoing);
        lot.insert(state, Place::Waiting { ongoing, until });
        drop(lot);
        self.parking.changed.notify_one();
        Ok((format!("{state:032x}"), requests))
    }
}

impl Stateless {
    /// The client has its answer, and the server is still at the call. It isn't cancelled: a server that is may never say
    /// that it has stopped, and what it asks of others would be in doubt for a while.
    pub(super) fn leave(&self, ongoing: Ongoing) {
        self.parking.left().push(ongoing);
        self.parking.changed.notify_one();
    }

    /// The outcome of a retry is there.
    pub(super) fn recorded(&self) {
        self.parking.changed.notify_one();
    }
}

impl Parking {
    /// Finds what the retry `message` is about, and gives the server what its client answers: [`responses`].
    ///
    /// # Errors
    /// When there is nothing that it could go on with; nothing has changed then.
    pub(super) fn claim(
        &self,
        message: &Message,
        bound: &Bound,
        responses: &[u8],
    ) -> Result<Claim, Reject> {
        let refuse = |text: &str| Err(invalid(message.id(), text));
        let unknown =
            "this requestState is unknown, expired or for another request; start the call anew";
        let state = message.part(message.envelope().request_state);
        let Some(state) = state.and_then(string_value).and_then(|state| parse(&state)) else {
            return refuse(unknown);
        };
        let answers = Principal::of(responses);
        let mut lot = self.lot();
        match lot.get(&state) {
            Some(Place::Waiting { ongoing, .. }) if ongoing.bound.as_ref() == Some(bound) => {}
            Some(Place::Used {
                bound: used,
                answers: before,
                outcome,
                ..
            }) if used == bound => {
                if before.is_some_and(|before| before != answers) {
                    return refuse("this requestState was used with other inputResponses");
                }
                return Ok(Claim::Replayed(outcome.clone()));
            }
            _ => return refuse(unknown),
        }
        let (record, outcome) = watch::channel(None);
        let used = Place::Used {
            bound: bound.clone(),
            answers: Some(answers),
            outcome,
            until: None,
        };
        let Some(Place::Waiting { mut ongoing, .. }) = lot.insert(state, used) else {
            unreachable!("it was there a moment ago, and the lock is held")
        };
        drop(lot);
        self.changed.notify_one();
        ongoing.conversation.hold(None);
        let mut asks = std::mem::take(&mut ongoing.asks);
        asks.retain(|ask| {
            let Some(answer) = member(responses, &ask.key()) else {
                return true;
            };
            ongoing.tell(ask.answered(answer.of(responses)));
            false
        });
        ongoing.asks = asks;
        Ok(Claim::Resumed { ongoing, record })
    }

    /// Cancels all calls that wait.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.lot());
        let left = std::mem::take(&mut *self.left());
        drop((all, left));
    }

    /// Ends what has waited too long, and forgets old outcomes, until dropped.
    pub(super) async fn keep_swept(&self) {
        let mut finishing = tokio::task::JoinSet::new();
        let end = |ongoing| tokio::time::timeout(AFTERWARDS, finish(ongoing, Ask::cancelled));
        loop {
            for ongoing in std::mem::take(&mut *self.left()) {
                finishing.spawn(async move {
                    // Nobody wants to know.
                    let _ended = end(ongoing).await;
                });
            }
            let due = self.sweep(Instant::now(), |ongoing, record| {
                finishing.spawn(async move {
                    if let Ok(Some(end)) = end(*ongoing).await {
                        record.send_replace(Some(end));
                    }
                });
            });
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(due) => {}
                Some(_) = finishing.join_next() => {}
            }
        }
    }

    /// Returns when to look again.
    fn sweep(
        &self,
        now: Instant,
        mut expire: impl FnMut(Box<Ongoing>, watch::Sender<Option<Final>>),
    ) -> Instant {
        let mut next = now + KEPT;
        let mut lot = self.lot();
        let mut over = Vec::new();
        lot.retain(|state, place| match place {
            Place::Waiting { until, .. } => {
                if *until <= now {
                    over.push(*state);
                }
                next = next.min((*until).max(now));
                true
            }
            Place::Used { outcome, until, .. } => {
                let has_come = outcome.borrow().is_some();
                if !has_come && outcome.has_changed().is_err() {
                    return false;
                }
                if has_come {
                    let until = *until.get_or_insert(now + KEPT);
                    next = next.min(until);
                    return now < until;
                }
                true
            }
        });
        for state in over {
            let Some(Place::Waiting { ongoing, .. }) = lot.remove(&state) else {
                continue;
            };
            let Some(bound) = ongoing.bound.clone() else {
                continue;
            };
            let (record, outcome) = watch::channel(None);
            lot.insert(
                state,
                Place::Used {
                    bound,
                    answers: None,
                    outcome,
                    until: None,
                },
            );
            expire(ongoing, record);
        }
        forget_most(&mut lot);
        next
    }

    fn left(&self) -> MutexGuard<'_, Vec<Ongoing>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lot(&self) -> MutexGuard<'_, HashMap<u128, Place>> {
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps outcomes within their bounds: those go first that would go first anyway.
fn forget_most(lot: &mut HashMap<u128, Place>) {
    let mut kept: Vec<(Instant, u128, usize)> = lot
        .iter()
        .filter_map(|(state, place)| match place {
            Place::Used {
                outcome,
                until: Some(until),
                ..
            } => {
                let size = outcome.borrow().as_ref().map_or(0, Final::size);
                Some((*until, *state, size))
            }
            _ => None,
        })
        .collect();
    kept.sort_unstable();
    let mut bytes: usize = kept.iter().map(|(_, _, size)| size).sum();
    let mut count = kept.len();
    for (_, state, size) in kept {
        if count <= MAX_KEPT && bytes <= MAX_KEPT_BYTES {
            return;
        }
        lot.remove(&state);
        count -= 1;
        bytes -= size;
    }
}

/// What the client of `message` answers, if anything: an object of objects.
///
/// # Errors
/// When it is anything else.
pub(super) fn responses(message: &Message) -> Result<&[u8], Reject> {
    let responses = message.part(message.envelope().input_responses);
    let responses = responses.unwrap_or(b"{}");
    let is_object = |text: &[u8]| text.first() == Some(&b'{');
    if !is_object(responses) {
        return Err(invalid(message.id(), "inputResponses is an object"));
    }
    let given = members(responses);
    if given
        .iter()
        .any(|(_, value)| !is_object(value.of(responses)))
    {
        let text = "each of inputResponses is an object";
        return Err(invalid(message.id(), text));
    }
    Ok(responses)
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random generator works from early boot on");
    u128::from_ne_bytes(bytes)
}

fn parse(state: &str) -> Option<u128> {
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (state.len() == 32 && state.bytes().all(plain))
        .then(|| u128::from_str_radix(state, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_an_object_of_objects() {
        for (params, want) in [
            (r#"{"name":"a"}"#, Some("{}")),
            (r#"{"inputResponses":{}}"#, Some("{}")),
            (
                r#"{"inputResponses":{"a":{"x":1},"b":{}}}"#,
                Some(r#"{"a":{"x":1},"b":{}}"#),
            ),
            (r#"{"inputResponses":null}"#, None),
            (r#"{"inputResponses":[{}]}"#, None),
            (r#"{"inputResponses":{"a":{},"b":12345}}"#, None),
            (r#"{"inputResponses":{"a":null}}"#, None),
        ] {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let message = Message::parse(text.into()).unwrap();
            match (responses(&message), want) {
                (Ok(given), Some(want)) => assert_eq!(given, want.as_bytes(), "{params}"),
                (Err(reject), None) => {
                    let told = (reject.status().as_u16(), reject.code());
                    assert_eq!(told, (400, -32602), "{params}");
                }
                (given, _) => panic!("{params}: {given:?}"),
            }
        }
    }
}
