//! What one server offers, kept up to date: listed when it is ready, again when it says that a list has changed or after a
//! restart. A server that is down keeps what it offered last, so that its tools are known by name; it is just not there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::server::{Asking, Health, Server};
use crate::bridge::{Budget, Mailbox, Reader};
use crate::jsonrpc::{ErrorObject, Message, array_elements, code, member, string_value};
use crate::mcp::ServerNotification;

/// Pages of a list that are followed before a server is taken to page for ever.
const MAX_PAGES: usize = 1000;
/// Bytes of one list, over all its pages.
const MAX_LIST: usize = 32 * 1024 * 1024;
/// A listing that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

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
pub(crate) async fn keep(server: Server, budget: Arc<Budget>, offer: watch::Sender<Offer>) {
    let mut watcher = server.watch();
    loop {
        let health = watcher.now();
        match &health {
            Health::Ready(_) => tokio::select! {
                () = keep_listed(&server, &budget, &offer) => {}
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
async fn keep_listed(server: &Server, budget: &Arc<Budget>, offer: &watch::Sender<Offer>) {
    let outlet = Mailbox::new(budget);
    let mut news = outlet.reader();
    let asking = Asking::new(server.open_own(outlet));
    let mut listed = false;
    loop {
        match list(server, &asking).await {
            Ok(listing) => {
                listed = true;
                offer.send_modify(|offer| {
                    if *offer.listing != listing {
                        offer.listing = Arc::new(listing);
                    }
                    offer.presence = Presence::There;
                });
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
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        if !a_list_has_changed(&mut news).await {
            return;
        }
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
        let part = |start: u32, end: u32| {
            result.slice((span.start + start) as usize..(span.start + end) as usize)
        };
        all.extend(
            elements
                .into_iter()
                .map(|element| part(element.start, element.end)),
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
