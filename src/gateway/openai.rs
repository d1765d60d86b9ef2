//! OpenAI's wire: its errors, and what a handler gives back.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// The HTTP status, where the response has not begun.
    pub(crate) status: StatusCode,
    /// `error.type`.
    pub(crate) kind: &'static str,
    /// `error.code`.
    pub(crate) code: Option<&'static str>,
    /// `error.param`: the member of the request that is wrong.
    pub(crate) param: Option<Box<str>>,
    /// `error.message`.
    pub(crate) message: String,
    /// The error object of an upstream, passed on as it came. Boxed, so that results stay small.
    pub(crate) passed: Option<Box<Value>>,
    /// When it makes sense to try again.
    pub(crate) retry_after: Option<Duration>,
    /// The methods that the path has, for 405.
    pub(crate) allow: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            passed: None,
            retry_after: None,
            allow: None,
        }
    }

    /// 400: the request, at `param`, can't be served.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError {
            param: Some(param.into().into()),
            ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
        }
    }

    /// 401: a key is missing, or not one of ours.
    pub(crate) fn unauthorized(message: impl Into<String>) -> ApiError {
        ApiError {
            code: Some("invalid_api_key"),
            ..ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message)
        }
    }

    /// 403: the key may not do this.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code: Some(code),
            ..ApiError::new(StatusCode::FORBIDDEN, "permission_error", message)
        }
    }

    /// 404: there is no such thing.
    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code: Some(code),
            ..ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
        }
    }

    /// 502: the model's provider failed, in a way that is not the client's fault.
    pub(crate) fn upstream(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code: Some(code),
            ..ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", message)
        }
    }

    /// 504: `deadline` is over.
    pub(crate) fn deadline(message: impl Into<String>) -> ApiError {
        ApiError {
            code: Some("deadline_exceeded"),
            ..ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", message)
        }
    }

    /// 503: too much at once, or the gateway is stopping.
    pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> ApiError {
        ApiError {
            retry_after: Some(retry_after),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        }
    }

    /// An upstream's own answer that is the client's business, such as 400, 404 or 429.
    pub(crate) fn passed(
        status: StatusCode,
        error: Value,
        retry_after: Option<Duration>,
    ) -> ApiError {
        let message = error.get("message").and_then(Value::as_str);
        ApiError {
            message: message
                .unwrap_or("the model's provider refused the request")
                .to_owned(),
            passed: Some(Box::new(error)),
            retry_after,
            ..ApiError::new(status, "invalid_request_error", "")
        }
    }

    /// The same with another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> ApiError {
        self.status = status;
        self
    }

    /// The object under `error`.
    pub(crate) fn object(&self) -> Value {
        match &self.passed {
            Some(error) => Value::clone(error),
            None => {
                json!({ "message": self.message, "type": self.kind, "param": self.param, "code": self.code })
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.object() }))).into_response();
        let headers = response.headers_mut();
        if let Some(delay) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
