//! Who subscribed to which resource, so that the server hears of the first subscription to a URI and of the last one's end.
//!
//! A subscription that is on its way to the server is held too: while one is, nobody else's end may take it away. A server
//! handles what it reads in order, so an unsubscription that follows a subscription undoes it, answered or not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::SessionKey;

/// Bytes of a URI that can be subscribed to; it is kept as long as the subscription.
pub(crate) const MAX_URI: usize = 4096;
/// URIs that one session may be subscribed to.
const MAX_PER_SESSION: usize = 1000;
/// URIs that all sessions of an instance together may be subscribed to.
const MAX_IN_ALL: usize = 10_000;

/// The subscriptions of one instance.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    uris: HashMap<Arc<str>, Resource>,
    sessions: HashMap<SessionKey, HashSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct Resource {
    holders: BTreeMap<SessionKey, Hold>,
    /// The server may be sending updates, whatever becomes of the holders.
    perhaps_live: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Hold {
    /// By the requests with these ids, which are not answered yet.
    Asked(Vec<u64>),
    /// The server said yes.
    Granted,
}

impl Subscriptions {
    /// Whether `session` may subscribe to one more URI, `uri`.
    ///
    /// # Errors
    /// The limit that is reached, in words.
    pub(crate) fn admits(&self, session: SessionKey, uri: &str) -> Result<(), String> {
        let own = self.sessions.get(&session);
        if own.is_some_and(|own| own.contains(uri)) {
            return Ok(());
        }
        if own.is_some_and(|own| own.len() >= MAX_PER_SESSION) {
            return Err(format!(
                "this session has {MAX_PER_SESSION} subscriptions already"
            ));
        }
        if self.uris.len() >= MAX_IN_ALL && !self.uris.contains_key(uri) {
            return Err(format!(
                "the sessions of this server have {MAX_IN_ALL} subscriptions already"
            ));
        }
        Ok(())
    }

    /// Lets `session` share a subscription that the server has granted; false when there is none.
    pub(crate) fn join(&mut self, session: SessionKey, uri: &Arc<str>) -> bool {
        let Some(resource) = self.uris.get_mut(uri) else {
            return false;
        };
        if !resource.holders.values().any(|hold| *hold == Hold::Granted) {
            return false;
        }
        resource.holders.insert(session, Hold::Granted);
        self.note(session, uri.clone());
        true
    }

    /// The request `k` of `session` is on its way.
    pub(crate) fn asked(&mut self, session: SessionKey, uri: &Arc<str>, k: u64) {
        let resource = self.uris.entry(uri.clone()).or_default();
        let nothing = || Hold::Asked(Vec::new());
        if let Hold::Asked(by) = resource.holders.entry(session).or_insert_with(nothing) {
            by.push(k);
        }
        self.note(session, uri.clone());
    }

    fn note(&mut self, session: SessionKey, uri: Arc<str>) {
        self.sessions.entry(session).or_default().insert(uri);
    }

    /// The server said yes to request `k`. A session that has given the subscription up since has none all the same.
    pub(crate) fn granted(&mut self, session: SessionKey, uri: &str, k: u64) {
        if let Some(resource) = self.uris.get_mut(uri) {
            resource.perhaps_live = true;
            if let Some(hold) = resource.holders.get_mut(&session)
                && matches!(hold, Hold::Asked(by) if by.contains(&k))
            {
                *hold = Hold::Granted;
            }
        }
    }

    /// The server said no to request `k`. Returns whether it is to be told that nobody is subscribed any more.
    #[must_use]
    pub(crate) fn refused(&mut self, session: SessionKey, uri: &str, k: u64) -> bool {
        let resource = self.uris.get(uri);
        let live = resource.is_some_and(|resource| resource.perhaps_live);
        self.forget(session, uri, k) && live
    }

    /// Request `k` was given up, and what the server makes of it will not be known. Returns whether the server is to be
    /// told that nobody is subscribed.
    #[must_use]
    pub(crate) fn given_up(&mut self, session: SessionKey, uri: &str, k: u64) -> bool {
        if let Some(resource) = self.uris.get_mut(uri) {
            resource.perhaps_live = true;
        }
        self.forget(session, uri, k)
    }

    /// Returns whether the last hold is gone with request `k`.
    fn forget(&mut self, session: SessionKey, uri: &str, k: u64) -> bool {
        let resource = self.uris.get_mut(uri);
        let hold = resource.and_then(|resource| resource.holders.get_mut(&session));
        let Some(Hold::Asked(by)) = hold else {
            return false;
        };
        let before = by.len();
        by.retain(|asked| *asked != k);
        let last = before > by.len() && by.is_empty();
        last && self.remove(session, uri)
    }

    /// `session` gives its subscription up. Returns whether nobody else has one, so that the server is to be told.
    #[must_use]
    pub(crate) fn leave(&mut self, session: SessionKey, uri: &str) -> bool {
        self.remove(session, uri) || !self.uris.contains_key(uri)
    }

    /// Returns whether the last holder is gone with `session`.
    fn remove(&mut self, session: SessionKey, uri: &str) -> bool {
        if let Some(own) = self.sessions.get_mut(&session) {
            own.remove(uri);
            if own.is_empty() {
                self.sessions.remove(&session);
            }
        }
        let Some(resource) = self.uris.get_mut(uri) else {
            return false;
        };
        let held = resource.holders.remove(&session).is_some();
        if resource.holders.is_empty() {
            self.uris.remove(uri);
        }
        held && !self.uris.contains_key(uri)
    }

    /// `session` is over. Returns the URIs that nobody is subscribed to any more.
    #[must_use]
    pub(crate) fn close(&mut self, session: SessionKey) -> Vec<Arc<str>> {
        let own = self.sessions.remove(&session).unwrap_or_default();
        own.into_iter()
            .filter(|uri| self.remove(session, uri))
            .collect()
    }

    /// The server is gone, and with it the requests that were on their way.
    pub(crate) fn generation_ended(&mut self) {
        for (uri, resource) in &mut self.uris {
            resource.perhaps_live = false;
            resource.holders.retain(|session, hold| {
                let stays = *hold == Hold::Granted;
                if !stays && let Some(own) = self.sessions.get_mut(session) {
                    own.remove(uri);
                }
                stays
            });
        }
        self.uris.retain(|_, resource| !resource.holders.is_empty());
        self.sessions.retain(|_, own| !own.is_empty());
    }

    /// Bytes of all URIs, `uri` among them.
    pub(crate) fn length_with(&self, uri: &str) -> usize {
        let others = self.uris.keys().filter(|other| &***other != uri);
        others.map(|other| other.len()).sum::<usize>() + uri.len()
    }

    /// Every URI, for the next generation.
    pub(crate) fn uris(&self) -> Vec<Arc<str>> {
        self.uris.keys().cloned().collect()
    }

    /// The URIs that the server has said yes to.
    pub(crate) fn granted_uris(&self) -> Vec<Arc<str>> {
        let granted =
            |resource: &Resource| resource.holders.values().any(|hold| *hold == Hold::Granted);
        let uris = self.uris.iter().filter(|(_, resource)| granted(resource));
        uris.map(|(uri, _)| uri.clone()).collect()
    }

    /// The sessions to be told of an update of `uri`: its subscribers, or when there are none those of the nearest
    /// resource above it (an update "might be a sub-resource of the one that the client actually subscribed to", MCP
    /// 2025-11-25, schema).
    pub(crate) fn subscribers(&self, uri: &str) -> impl Iterator<Item = SessionKey> {
        self.nearest(uri).into_iter().flat_map(|resource| {
            let granted = |(session, hold): (&SessionKey, &Hold)| {
                (*hold == Hold::Granted).then_some(*session)
            };
            resource.holders.iter().filter_map(granted)
        })
    }

    fn nearest(&self, uri: &str) -> Option<&Resource> {
        if self.uris.is_empty() || uri.len() > MAX_URI {
            return None;
        }
        let exact = self.uris.get(uri);
        exact.or_else(|| {
            let cuts = uri.match_indices(['/', '?', '#']).map(|(at, _)| at).rev();
            cuts.flat_map(|at| [at + 1, at])
                .find_map(|end| self.uris.get(&uri[..end]))
        })
    }
}

#[cfg(test)]
impl Subscriptions {
    pub(super) fn is_empty(&self) -> bool {
        self.uris.is_empty() && self.sessions.is_empty()
    }
}
