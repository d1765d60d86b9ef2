//! In any interleaving each request is answered once, to its owner, and nothing of one session reaches another.
//!
//! Clients mark each request with a serial number, so that the model server knows whose work it does; what it says about
//! that work is marked too. The multiplexer looks at no mark, so the marks tell where things should have gone.

mod server;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use serde_json::Value;

use super::super::{Service, SessionKey, Waiting};
use super::{ASKING, Bench, SHARED, To, message};
use crate::bridge::mailbox::{Delivery, DeliveryKind};
use crate::mcp::Level;
use server::{Act, Ask, Work, can_sample, level};

const SLOTS: usize = 4;
const IDS: [&str; 6] = ["0", "1", "\"1\"", "1.0", "2", "9007199254740993"];
const TOKENS: [&str; 7] = ["null", "1", "2", "3", "\"1\"", "\"t\"", "1e400"];
const METHODS: [&str; 9] = [
    "tools/call",
    "tools/call",
    "resources/read",
    "tools/list",
    "x/y",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];
const URIS: [&str; 3] = ["u", "v", "refused"];
const LEVELS: [&str; 3] = ["debug", "info", "error"];

/// What happens next. Numbers choose among what is there, modulo its size.
#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Close(usize),
    Request {
        slot: usize,
        id: usize,
        method: usize,
        token: usize,
        detail: usize,
    },
    Cancel(usize, usize),
    Answer(usize, u64),
    Notify(usize),
    /// The server reads what was written for it.
    Read,
    Server(Act, usize),
    Pass(u64),
    Die(bool),
    Revive,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = || any::<usize>();
    let acts = prop::sample::select(vec![
        Act::Answer,
        Act::Answer,
        Act::Answer,
        Act::Fail,
        Act::AnswerAgain,
        Act::Garbage,
        Act::Oversize,
        Act::Progress,
        Act::Progress,
        Act::Ask,
        Act::Ask,
        Act::TakeBack,
        Act::Log,
        Act::Updated,
        Act::Changed,
        Act::Ping,
    ]);
    let request = (n(), n(), n(), n(), n());
    let step = prop_oneof![
        2 => n().prop_map(Step::Open),
        1 => n().prop_map(Step::Close),
        12 => request.prop_map(|(slot, id, method, token, detail)| Step::Request { slot, id, method, token, detail }),
        3 => (n(), n()).prop_map(|(slot, n)| Step::Cancel(slot, n)),
        2 => (n(), 1..4u64).prop_map(|(slot, minted)| Step::Answer(slot, minted)),
        1 => n().prop_map(Step::Notify),
        8 => prop::strategy::Just(Step::Read),
        16 => (acts, n()).prop_map(|(act, n)| Step::Server(act, n)),
        1 => prop::sample::select(vec![10, 60, 300, 20_000, 301_000]).prop_map(Step::Pass),
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
    token: Option<String>,
    method: &'static str,
    detail: &'static str,
    endings: usize,
}

struct World {
    bench: Bench,
    service: Service,
    slots: [Option<u64>; SLOTS],
    next_session: u64,
    sent: Vec<Sent>,
    up: bool,
    waiting: Vec<Waiting<To>>,
    // The server's side.
    largest: u64,
    works: BTreeMap<u64, Work>,
    asks: Vec<Ask>,
    /// Asks that reached nobody, by their ids: an error must come for each.
    refusals: BTreeMap<String, usize>,
    subscribed: BTreeSet<String>,
    level: Option<Level>,
    // What clients believe.
    granted: BTreeSet<(u64, &'static str)>,
    unsubscribed: HashMap<(u64, &'static str), usize>,
    levels: BTreeMap<u64, (usize, Level)>,
    /// A request for a level ended without an answer: whether it had an effect is not known.
    level_unknown: bool,
    minted: BTreeMap<u64, u64>,
}

impl World {
    fn new(service: Service) -> World {
        let mut bench = Bench::new(service);
        for session in 1..=3 {
            bench.close(session);
        }
        assert!(bench.mux.is_empty());
        World {
            bench,
            service,
            slots: [None; SLOTS],
            next_session: 1,
            sent: Vec::new(),
            up: true,
            waiting: Vec::new(),
            largest: 0,
            works: BTreeMap::new(),
            asks: Vec::new(),
            refusals: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            level: None,
            granted: BTreeSet::new(),
            unsubscribed: HashMap::new(),
            levels: BTreeMap::new(),
            level_unknown: false,
            minted: BTreeMap::new(),
        }
    }

    fn session(&self, slot: usize) -> Option<u64> {
        self.slots[slot % SLOTS]
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(slot) => {
                if self.session(slot).is_none() {
                    let session = self.next_session;
                    self.next_session += 1;
                    self.slots[slot % SLOTS] = Some(session);
                    self.bench.open(session);
                    let capabilities = if can_sample(session) {
                        r#"{"sampling":{}}"#
                    } else {
                        "{}"
                    };
                    self.bench.initialize(session, capabilities);
                }
            }
            Step::Close(slot) => self.close(slot),
            Step::Request {
                slot,
                id,
                method,
                token,
                detail,
            } => self.request(slot, id, method, token, detail),
            Step::Cancel(slot, n) => {
                if let Some(session) = self.session(slot).filter(|_| self.up) {
                    let open = |sent: &&Sent| sent.session == session && sent.endings == 0;
                    let own: Vec<&Sent> = self.sent.iter().filter(open).collect();
                    let id = own
                        .get(n % (own.len() + 1))
                        .map_or(IDS[n % IDS.len()], |sent| &sent.id);
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
                    );
                    self.bench.client(session, &text);
                }
            }
            Step::Answer(slot, minted) => {
                if let Some(session) = self.session(slot) {
                    self.bench.client(
                        session,
                        &format!(
                            r#"{{"jsonrpc":"2.0","id":{minted},"result":{{"from":{session}}}}}"#
                        ),
                    );
                }
            }
            Step::Notify(slot) => {
                if let Some(session) = self.session(slot).filter(|_| self.up) {
                    for token in ["1", "\"ask\""] {
                        self.bench.client(
                            session,
                            &format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"from":{session}}}}}"#),
                        );
                    }
                }
            }
            Step::Read => self.read(),
            Step::Server(act, n) if self.up => self.act(act, n),
            Step::Server(..) => {}
            Step::Pass(milliseconds) => {
                self.read();
                self.bench.pass(milliseconds);
                self.read();
                // A server that was told stops within a minute.
                let now = self.bench.now;
                self.works.retain(|_, work| {
                    let over = |at| now.duration_since(at) >= Duration::from_secs(60);
                    !work.cancelled.is_some_and(over)
                });
            }
            Step::Die(repeat) => {
                if std::mem::take(&mut self.up) {
                    self.works.clear();
                    self.asks.clear();
                    self.refusals.clear();
                    self.subscribed.clear();
                    self.level = None;
                    self.waiting = self.bench.end_generation(repeat);
                }
            }
            Step::Revive => self.revive(),
        }
        self.collect();
    }

    fn revive(&mut self) {
        if std::mem::replace(&mut self.up, true) {
            return;
        }
        assert_eq!(
            self.bench.out.outbox.len(),
            0,
            "said to a server that was gone"
        );
        self.bench.restore(true);
        for waiting in std::mem::take(&mut self.waiting) {
            self.pass_on(waiting);
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(session) = self.slots[slot % SLOTS].take() else {
            return;
        };
        // What waits for a server is the owner's to end.
        self.waiting.retain(|waiting| {
            let others = waiting.session != SessionKey(session);
            if !others {
                self.sent[serial_of(&waiting.address)].endings += 1;
            }
            others
        });
        self.bench.close(session);
        self.collect();
        self.granted.retain(|(of, _)| *of != session);
        self.levels.remove(&session);
        for sent in self.sent.iter().filter(|sent| sent.session == session) {
            assert_eq!(sent.endings, 1, "{sent:?}");
        }
    }

    fn request(&mut self, slot: usize, id: usize, method: usize, token: usize, detail: usize) {
        let Some(session) = self.session(slot) else {
            return;
        };
        let serial = self.sent.len();
        let id = IDS[id % IDS.len()];
        let token = TOKENS.get(token % (2 * TOKENS.len()));
        let method = METHODS[method % METHODS.len()];
        let detail = match method {
            "logging/setLevel" => LEVELS[detail % LEVELS.len()],
            _ => URIS[detail % URIS.len()],
        };
        let meta = token.map_or(String::new(), |token| {
            format!(r#","_meta":{{"progressToken":{token}}}"#)
        });
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"serial":{serial},"uri":"{detail}","level":"{detail}"{meta}}}}}"#
        );
        self.sent.push(Sent {
            session,
            id: id.to_owned(),
            token: token
                .filter(|token| **token != "null")
                .map(|token| (*token).to_owned()),
            method,
            detail,
            endings: 0,
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

    fn pass_on(&mut self, waiting: Waiting<To>) {
        let serial = serial_of(&waiting.address);
        let (now, out) = (self.bench.now, &mut self.bench.out);
        let from = out.deliveries.len();
        self.bench.mux.request(
            waiting.session,
            &waiting.message,
            waiting.address,
            waiting.repeated,
            now,
            out,
        );
        let refused =
            |(_, delivery): &(To, Delivery)| matches!(delivery.kind, DeliveryKind::Refusal(_));
        if out.deliveries[from..].iter().any(refused) {
            return;
        }
        let sent = &self.sent[serial];
        let about = (sent.session, sent.detail);
        if sent.method == "resources/unsubscribe" {
            self.granted.remove(&about);
            self.unsubscribed.insert(about, serial);
        }
    }

    /// Clients read what they were sent, which is to be theirs.
    fn collect(&mut self) {
        let deliveries = std::mem::take(&mut self.bench.out.deliveries);
        for (to, delivery) in deliveries {
            let kind = delivery.kind;
            let text = String::from_utf8(delivery.body.into_bytes().to_vec()).unwrap();
            let value: Value = serde_json::from_str(&text.replace("1e400", "\"1e400\"")).unwrap();
            if kind.ends_a_request() {
                self.ending(&to, kind, &text, &value);
                continue;
            }
            let live = self.slots.contains(&Some(to.0));
            assert!(live, "{text} for a session that is over");
            let params = &value["params"];
            match value["method"].as_str().unwrap() {
                "notifications/progress" => {
                    let sent = &self.sent[serial_of(&to)];
                    assert_eq!(params["serial"].as_u64(), to.1.parse().ok(), "{text}");
                    let token = format!(r#""progressToken":{},"#, sent.token.as_ref().unwrap());
                    assert!(
                        text.contains(&token) && sent.endings == 0,
                        "{text} for {sent:?}"
                    );
                }
                "notifications/message" => assert_eq!(params["session"], to.0, "{text} for {to:?}"),
                "notifications/tools/list_changed" | "notifications/cancelled" => {}
                "notifications/prompts/list_changed" | "notifications/resources/list_changed" => {}
                "sampling/createMessage" => {
                    assert_eq!((kind, self.service), (DeliveryKind::Request, ASKING));
                    let ask =
                        &mut self.asks[usize::try_from(params["ask"].as_u64().unwrap()).unwrap()];
                    assert_eq!((ask.session, ask.given_to), (to.0, None), "{text}");
                    assert!(can_sample(to.0));
                    ask.given_to = Some(to.0);
                    let minted = value["id"].as_u64().unwrap();
                    let before = self.minted.insert(to.0, minted);
                    assert!(before.is_none_or(|before| before < minted), "{text}");
                }
                method => panic!("{method} for {to:?}"),
            }
        }
    }

    fn ending(&mut self, to: &To, kind: DeliveryKind, text: &str, value: &Value) {
        let serial = serial_of(to);
        self.sent[serial].endings += 1;
        let sent = &self.sent[serial];
        assert_eq!(
            (sent.endings, sent.session),
            (1, to.0),
            "{text} for {sent:?}"
        );
        assert_eq!(message(text).id(), Some(sent.id.as_bytes()), "{text}");
        let answered = value.get("result").is_some();
        let mark = &value["result"]["serial"];
        assert!(
            mark.is_null() || mark.as_u64() == to.1.parse().ok(),
            "{text} for {to:?}"
        );
        let about = (sent.session, sent.detail);
        match sent.method {
            "resources/subscribe" if answered && self.wants_still(about, serial) => {
                self.granted.insert(about);
            }
            "logging/setLevel" if answered => {
                let newest = self
                    .levels
                    .get(&sent.session)
                    .is_none_or(|(at, _)| *at < serial);
                if newest {
                    self.levels
                        .insert(sent.session, (serial, level(sent.detail)));
                }
            }
            "logging/setLevel" if !matches!(kind, DeliveryKind::Refusal(_)) => {
                self.level_unknown = true
            }
            _ => {}
        }
    }

    /// Whether no unsubscription was sent since the subscription `serial`.
    fn wants_still(&self, about: (u64, &'static str), serial: usize) -> bool {
        self.unsubscribed.get(&about).is_none_or(|at| *at < serial)
    }

    /// Whether the server knows what the sessions rely on, once it has read everything.
    fn check_server(&mut self) {
        self.revive();
        self.read();
        for (session, uri) in &self.granted {
            assert!(
                self.subscribed.contains(*uri),
                "{session} is not subscribed to {uri}"
            );
        }
        let pending = |sent: &Sent| sent.endings == 0 && sent.method == "logging/setLevel";
        if self.level_unknown || self.sent.iter().any(pending) {
            return;
        }
        if let Some(wanted) = self.levels.values().map(|(_, level)| *level).min() {
            assert!(
                self.level.is_some_and(|level| level <= wanted),
                "{:?} {:?}",
                self.level,
                self.levels
            );
        }
    }

    fn end(&mut self) {
        self.check_server();
        for slot in 0..SLOTS {
            self.close(slot);
            self.check_server();
        }
        assert!(self.sent.iter().all(|sent| sent.endings == 1));
        assert!(self.refusals.values().all(|count| *count == 0));
        assert!(self.asks.iter().all(|ask| ask.over), "{:?}", self.asks);
        assert!(self.bench.mux.is_empty(), "{:?}", self.bench.mux);
        assert_eq!(self.subscribed, BTreeSet::new(), "still subscribed");
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
    fn each_request_is_answered_once_to_its_owner(steps in steps(), asks in any::<bool>()) {
        let mut world = World::new(if asks { ASKING } else { SHARED });
        for step in (0..SLOTS).map(Step::Open).chain(steps) {
            world.step(step);
        }
        world.end();
    }
}
