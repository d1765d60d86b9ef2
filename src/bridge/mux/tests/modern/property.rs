//! The same for a modern server: in any interleaving each request is answered once, to its owner, and what the server
//! wants to know for one is asked of its owner and of nobody else.
//!
//! Sessions 1 and 2 are legacy ones, 3 is a modern client's. Each request carries a serial number; so does what the
//! server says about it, and what a client answers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Value, json};

use super::super::super::{SessionKey, Waiting};
use super::super::{Bench, To, message};
use super::own;
use crate::bridge::mailbox::DeliveryKind;

const IDS: [&str; 4] = ["0", "1", "\"1\"", "1.0"];
const METHODS: [&str; 7] = [
    "tools/call",
    "tools/call",
    "resources/read",
    "tools/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
];
const URIS: [&str; 3] = ["u", "v", "refused"];
const ID: &str = "io.modelcontextprotocol/subscriptionId";

#[derive(Debug, Clone)]
enum Step {
    Open(u64),
    Close(u64),
    Request(u64, usize, usize, usize),
    Cancel(u64, usize),
    /// A session answers one of its questions; with an error, or as somebody else.
    Answer(usize, bool, bool),
    Server(Act, usize),
    Pass(u64),
    Die(bool),
    Revive,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Complete,
    Fail,
    Ask,
    State,
    Again,
    Progress,
    Acknowledge,
    Update,
    EndStream,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = || any::<usize>();
    let session = || 1..=3u64;
    let acts = prop::sample::select(vec![
        Act::Complete,
        Act::Complete,
        Act::Fail,
        Act::Ask,
        Act::Ask,
        Act::State,
        Act::Again,
        Act::Progress,
        Act::Acknowledge,
        Act::Acknowledge,
        Act::Update,
        Act::EndStream,
    ]);
    let step = prop_oneof![
        2 => session().prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        10 => (session(), n(), n(), n()).prop_map(|(s, id, method, uri)| Step::Request(s, id, method, uri)),
        2 => (session(), n()).prop_map(|(s, n)| Step::Cancel(s, n)),
        6 => (n(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(n, fails, thief)| Step::Answer(n, fails, thief)),
        14 => (acts, n()).prop_map(|(act, n)| Step::Server(act, n)),
        1 => prop::sample::select(vec![10, 100, 2000, 31_000, 301_000]).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Die),
        1 => prop::strategy::Just(Step::Revive),
    ];
    prop::collection::vec(step, 1..120)
}

/// A request as its client remembers it.
#[derive(Debug)]
struct Sent {
    session: u64,
    id: String,
    method: &'static str,
    uri: &'static str,
    endings: usize,
    rounds: usize,
}

/// A request as the server knows it.
#[derive(Debug, Clone)]
struct Work {
    serial: Option<usize>,
    method: String,
    uris: BTreeSet<String>,
}

/// A question that a client was asked.
#[derive(Debug, Clone)]
struct Question {
    session: u64,
    minted: u64,
    serial: usize,
    open: bool,
}

struct World {
    bench: Bench,
    live: BTreeSet<u64>,
    up: bool,
    sent: Vec<Sent>,
    works: BTreeMap<u64, Work>,
    /// The streams of the server that it has acknowledged.
    streams: BTreeMap<u64, Work>,
    done: Vec<u64>,
    /// Every id that it was ever told.
    known: BTreeSet<u64>,
    questions: Vec<Question>,
    waiting: Vec<Waiting<To>>,
}

impl World {
    fn new() -> World {
        let mut bench = Bench::modern();
        for session in 1..=3 {
            bench.close(session);
        }
        World {
            bench,
            live: BTreeSet::new(),
            up: true,
            sent: Vec::new(),
            works: BTreeMap::new(),
            streams: BTreeMap::new(),
            done: Vec::new(),
            known: BTreeSet::new(),
            questions: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(session) => {
                if self.live.insert(session) {
                    self.bench.open(session);
                    if session < 3 && self.up {
                        self.bench.initialize(session, r#"{"sampling":{}}"#);
                    }
                }
            }
            Step::Close(session) => self.close(session),
            Step::Request(session, id, method, uri) => self.request(session, id, method, uri),
            Step::Cancel(session, n) => {
                if self.live.contains(&session) && self.up {
                    let id = IDS[n % IDS.len()];
                    self.bench.client(
                        session,
                        &format!(
                            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
                        ),
                    );
                }
            }
            Step::Answer(n, fails, thief) => self.answer(n, fails, thief),
            Step::Server(act, n) if self.up => self.act(act, n),
            Step::Server(..) => {}
            Step::Pass(milliseconds) => {
                self.read();
                self.bench.pass(milliseconds);
            }
            Step::Die(repeat) => {
                if std::mem::take(&mut self.up) {
                    self.read();
                    self.works.clear();
                    self.streams.clear();
                    self.waiting = self.bench.end_generation(repeat);
                }
            }
            Step::Revive => self.revive(),
        }
        self.read();
        self.collect();
    }

    fn revive(&mut self) {
        if std::mem::replace(&mut self.up, true) {
            return;
        }
        assert_eq!(self.bench.out.outbox.len(), 0, "said to nobody");
        let (now, out) = (self.bench.now, &mut self.bench.out);
        self.bench.mux.meet_modern(|_| false, now, out);
        self.bench.restore(false);
        for waiting in std::mem::take(&mut self.waiting) {
            self.pass_on(waiting);
        }
    }

    fn pass_on(&mut self, waiting: Waiting<To>) {
        let (now, out) = (self.bench.now, &mut self.bench.out);
        let Waiting {
            session,
            message,
            address,
            repeated,
        } = waiting;
        self.bench
            .mux
            .request(session, &message, address, repeated, now, out);
    }

    fn close(&mut self, session: u64) {
        if !self.live.remove(&session) {
            return;
        }
        let mut over = Vec::new();
        self.waiting.retain(|waiting| {
            let others = waiting.session != SessionKey(session);
            if !others {
                over.push(serial_of(&waiting.address));
            }
            others
        });
        for serial in over {
            self.sent[serial].endings += 1;
        }
        self.bench.close(session);
        self.collect();
        self.questions
            .retain(|question| question.session != session);
        for sent in self.sent.iter().filter(|sent| sent.session == session) {
            assert_eq!(sent.endings, 1, "{sent:?}");
        }
    }

    fn request(&mut self, session: u64, id: usize, method: usize, uri: usize) {
        if !self.live.contains(&session) {
            return;
        }
        let (id, method) = (IDS[id % IDS.len()], METHODS[method % METHODS.len()]);
        let uri = URIS[uri % URIS.len()];
        let serial = self.sent.len();
        let mut meta = r#""progressToken":"t""#.to_owned();
        if session == 3 {
            meta = format!("{},{meta}", own());
        }
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"serial":{serial},"uri":"{uri}","_meta":{{{meta}}}}}}}"#
        );
        self.sent.push(Sent {
            session,
            id: id.to_owned(),
            method,
            uri,
            endings: 0,
            rounds: 0,
        });
        let waiting = Waiting {
            session: SessionKey(session),
            message: message(&text),
            address: To(session, serial.to_string()),
            repeated: false,
        };
        if self.up {
            self.pass_on(waiting);
        } else {
            self.waiting.push(waiting);
        }
    }

    fn answer(&mut self, n: usize, fails: bool, thief: bool) {
        if self.questions.is_empty() {
            return;
        }
        let at = n % self.questions.len();
        let Question {
            session,
            minted,
            serial,
            ..
        } = self.questions[at];
        let from = if thief { session % 2 + 1 } else { session };
        if !self.live.contains(&from) {
            return;
        }
        // An answer of somebody else under the same id may be that one's own.
        let own = self
            .questions
            .iter_mut()
            .find(|q| q.session == from && q.minted == minted);
        let serial = own.map_or(serial, |own| {
            own.open = false;
            own.serial
        });
        let outcome = if fails && serial.is_multiple_of(2) {
            r#""error":{"code":-7,"message":"no"}"#.to_owned()
        } else {
            format!(r#""result":{{"from":{from},"about":{serial}}}"#)
        };
        self.bench.client(
            from,
            &format!(r#"{{"jsonrpc":"2.0","id":{minted},{outcome}}}"#),
        );
    }

    /// The server reads its lines, which are to be what it may see.
    fn read(&mut self) {
        self.collect();
        for line in self.bench.lines() {
            let value: Value = serde_json::from_str(&line).unwrap();
            let params = &value["params"];
            let Some(k) = value["id"].as_u64() else {
                assert_eq!(value["method"], "notifications/cancelled", "{line}");
                let k = params["requestId"].as_u64().unwrap();
                assert!(self.known.contains(&k), "it was never told of {k}");
                if let Some(serial) = self.works.get(&k).and_then(|work| work.serial) {
                    assert_eq!(self.sent[serial].endings, 1, "{line} is still waited for");
                }
                self.works.remove(&k);
                self.streams.remove(&k);
                continue;
            };
            assert!(self.known.insert(k), "an id is used again: {line}");
            let meta = &params["_meta"];
            assert_eq!(
                meta["io.modelcontextprotocol/protocolVersion"],
                "2026-07-28"
            );
            let capabilities = &meta["io.modelcontextprotocol/clientCapabilities"];
            let serial = params["serial"].as_u64();
            let serial = serial.and_then(|serial| usize::try_from(serial).ok());
            if let Some(serial) = serial {
                let sent = &self.sent[serial];
                assert_eq!(meta["progressToken"].as_u64(), Some(k), "{line}");
                assert!(capabilities.is_object(), "{line}");
                assert_eq!(value["method"], sent.method);
                let answers = params["inputResponses"].as_object();
                assert_eq!(
                    answers.map_or(0, |all| all.len()),
                    sent.rounds % 3,
                    "{line}"
                );
                for answer in answers.into_iter().flat_map(|all| all.values()) {
                    assert_eq!(answer["from"].as_u64(), Some(sent.session), "{line}");
                    assert_eq!(answer["about"], serial, "{line}");
                }
                assert!(
                    !matches!(sent.method, "resources/subscribe" | "resources/unsubscribe")
                        || sent.session == 3
                );
            }
            let uris = params["notifications"]["resourceSubscriptions"].as_array();
            let uris = uris.into_iter().flatten();
            let work = Work {
                serial,
                method: value["method"].as_str().unwrap().to_owned(),
                uris: uris.map(|uri| uri.as_str().unwrap().to_owned()).collect(),
            };
            self.works.insert(k, work);
        }
    }

    fn act(&mut self, act: Act, n: usize) {
        self.read();
        let choose = |listens: bool| {
            let fit = self
                .works
                .iter()
                .filter(|(_, work)| (work.method == "subscriptions/listen") == listens);
            let fit: Vec<u64> = fit.map(|(k, _)| *k).collect();
            (!fit.is_empty()).then(|| fit[n % fit.len()])
        };
        let stream = matches!(act, Act::Acknowledge | Act::Update | Act::EndStream);
        if let Act::Again = act {
            if let Some(k) = self.done.get(n % self.done.len().max(1)).copied() {
                self.say(&format!(
                    r#"{{"jsonrpc":"2.0","id":{k},"result":{{"serial":-1}}}}"#
                ));
            }
            return;
        }
        let Some(k) = choose(stream) else { return };
        let work = self.works[&k].clone();
        let mark = json!(work.serial);
        let asks = matches!(work.method.as_str(), "tools/call" | "resources/read");
        match act {
            Act::Complete => self.finish(
                k,
                &format!(r#""result":{{"resultType":"complete","serial":{mark}}}"#),
            ),
            Act::Fail => self.finish(k, &format!(r#""error":{{"code":-1,"data":{mark}}}"#)),
            Act::Ask | Act::State if asks => {
                let serial = work.serial.unwrap();
                let legacy = self.sent[serial].session < 3;
                let count = if matches!(act, Act::State) { 0 } else { n % 2 + 1 };
                if legacy {
                    self.sent[serial].rounds = count;
                }
                let ask = format!(r#"{{"method":"sampling/createMessage","params":{{"about":{serial}}}}}"#);
                let asked: Vec<String> = (0..count).map(|n| format!(r#""{n}":{ask}"#)).collect();
                self.finish(k, &format!(
                    r#""result":{{"resultType":"input_required","requestState":"s","inputRequests":{{{}}}}}"#,
                    asked.join(",")
                ));
            }
            Act::Progress => self.say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{k},"serial":{mark}}}}}"#
            )),
            Act::Acknowledge => {
                let mut stream = work;
                stream.uris.remove("refused");
                let uris = json!(stream.uris);
                self.streams.insert(k, stream);
                self.say(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{ID}":{k}}},"notifications":{{"resourceSubscriptions":{uris}}}}}}}"#
                ));
            }
            Act::Update => self.say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"u","serial":{mark},"_meta":{{"{ID}":{k}}}}}}}"#
            )),
            Act::EndStream if n.is_multiple_of(2) => self.finish(k, r#""result":{"resultType":"complete"}"#),
            Act::EndStream => {
                self.works.remove(&k);
                self.streams.remove(&k);
                self.say(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{k}}}}}"#
                ));
            }
            _ => {}
        }
    }

    fn finish(&mut self, k: u64, outcome: &str) {
        self.works.remove(&k);
        self.streams.remove(&k);
        self.done.push(k);
        self.say(&format!(r#"{{"jsonrpc":"2.0","id":{k},{outcome}}}"#));
    }

    fn say(&mut self, text: &str) {
        self.bench.server(text);
        self.collect();
    }

    /// Clients read what they were sent, which is to be theirs.
    fn collect(&mut self) {
        for (to, delivery) in std::mem::take(&mut self.bench.out.deliveries) {
            let kind = delivery.kind;
            let text = String::from_utf8(delivery.body.into_bytes().to_vec()).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            if kind.ends_a_request() {
                let serial = serial_of(&to);
                let sent = &mut self.sent[serial];
                sent.endings += 1;
                assert_eq!(
                    (sent.endings, sent.session),
                    (1, to.0),
                    "{text} for {sent:?}"
                );
                assert_eq!(message(&text).id(), Some(sent.id.as_bytes()), "{text}");
                let mark = &value["result"]["serial"];
                assert!(mark.is_null() || *mark == serial, "{text} for {to:?}");
                if to.0 < 3 {
                    assert!(value["result"]["resultType"].is_null(), "{text}");
                }
                continue;
            }
            assert!(
                self.live.contains(&to.0),
                "{text} for a session that is over"
            );
            let params = &value["params"];
            match value["method"].as_str().unwrap() {
                "notifications/progress" => {
                    let serial = serial_of(&to);
                    assert_eq!(params["serial"], serial, "{text}");
                    assert_eq!(
                        (&params["progressToken"], self.sent[serial].endings),
                        (&json!("t"), 0)
                    );
                }
                "sampling/createMessage" => {
                    let serial = serial_of(&to);
                    assert_eq!(
                        (kind, &params["about"]),
                        (DeliveryKind::Request, &json!(serial))
                    );
                    assert!(self.sent[serial].session == to.0 && to.0 < 3, "{text}");
                    let minted = value["id"].as_u64().unwrap();
                    let twice = |q: &Question| q.session == to.0 && q.minted == minted && q.open;
                    assert!(!self.questions.iter().any(twice), "{text}");
                    self.questions.push(Question {
                        session: to.0,
                        minted,
                        serial,
                        open: true,
                    });
                }
                "notifications/cancelled" => {
                    let minted = params["requestId"].as_u64().unwrap();
                    let about =
                        |q: &&mut Question| q.session == to.0 && q.minted == minted && q.open;
                    let question = self.questions.iter_mut().find(about);
                    question.unwrap_or_else(|| panic!("{text}")).open = false;
                }
                "notifications/resources/updated" if to.1 == "outlet" => {
                    assert!(to.0 < 3 && params["serial"].is_null(), "{text} for {to:?}");
                    assert!(params["_meta"].get(ID).is_none(), "{text}");
                    let subscribed = |sent: &Sent| {
                        sent.session == to.0
                            && sent.method == "resources/subscribe"
                            && sent.uri == "u"
                    };
                    assert!(self.sent.iter().any(subscribed), "{text} for {to:?}");
                }
                "notifications/resources/updated" => {
                    assert_eq!(
                        (to.0, &params["serial"]),
                        (3, &json!(serial_of(&to))),
                        "{text}"
                    );
                }
                "notifications/subscriptions/acknowledged" => {
                    let sent = &self.sent[serial_of(&to)];
                    assert_eq!((to.0, sent.method), (3, "subscriptions/listen"), "{text}");
                    assert_eq!(params["_meta"][ID].to_string(), sent.id);
                }
                method => panic!("{method} for {to:?}"),
            }
        }
    }

    fn end(&mut self) {
        self.step(Step::Revive);
        for session in 1..=3 {
            self.close(session);
        }
        self.read();
        assert!(self.sent.iter().all(|sent| sent.endings == 1));
        assert!(self.questions.iter().all(|question| !question.open));
        assert!(self.bench.mux.is_empty(), "{:?}", self.bench.mux);
        // What nobody wants any more is given up, whatever is on its way.
        for _ in 0..3 {
            let unacknowledged: Vec<u64> = self.works.keys().copied().collect();
            for k in unacknowledged {
                self.bench.server(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{ID}":{k}}},"notifications":{{}}}}}}"#
                ));
            }
            self.bench.pass(61_000);
            self.read();
        }
        let left: Vec<&Work> = self
            .works
            .values()
            .filter(|work| work.serial.is_none())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn serial_of(address: &To) -> usize {
    address
        .1
        .parse()
        .unwrap_or_else(|_| panic!("{address:?} is no request's"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_request_is_answered_once_to_its_owner(steps in steps()) {
        let mut world = World::new();
        for step in (1..=3).map(Step::Open).chain(steps) {
            world.step(step);
        }
        world.end();
    }
}
