//! What becomes of a request: it goes to the server, is answered here, or refused.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{Call, MAX_IN_FLIGHT_PER_SESSION, MAX_URI, Mux, Service, SessionKey, Then, shown};
use crate::bridge::mailbox::Refusal;
use crate::jsonrpc::{ErrorObject, Message, code, string_value};
use crate::mcp::{Level, Request};
use crate::metrics::Refused;

/// What routing decides about a request.
pub(super) enum Verdict {
    /// It goes to the server; with the log level that the server is to be told instead of the client's own.
    Forward(Then, Option<Level>),
    /// It is answered when the bridge's own stream has been acknowledged with this URI.
    Await(Arc<str>),
    /// The bridge answers `{}`.
    AnswerHere,
    /// The bridge answers with an error.
    Refuse(Refusal, ErrorObject),
}

impl Verdict {
    pub(super) fn invalid(code: i32, text: impl Into<String>) -> Verdict {
        Verdict::Refuse(Refusal::Invalid, ErrorObject::new(code, text))
    }
}

impl<A: Clone> Mux<A> {
    /// Whether `message` goes to the server, and as what.
    pub(super) fn judge(
        &mut self,
        session: SessionKey,
        id: &[u8],
        request: Request,
        method: &str,
        message: &Message,
        stateless: bool,
    ) -> Verdict {
        let Some(seat) = self.seats.get(&session) else {
            return Verdict::invalid(code::INVALID_REQUEST, "the session is over");
        };
        if stateless && self.modern.is_none() && self.service != Service::Dedicated {
            return self.server_changed();
        }
        if seat.in_flight.get(id).is_some() {
            return Verdict::invalid(
                code::INVALID_REQUEST,
                "a request with this id is in flight already",
            );
        }
        if request == Request::Ping && !stateless {
            return Verdict::AnswerHere;
        }
        if seat.in_flight.len() >= MAX_IN_FLIGHT_PER_SESSION {
            self.metrics.refused(Refused::InFlight);
            let text =
                format!("this session has {MAX_IN_FLIGHT_PER_SESSION} requests in flight already");
            return Verdict::Refuse(
                Refusal::TooManyInFlight,
                ErrorObject::new(code::OVERLOADED, text),
            );
        }
        let limit = self.settings.limits.max_in_flight;
        let counts = !(stateless && request == Request::Listen);
        if counts && self.in_flight() >= limit {
            self.metrics.refused(Refused::InFlight);
            let text = format!(
                "bridge {} has {} requests in flight already",
                self.settings.name,
                self.in_flight()
            );
            let refusal = Refusal::Overloaded {
                retry_after: Duration::from_secs(1),
            };
            return Verdict::Refuse(refusal, ErrorObject::new(code::OVERLOADED, text));
        }
        if request == Request::CallTool && !self.settings.tools.is_open() {
            let name = message.part(message.envelope().name).and_then(string_value);
            let Some(name) = name else {
                return Verdict::invalid(code::INVALID_PARAMS, "params.name must be a string");
            };
            if !self.settings.tools.permits(&name) {
                let text = format!("unknown tool: {}", shown(&name));
                return Verdict::invalid(code::INVALID_PARAMS, text);
            }
        }
        let service = match &self.modern {
            None => self.service,
            Some(_) => match self.judge_modern(session, stateless, request, message) {
                Some(verdict) => return verdict,
                None => Service::Shared { asks: false },
            },
        };
        match (request, service) {
            (Request::Initialize, Service::Dedicated) => Verdict::Forward(Then::Initialized, None),
            (_, Service::Dedicated) => Verdict::Forward(Then::Nothing, None),
            (Request::Initialize, _) => {
                Verdict::invalid(code::INVALID_REQUEST, "the server is initialized already")
            }
            (Request::Notification, _) => {
                let text = format!("{} is a notification: it has no id", shown(method));
                Verdict::invalid(code::METHOD_NOT_FOUND, text)
            }
            (Request::Task, _) => {
                let text = format!(
                    "{} needs an instance of its own: declare the tasks capability in initialize",
                    shown(method)
                );
                Verdict::invalid(code::METHOD_NOT_FOUND, text)
            }
            (Request::SetLevel, _) => self.judge_level(session, message),
            (Request::Subscribe | Request::Unsubscribe, _) => {
                self.judge_subscription(session, request, message)
            }
            _ => Verdict::Forward(Then::Nothing, None),
        }
    }

    /// The server is told the most verbose level that any session wants. When it was told that already and said yes, it
    /// is not asked again.
    fn judge_level(&mut self, session: SessionKey, message: &Message) -> Verdict {
        let Some(level) = message
            .part(message.envelope().level)
            .and_then(Level::parse)
        else {
            return Verdict::invalid(
                code::INVALID_PARAMS,
                "params.level must be one of the protocol's eight levels",
            );
        };
        let Some(seat) = self.seats.get_mut(&session) else {
            return Verdict::invalid(code::INVALID_REQUEST, "the session is over");
        };
        // Before the server has said yes, so that levels asked for at the same time are seen by each other.
        let before = seat.level.replace(level);
        let verbose = self.most_verbose().unwrap_or(level);
        let unanswered = |call: &Call<A>| matches!(call.then, Then::LevelSet { .. });
        if self.level == Some(verbose) && !self.calls.values().any(unanswered) {
            return Verdict::AnswerHere;
        }
        self.level = Some(verbose);
        let asked = level;
        Verdict::Forward(
            Then::LevelSet { asked, before },
            (verbose != level).then_some(verbose),
        )
    }

    /// The server hears of the first subscription to a URI and of the last unsubscription.
    fn judge_subscription(
        &mut self,
        session: SessionKey,
        request: Request,
        message: &Message,
    ) -> Verdict {
        let uri = match uri(message) {
            Ok(uri) => uri,
            Err(text) => return Verdict::invalid(code::INVALID_PARAMS, text),
        };
        if request == Request::Unsubscribe {
            return if self.subscriptions.leave(session, &uri) {
                Verdict::Forward(Then::Nothing, None)
            } else {
                Verdict::AnswerHere
            };
        }
        if let Err(limit) = self.subscriptions.admits(session, &uri) {
            self.metrics.refused(Refused::InFlight);
            return Verdict::invalid(code::OVERLOADED, limit);
        }
        let uri = Arc::<str>::from(uri);
        if self.subscriptions.join(session, &uri) {
            return Verdict::AnswerHere;
        }
        Verdict::Forward(Then::Subscribed(uri), None)
    }
}

/// The resource that a subscription is about, or why it can't be.
pub(super) fn uri(message: &Message) -> Result<Cow<'_, str>, String> {
    let uri = message.part(message.envelope().uri).and_then(string_value);
    let uri = uri.ok_or("params.uri must be a string")?;
    if uri.len() > MAX_URI {
        return Err(format!("params.uri has more than {MAX_URI} bytes"));
    }
    Ok(uri)
}
