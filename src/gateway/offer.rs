//! What one server offers, kept up to date: listed when it is ready, again when it says that a list has changed or after a
//! restart. A server that is down keeps what it offered last, so that its tools are known by name; it is just not there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::server::{Asking, Health, Server};
use crate::bridge::{Mailbox, Reader};
use crate::jsonrpc::{ErrorObject, Message, array_elements, code, member, string_value};
use crate::mcp::ServerNotification;

/// Pages of a list that are followed before a server is taken to page for ever.
const MAX_PAGES: usize = 1000;
/// Bytes of one list, over all its pages.
const MAX_LIST: usize = 32 * 1024 * 1024;
/// A listing that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// From one listing to the next: a server may say that its lists change with each breath.
const REST: Duration = Duration::from_millis(500);

/// What a server offers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    /// What it listed last.
    pub(crate) listing: Arc<Listing>,
    /// Whether it is there, and if not, why.
    pub(crate) presence: Presence,
}

/// Whether a server is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has not been asked yet.
    #[default]
    Unknown,
    /// It is.
    There,
    /// It is not, for this reason.
    Down(String),
}

impl Offer {
    /// It is there, with these lists. Returns whether that is another offer.
    fn take(&mut self, listing: Listing) -> bool {
        let known = *self.listing == listing && self.presence == Presence::There;
        if !known {
            self.listing = Arc::new(listing);
            self.presence = Presence::There;
        }
        !known
    }
}

/// The lists of one server, each object as the server wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) tools: Vec<Bytes>,
    pub(crate) prompts: Vec<Bytes>,
    pub(crate) resources: Vec<Bytes>,
    pub(crate) templates: Vec<Bytes>,
    /// What it says to the model about itself.
    pub(crate) instructions: Option<String>,
}

/// Keeps `offer` up to date until dropped.
pub(crate) async fn keep(server: Server, offer: watch::Sender<Offer>) {
    let mut watcher = server.watch();
    loop {
        let health = watcher.now();
        match &health {
            Health::Ready(_) => tokio::select! {
                () = keep_listed(&server, &offer) => {}
                () = watcher.other_than(&health) => {}
            },
            Health::Starting => {
                // Who never was there may be there soon: whoever waits for the first listing waits for that.
                offer.send_if_modified(|offer| {
                    let was_there = offer.presence != Presence::Unknown;
                    if was_there {
                        offer.presence = Presence::Down("starting".to_owned());
                    }
                    was_there
                });
                watcher.other_than(&health).await;
            }
            Health::Down(why) => {
                absent(&offer, why.clone());
                watcher.other_than(&health).await;
            }
            Health::Gone => {
                absent(&offer, "stopped".to_owned());
                watcher.other_than(&health).await;
            }
        }
    }
}

fn absent(offer: &watch::Sender<Offer>, why: String) {
    offer.send_modify(|offer| offer.presence = Presence::Down(why));
}

/// Lists, and lists again whenever something has changed.
async fn keep_listed(server: &Server, offer: &watch::Sender<Offer>) {
    // A budget of its own: what clients don't read must not cost the news.
    let outlet = Mailbox::new(&Arc::default());
    let mut news = outlet.reader();
    let asking = Asking::new(server.open_own(outlet));
    let mut listed = false;
    loop {
        let began = Instant::now();
        match list(server, &asking).await {
            Ok(listing) => {
                listed = true;
                offer.send_if_modified(|offer| offer.take(listing));
            }
            Err(error) => {
                tracing::warn!(
                    bridge = server.name(),
                    error = error.message,
                    "failed to list what a server offers, trying again"
                );
                // One that listed them before may be merely busy.
                if !listed {
                    let why = format!("its tools can't be listed: {}", error.message);
                    absent(offer, why);
                }
                sleep(AGAIN).await;
                continue;
            }
        }
        if !a_list_has_changed(&mut news).await {
            return;
        }
        sleep_until(began + REST).await;
        // What was said until now is heard with one listing.
        while has_news(&mut news).await {}
    }
}

/// Whether something is there, which is taken.
async fn has_news(news: &mut Reader) -> bool {
    tokio::select! {
        biased;
        delivery = news.next() => delivery.is_some(),
        () = std::future::ready(()) => false,
    }
}

/// Waits for the news that a list has changed; `false` when there will be none.
async fn a_list_has_changed(news: &mut Reader) -> bool {
    while let Some(delivery) = news.next().await {
        let text = delivery.body.into_bytes();
        let changed = Message::parse(text).is_ok_and(|message| {
            matches!(
                ServerNotification::of(&message.method()),
                ServerNotification::ListChanged(_)
            )
        });
        if changed {
            return true;
        }
    }
    false
}

async fn list(server: &Server, asking: &Asking) -> Result<Listing, ErrorObject> {
    let handshake = match server.handshake() {
        Some(known) => known,
        None => asking.begin().await?,
    };
    let capabilities = member(&handshake, "capabilities").map(|span| span.of(&handshake));
    let capability = |name| {
        let value = capabilities.and_then(|all| member(all, name).map(|span| span.of(all)));
        value.filter(|value| *value != b"null")
    };
    let mut listing = Listing {
        tools: pages(asking, "tools/list", "tools").await?,
        instructions: member(&handshake, "instructions")
            .and_then(|span| string_value(span.of(&handshake)))
            .map(|text| text.into_owned())
            .filter(|text| !text.trim().is_empty()),
        ..Listing::default()
    };
    if capability("prompts").is_some() {
        listing.prompts = pages(asking, "prompts/list", "prompts").await?;
    }
    if capability("resources").is_some() {
        listing.resources = pages(asking, "resources/list", "resources").await?;
        listing.templates = pages(asking, "resources/templates/list", "resourceTemplates").await?;
    }
    Ok(listing)
}

/// Every object of a list, all pages. A server without the method has an empty one.
async fn pages(asking: &Asking, method: &str, list: &str) -> Result<Vec<Bytes>, ErrorObject> {
    let mut all = Vec::new();
    let mut params = "{}".to_owned();
    let mut size = 0;
    for _ in 0..MAX_PAGES {
        let result = match asking.ask(method, &params).await {
            Err(error) if error.code == code::METHOD_NOT_FOUND => return Ok(all),
            result => result?,
        };
        size += result.len();
        if size > MAX_LIST {
            let text = format!("the server's {method} has more than {MAX_LIST} bytes");
            return Err(ErrorObject::new(code::TOO_LARGE, text));
        }
        let span = member(&result, list).ok_or_else(|| {
            let text = format!("the server's {method} result has no {list}");
            ErrorObject::new(code::INTERNAL_ERROR, text)
        })?;
        let elements = array_elements(span.of(&result)).unwrap_or_default();
        all.extend(
            elements
                .into_iter()
                .map(|element| element.inside(span).slice(&result)),
        );
        let cursor = member(&result, "nextCursor")
            .map(|span| String::from_utf8_lossy(span.of(&result)).into_owned())
            .filter(|cursor| cursor != "null");
        match cursor {
            Some(cursor) => params = format!(r#"{{"cursor":{cursor}}}"#),
            None => return Ok(all),
        }
    }
    let text = format!("the server's {method} has more than {MAX_PAGES} pages");
    Err(ErrorObject::new(code::INTERNAL_ERROR, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::{Delivery, DeliveryKind};

    #[test]
    fn the_same_lists_again_are_no_other_offer() {
        let listing = |tool: &'static str| Listing {
            tools: vec![Bytes::from_static(tool.as_bytes())],
            ..Listing::default()
        };
        let mut offer = Offer::default();
        assert!(offer.take(listing("{}")));
        assert!(!offer.take(listing("{}")));
        assert!(offer.take(listing("[]")));
        offer.presence = Presence::Down("gone".to_owned());
        assert!(offer.take(listing("[]")), "it is back");
    }

    #[tokio::test]
    async fn a_burst_of_changes_is_heard_once() {
        let outlet = Mailbox::new(&Arc::default());
        let mut news = outlet.reader();
        let text = br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let tell = || {
            outlet.push(Delivery {
                kind: DeliveryKind::Notification,
                body: Bytes::from_static(text).into(),
            })
        };
        for _ in 0..100 {
            tell();
        }
        assert!(a_list_has_changed(&mut news).await);
        while has_news(&mut news).await {}
        assert_eq!(outlet.queued_bytes(), 0);
        tell();
        assert!(a_list_has_changed(&mut news).await, "later news is news");
        outlet.close();
        assert!(!has_news(&mut news).await);
    }
}
