//! The events of a stream that can be resumed: those with data, and from where to go on.

use std::time::Duration;

use bytes::Bytes;

use crate::transport::events;

/// One event that carries data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty for the default, `message`.
    pub(super) name: String,
    /// Its `data` lines, joined by a newline.
    pub(super) data: Bytes,
}

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(super) struct Events {
    events: events::Events,
    last_id: Option<Vec<u8>>,
    retry: Option<Duration>,
}

impl Events {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.events.push(bytes);
    }

    /// The oldest event that is whole. One without a byte of data only primes a resumption.
    pub(super) fn pop(&mut self) -> Option<Event> {
        while let Some(event) = self.events.pop() {
            self.retry = event.retry.or(self.retry);
            if let Some(id) = event.id {
                // An empty one says that there is nothing to resume from.
                self.last_id = Some(id).filter(|id| !id.is_empty());
            }
            if let Some(data) = event.data.filter(|data| !data.is_empty()) {
                let name = event.name.unwrap_or_default();
                let data = data.into();
                return Some(Event { name, data });
            }
        }
        None
    }

    /// Nothing yet, on a stream that continues this one.
    pub(super) fn resumed(&self) -> Self {
        Self {
            last_id: self.last_id.clone(),
            retry: self.retry,
            ..Self::default()
        }
    }

    /// The id of the last event that was taken and had one; from there the stream can be resumed.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        self.last_id.as_deref()
    }

    /// How long to wait before that, if the server said so.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Bytes of the event that is not whole yet.
    pub(super) fn pending(&self) -> usize {
        self.events.pending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_with_data_come_out_and_all_that_are_whole_count_for_a_resumption() {
        let mut events = Events::default();
        events.push(
            b"id: 1\nretry: 20\ndata:\n\nid: 2\nevent: endpoint\ndata: /m\n\nid: 3\n\nid: cut\n",
        );
        let event = events.pop().unwrap();
        assert_eq!(
            (event.name.as_str(), &event.data[..]),
            ("endpoint", &b"/m"[..])
        );
        assert_eq!(events.last_id(), Some(&b"2"[..]));
        assert_eq!(events.pop(), None);
        assert_eq!(events.last_id(), Some(&b"3"[..]));
        assert_eq!(events.retry(), Some(Duration::from_millis(20)));
        assert_eq!(events.resumed().last_id(), Some(&b"3"[..]));
    }
}
