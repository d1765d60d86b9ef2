//! The way to the collector: one POST, and what its failure means (OTLP § OTLP/HTTP Response, § Retryable Response Codes).

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode};

use super::settings::Target;
use crate::transport::outward;

/// A collector that asks for a longer pause doesn't get it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where records go.
#[derive(Debug)]
pub(super) struct Collector {
    http: Client,
    target: Target,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Another attempt may go better.
    #[error("{reason}")]
    Passing {
        /// In words.
        reason: String,
        /// When the collector wants it.
        retry_after: Option<Duration>,
    },
    /// It would not.
    #[error("it answered {0}")]
    Refused(StatusCode),
}

impl Collector {
    /// # Errors
    /// What is wrong with the certificates, or with TLS here.
    pub(super) fn new(target: Target) -> Result<Collector, String> {
        outward::install_tls();
        let mut builder = Client::builder()
            .user_agent(concat!("mcp-bridged/", env!("CARGO_PKG_VERSION")))
            .timeout(target.timeout)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &target.certificate {
            let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let pem = std::fs::read(file).map_err(|error| named(&error))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| named(&error))?;
            builder = builder.tls_certs_only(certificates);
        } else if target.url.scheme() != "https" {
            // Spares looking for certificates, which a small container may not have.
            builder = builder.tls_certs_only([]);
        }
        if outward::is_loopback(&target.url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| error.to_string())?;
        Ok(Collector { http, target })
    }

    /// Sends one export request.
    ///
    /// # Errors
    /// [`Failure`], after at most the time that an export has.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<(), Failure> {
        let request = self
            .http
            .post(self.target.url.clone())
            .headers(self.target.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let mut response = request.send().await.map_err(|error| Failure::Passing {
            reason: cause(&error),
            retry_after: None,
        })?;
        let status = response.status();
        // Reading to the end lets the connection be used again; how many were rejected is the collector's affair.
        while let Ok(Some(_)) = response.chunk().await {}
        if status.is_success() {
            return Ok(());
        }
        if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Err(Failure::Refused(status));
        }
        let seconds = response.headers().get(RETRY_AFTER);
        let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Failure::Passing {
            reason: format!("it answered {status}"),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
        })
    }
}

/// The innermost reason; the outer ones repeat the URL, in which a key may stand.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    let mut source = error.source();
    let mut text = None;
    while let Some(inner) = source {
        text = Some(inner.to_string());
        source = inner.source();
    }
    text.unwrap_or_else(|| "the request could not be sent".to_owned())
}
