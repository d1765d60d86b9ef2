//! The requests of one session that are not answered, by the ids that its client gave them.

use crate::jsonrpc::RequestId;

/// A list, because there are few: most sessions have one or two, and none has more than
/// [`super::MAX_IN_FLIGHT_PER_SESSION`].
#[derive(Debug, Default)]
pub(super) struct InFlight(Vec<(RequestId, u64)>);

impl InFlight {
    /// The request `id` goes to the server as `k`, maybe once more.
    pub(super) fn insert(&mut self, id: RequestId, k: u64) {
        match self.position(id.as_bytes()) {
            Some(at) => self.0[at].1 = k,
            None => self.0.push((id, k)),
        }
    }

    /// What the request `id` is called at the server.
    pub(super) fn get(&self, id: &[u8]) -> Option<u64> {
        self.0[self.position(id)?].1.into()
    }

    /// The request `id` is over.
    pub(super) fn remove(&mut self, id: &RequestId) {
        if let Some(at) = self.position(id.as_bytes()) {
            self.0.swap_remove(at);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What all are called at the server, the oldest first.
    pub(super) fn in_order(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.at_server().collect();
        all.sort_unstable();
        all
    }

    /// The same in any order.
    pub(super) fn at_server(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(_, k)| *k)
    }

    fn position(&self, id: &[u8]) -> Option<usize> {
        self.0.iter().position(|(known, _)| known.as_bytes() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_found_until_it_is_over() {
        let mut requests = InFlight::default();
        let ids: Vec<_> = (1..=5)
            .map(|n| RequestId::new(format!("\"{n}\"").as_bytes()))
            .collect();
        for (id, k) in ids.iter().zip([50, 10, 40, 20, 30]) {
            requests.insert(id.clone(), k);
        }
        requests.insert(ids[0].clone(), 60);
        requests.remove(&ids[1]);
        requests.remove(&ids[1]);
        requests.remove(&RequestId::new(b"1"));
        assert_eq!(requests.len(), 4);
        assert_eq!(requests.get(b"\"5\""), Some(30));
        assert_eq!(requests.get(b"\"2\""), None);
        assert_eq!(requests.in_order(), [20, 30, 40, 60]);
    }
}
