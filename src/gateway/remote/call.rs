//! One request of a client, from the moment it was accepted to the one delivery that ends it.

use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::model::ServerResult;
use rmcp::service::{PeerRequestOptions, RequestHandle, ServiceError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::line::{Line, Link, Turned};
use super::seats::{Listener, Turn};
use super::session::InFlight;
use super::wire::{self, Original};
use super::{CANCEL, Fault};
use crate::bridge::{Delivery, DeliveryKind, LONGEST_REQUEST, Refusal};
use crate::jsonrpc::{Body, Edit, ErrorObject, Message, RequestId, code};
use crate::mcp::{Level, keep_tools};

/// One request in flight.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) line: Arc<Line>,
    pub(super) message: Arc<Message>,
    /// What its progress is called at the server.
    pub(super) token: u64,
    pub(super) listener: Arc<Listener>,
    /// Ends when the client cancels it, or is gone.
    pub(super) cancelled: CancellationToken,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) then: Then,
    /// Of a subscription, or of its end.
    pub(super) turn: Option<Turn>,
}

/// What its answer means to the connection.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// A subscription, to the URI of its turn.
    Subscribed,
    /// The server was told this level.
    LevelSet(Level),
    /// A list of tools, which the settings may shorten.
    ToolsListed,
}

/// How a call ends.
enum End {
    Answer(Message),
    Error(ErrorObject),
    Refused(Refusal, ErrorObject),
    Cancelled,
}

impl Call {
    /// Sends it, waits for its end and delivers that.
    pub(super) async fn run(mut self) {
        let end = self.end().await;
        self.settle(&end);
        let id = self.message.id().unwrap_or_default();
        self.in_flight.ended(&RequestId::new(id));
        let refused = |error: &ErrorObject| Body::from(error.response(Some(id)));
        let (kind, body) = match end {
            End::Answer(answer) => (DeliveryKind::Answer, self.answer(&answer, id)),
            End::Error(error) => (DeliveryKind::Answer, refused(&error)),
            End::Refused(refusal, error) => (DeliveryKind::Refusal(refusal), refused(&error)),
            End::Cancelled => {
                let error =
                    ErrorObject::new(code::INVALID_REQUEST, "request cancelled by the client");
                (DeliveryKind::Cancelled, refused(&error))
            }
        };
        self.listener.address.push(Delivery { kind, body });
    }

    async fn end(&self) -> End {
        if let Some(turn) = &self.turn {
            tokio::select! {
                () = self.cancelled.cancelled() => return End::Cancelled,
                () = turn.comes() => {}
            }
        }
        let link = tokio::select! {
            biased;
            () = self.cancelled.cancelled() => return End::Cancelled,
            link = self.line.link() => match link {
                Ok(link) => link,
                Err(Turned { refusal, error }) => return End::Refused(refusal, error),
            },
        };
        let level = match self.then {
            Then::LevelSet(level) => Some(level),
            _ => None,
        };
        let original = Original {
            message: self.message.clone(),
            token: self.token,
            level,
        };
        let options = PeerRequestOptions::no_options();
        let asking = link
            .peer
            .send_request_with_option(original.into_request(), options);
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => End::Cancelled,
            () = link.lost.cancelled() => self.lost(),
            handle = asking => match handle {
                Ok(handle) => self.answered(handle, &link).await,
                Err(_) => {
                    link.lost.cancelled().await;
                    self.lost()
                }
            },
        }
    }

    /// Waits for the answer; progress starts the time anew.
    async fn answered(&self, mut handle: RequestHandle<RoleClient>, link: &Link) -> End {
        let limit = self.line.settings.request_timeout;
        let began = Instant::now();
        let mut deadline = began + limit;
        loop {
            tokio::select! {
                biased;
                answer = &mut handle.rx => match answer {
                    Ok(answer) => return self.read(answer),
                    // The connection has ended, and the task that keeps it is about to say why.
                    Err(_) => {
                        link.lost.cancelled().await;
                        return self.lost();
                    }
                },
                () = self.cancelled.cancelled() => {
                    self.take_back(handle, "cancelled by the client");
                    return End::Cancelled;
                }
                () = link.lost.cancelled() => return self.lost(),
                () = self.listener.heard.notified() => {
                    deadline = (Instant::now() + limit).min(began + LONGEST_REQUEST.max(limit));
                }
                () = sleep_until(deadline) => {
                    self.take_back(handle, "it took too long");
                    let text = format!(
                        "the remote server {} did not answer {} within {limit:?} (request_timeout)",
                        self.line.name(),
                        self.message.method(),
                    );
                    return End::Error(ErrorObject::new(code::TIMEOUT, text));
                }
            }
        }
    }

    fn read(&self, answer: Result<ServerResult, ServiceError>) -> End {
        match answer {
            Ok(result) => match wire::answer(result) {
                Some(answer) => End::Answer(answer),
                None => self.failed(&Fault::NotMcp {
                    what: "something else than an answer".to_owned(),
                }),
            },
            // Only the stream that it would have come on, perhaps.
            Err(ServiceError::TransportClosed) => {
                self.line.doubt();
                self.lost()
            }
            Err(error) => {
                self.line.doubt();
                self.failed(&Fault::of_service(&error))
            }
        }
    }

    fn failed(&self, fault: &Fault) -> End {
        let rejected = match fault {
            Fault::Rejected { code, message } => i32::try_from(*code)
                .ok()
                .map(|code| (code, message.clone())),
            _ => None,
        };
        let (code, text) = rejected.unwrap_or_else(|| {
            let code = match fault {
                Fault::TooLarge => code::TOO_LARGE,
                _ => code::SERVER_UNAVAILABLE,
            };
            (
                code,
                format!("the remote server {} {fault}", self.line.name()),
            )
        });
        End::Error(ErrorObject::new(code, text))
    }

    fn lost(&self) -> End {
        let text = format!(
            "{}; {} was not answered, and whether the server has acted on it is unknown",
            self.line.reason(),
            self.message.method()
        );
        End::Error(ErrorObject::new(code::SERVER_UNAVAILABLE, text))
    }

    /// Tells the server that the answer is not wanted any more; the client doesn't wait for that.
    fn take_back(&self, handle: RequestHandle<RoleClient>, reason: &'static str) {
        self.line.spawn(async move {
            // A server that can't be told will see the connection end.
            let _told = timeout(CANCEL, handle.cancel(Some(reason.to_owned()))).await;
        });
    }

    /// What the end means to the connection.
    fn settle(&mut self, end: &End) {
        let (session, k) = (self.listener.session, self.token);
        let ok = matches!(end, End::Answer(answer) if answer.envelope().result.is_some());
        let known = matches!(end, End::Answer(_) | End::Refused(..));
        let mut seats = self.line.seats();
        seats.call_ended(k);
        let mut given_up = Vec::new();
        if let Some(turn) = self.turn.take() {
            let uri = turn.uri.clone();
            seats.end_turn(turn);
            let subscriptions = &mut seats.subscriptions;
            let nobody = match self.then {
                Then::Subscribed if ok => {
                    subscriptions.granted(session, &uri, k);
                    false
                }
                Then::Subscribed if known => subscriptions.refused(session, &uri, k),
                Then::Subscribed => subscriptions.given_up(session, &uri, k),
                _ => false,
            };
            if nobody {
                given_up.push(seats.take_turn(uri));
            }
        }
        if matches!(self.then, Then::LevelSet(_)) && !ok {
            seats.level_in_doubt();
        }
        drop(seats);
        self.line.unsubscribe(given_up);
    }

    /// The server's answer under the client's id.
    fn answer(&self, answer: &Message, id: &[u8]) -> Body {
        let envelope = answer.envelope();
        let span = envelope.id.expect("an answer has an id");
        let tools = &self.line.settings.tools;
        if matches!(self.then, Then::ToolsListed)
            && !tools.is_open()
            && let Some(result) = envelope.result
            && let Some(kept) = keep_tools(result.of(answer.text()), |name| tools.permits(name))
        {
            let shortened = Edit {
                span: result,
                with: &kept,
            };
            return answer.editing(&mut [Edit { span, with: id }, shortened]);
        }
        answer.replacing(span, id)
    }
}
