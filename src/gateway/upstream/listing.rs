//! What a provider lists, asked for by one at a time and kept for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;

use super::endpoint::Endpoint;

/// How long a list is believed.
const FRESH: Duration = Duration::from_secs(60);
/// How long a provider is left alone that had no list.
const REST: Duration = Duration::from_secs(5);

/// The models of a `*` entry.
#[derive(Debug)]
pub(super) struct Listing {
    endpoint: Arc<Endpoint>,
    kept: Mutex<Option<Kept>>,
    /// Held by whoever asks; the others wait for what comes of it.
    asking: Semaphore,
}

/// What one question brought; `None` when the provider can't be reached or has no list.
type Models = Option<Arc<Vec<Map<String, Value>>>>;

#[derive(Debug, Clone)]
struct Kept {
    models: Models,
    until: Instant,
}

impl Listing {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Listing {
        Listing {
            endpoint,
            kept: Mutex::new(None),
            asking: Semaphore::new(1),
        }
    }

    /// The models, `None` if they can't be had. A dropped future leaves asking to the next one.
    pub(super) async fn models(&self) -> Models {
        if let Some(kept) = self.kept() {
            return kept.models;
        }
        let turn = self.asking.acquire().await;
        let _turn = turn.expect("nobody closes the semaphore");
        if let Some(kept) = self.kept() {
            return kept.models;
        }
        let who = format!("the provider of `*` at {}", self.endpoint.host());
        let models = match self.endpoint.list(&who).await {
            Ok(models) => Some(Arc::new(models)),
            Err(failure) => {
                warn!(error = %failure.error, "failed to list a provider's models");
                None
            }
        };
        let lasting = if models.is_some() { FRESH } else { REST };
        let kept = Kept {
            models: models.clone(),
            until: Instant::now() + lasting,
        };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        models
    }

    fn kept(&self) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone().filter(|kept| Instant::now() < kept.until)
    }
}
