//! Ids of a response and its items: unguessable, and the same for an item from its first event to its last.

/// The ids of one response.
#[derive(Debug)]
pub(super) struct Ids {
    base: u128,
    next: u32,
}

impl Ids {
    /// Ids that nobody has had yet.
    pub(super) fn random() -> Ids {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .expect("the system's random generator works from early boot on");
        Ids::from(u128::from_ne_bytes(bytes))
    }

    /// The id of the response.
    pub(super) fn response(&self) -> String {
        format!("resp_{:032x}", self.base)
    }

    /// An id for the next item.
    pub(super) fn item(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}_{:032x}{:04x}", self.base, self.next)
    }
}

impl From<u128> for Ids {
    fn from(base: u128) -> Ids {
        Ids { base, next: 0 }
    }
}

/// The id of the response that has the item of this id, if it is one of ours.
pub(super) fn response_of(item: &str) -> Option<String> {
    let (_, digits) = item.split_once('_')?;
    Some(format!("resp_{}", digits.get(..32)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_tells_its_response() {
        let mut ids = Ids::random();
        let (first, second) = (ids.item("msg"), ids.item("mcp"));
        assert_ne!(first, second);
        assert_eq!(response_of(&first), Some(ids.response()));
        assert_eq!(response_of(&second), Some(ids.response()));
        assert_eq!(response_of("msg_1"), None);
    }
}
