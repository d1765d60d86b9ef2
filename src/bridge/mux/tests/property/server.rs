//! The model server: it remembers what it read, knows whose work it does by the marks, and says anything at any time.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::{URIS, World};
use crate::mcp::Level;

const ASK_IDS: [&str; 3] = ["1", "2", "\"a\""];

/// What a server does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Answer,
    Fail,
    AnswerAgain,
    Garbage,
    Oversize,
    Progress,
    Ask,
    TakeBack,
    Log,
    Updated,
    Changed,
    Ping,
}

/// A request as the server knows it.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// None for requests of the bridge's own.
    pub(super) serial: Option<usize>,
    pub(super) method: String,
    pub(super) uri: String,
    /// Nobody waits for it, as far as the server was told.
    pub(super) cancelled: Option<Instant>,
    pub(super) done: bool,
}

/// A request of the server.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) session: u64,
    pub(super) given_to: Option<u64>,
    /// It was answered, refused, or taken back.
    pub(super) over: bool,
}

impl World {
    /// The server reads its lines, which are to be what it may see.
    pub(super) fn read(&mut self) {
        self.collect();
        for line in self.bench.lines() {
            let value: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            match (value.get("id"), value["method"].as_str()) {
                (Some(id), Some(method)) => self.read_request(id.as_u64().unwrap(), method, &value),
                (Some(id), None) => self.read_answer(&id.to_string(), &value),
                (None, Some("notifications/cancelled")) => {
                    let k = value["params"]["requestId"].as_u64().unwrap();
                    let now = self.bench.now;
                    let work = self.works.get_mut(&k);
                    if let Some(serial) = work.as_ref().and_then(|work| work.serial) {
                        assert_eq!(
                            self.sent[serial].endings, 1,
                            "cancelled, but still waited for"
                        );
                    }
                    if let Some(work) = work {
                        work.cancelled.get_or_insert(now);
                    }
                }
                (None, Some("notifications/progress")) => {
                    let params = &value["params"];
                    let to = |ask: &&Ask| ask.given_to == params["from"].as_u64();
                    assert!(
                        params["progressToken"] == "ask" && self.asks.iter().any(|ask| to(&ask))
                    );
                }
                _ => panic!("unexpected line {line}"),
            }
        }
    }

    fn read_request(&mut self, k: u64, method: &str, value: &Value) {
        assert!(k > self.largest, "an id is used again");
        self.largest = k;
        let params = &value["params"];
        let token = &params["_meta"]["progressToken"];
        assert!(
            token.is_null() || token.as_u64() == Some(k),
            "foreign token in {value}"
        );
        let serial = params["serial"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        if let Some(serial) = serial {
            assert_eq!(
                token.is_null(),
                self.sent[serial].token.is_none(),
                "{value}"
            );
        }
        let uri = params["uri"].as_str().unwrap_or_default().to_owned();
        match method {
            "resources/subscribe" if uri != "refused" => drop(self.subscribed.insert(uri.clone())),
            "resources/unsubscribe" => drop(self.subscribed.remove(&uri)),
            "logging/setLevel" => self.level = Some(level(params["level"].as_str().unwrap())),
            _ => {}
        }
        let work = Work {
            serial,
            method: method.to_owned(),
            uri,
            cancelled: None,
            done: false,
        };
        self.works.insert(k, work);
    }

    /// The answer to something that the server asked: ours, or the one of the client that was asked.
    fn read_answer(&mut self, id: &str, value: &Value) {
        if id == "\"ping\"" {
            return;
        }
        let from = value["result"]["from"].as_u64();
        if from.is_none() {
            assert!(value.get("error").is_some(), "{value}");
            if let Some(refusals) = self.refusals.get_mut(id).filter(|count| **count > 0) {
                *refusals -= 1;
                return;
            }
        }
        let ask = self
            .asks
            .iter_mut()
            .find(|ask| ask.id == id && !ask.over && (from.is_none() || ask.given_to == from));
        let ask = ask.unwrap_or_else(|| panic!("an answer to nothing: {value}"));
        ask.over = true;
    }

    pub(super) fn act(&mut self, act: Act, n: usize) {
        let open: Vec<u64> = self
            .works
            .iter()
            .filter(|(_, work)| !work.done)
            .map(|(k, _)| *k)
            .collect();
        let chosen = (!open.is_empty()).then(|| open[n % open.len()]);
        let work = chosen.map(|k| (k, self.works[&k].clone()));
        match (act, work) {
            (Act::Answer | Act::Fail, Some((k, work))) => {
                let refuses = work.method == "resources/subscribe" && work.uri == "refused";
                let may_fail =
                    !work.method.starts_with("resources/") && !work.method.starts_with("logging/");
                let fails = refuses || (may_fail && matches!(act, Act::Fail));
                let member = if fails { "error" } else { "result" };
                self.works.get_mut(&k).unwrap().done = true;
                let serial = json!(work.serial);
                self.say(&format!(
                    r#"{{"jsonrpc":"2.0","id":{k},"{member}":{{"serial":{serial}}}}}"#
                ));
            }
            (Act::AnswerAgain, _) => {
                let done = self.works.iter().find(|(_, work)| work.done);
                if let Some((k, work)) = done {
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","id":{k},"result":{{"serial":{}}}}}"#,
                        json!(work.serial)
                    );
                    self.say(&text);
                }
            }
            (Act::Garbage, _) => {
                for id in ["null", "\"1\"", "1.0", "0", "99999999", "-1", "1e3"] {
                    self.say(&format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"serial":-1}}}}"#
                    ));
                }
                self.say(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":99999999}}"#);
                self.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}"#);
            }
            (Act::Oversize, Some((k, _))) => {
                self.works.get_mut(&k).unwrap().done = true;
                let (now, out) = (self.bench.now, &mut self.bench.out);
                self.bench
                    .mux
                    .oversize(Some(k.to_string().as_bytes()), 1 << 30, now, out);
            }
            (Act::Progress, Some((k, work))) => {
                if let Some(serial) = work.serial {
                    self.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{k},"serial":{serial}}}}}"#));
                }
            }
            (Act::Ask, Some((_, work)))
                if work.method == "tools/call" || work.method == "resources/read" =>
            {
                let id = match n % 5 {
                    few @ ..3 => ASK_IDS[few].to_owned(),
                    _ => (1000 + self.asks.len()).to_string(),
                };
                let serial = work.serial.unwrap();
                let index = self.asks.len();
                self.asks.push(Ask {
                    id: id.clone(),
                    session: self.sent[serial].session,
                    given_to: None,
                    over: false,
                });
                self.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage","params":{{"ask":{index},"_meta":{{"progressToken":"ask"}}}}}}"#));
                let ask = &mut self.asks[index];
                if ask.given_to.is_none() {
                    ask.over = true;
                    *self.refusals.entry(id).or_default() += 1;
                }
            }
            (Act::TakeBack, _) if !self.asks.is_empty() => {
                self.read();
                let at = n % self.asks.len();
                let id = self.asks[at].id.clone();
                for ask in self.asks.iter_mut().filter(|ask| ask.id == id) {
                    ask.over = true;
                }
                self.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#));
            }
            (Act::Log, Some((_, work))) => {
                if let Some(serial) = work.serial {
                    let session = self.sent[serial].session;
                    self.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","session":{session}}}}}"#));
                }
            }
            (Act::Updated, _) => self.update(URIS[n % URIS.len()]),
            (Act::Changed, _) => {
                self.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            }
            (Act::Ping, _) => self.say(r#"{"jsonrpc":"2.0","id":"ping","method":"ping"}"#),
            _ => {}
        }
    }

    fn say(&mut self, text: &str) {
        self.bench.server(text);
        self.collect();
    }

    fn update(&mut self, uri: &'static str) {
        self.collect();
        self.bench.server(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
        ));
        let told: BTreeSet<u64> = self
            .bench
            .out
            .deliveries
            .drain(..)
            .map(|(to, _)| to.0)
            .collect();
        let subscribers = self.granted.iter().filter(|(_, of)| *of == uri);
        let subscribers: BTreeSet<u64> = subscribers.map(|(session, _)| *session).collect();
        assert_eq!(told, subscribers, "told of {uri}");
    }
}

/// Whether that session says that it can.
pub(super) fn can_sample(session: u64) -> bool {
    !session.is_multiple_of(3)
}

pub(super) fn level(name: &str) -> Level {
    Level::parse(format!("\"{name}\"").as_bytes()).unwrap()
}
