//! The handshake with a server: what the bridge says once, and what every later client is answered.
//!
//! MCP 2025-11-25, Lifecycle § Initialization. A shared server is initialised once by the bridge; the raw result is kept
//! and answers every client, with the revision negotiated and the promises taken out that a shared instance can't keep.
//! What a modern server tells of itself instead (MCP 2026-07-28, Discovery) makes such a result too.

use bytes::Bytes;

use crate::jsonrpc::{
    Edit, ErrorObject, Message, Span, code, member, single_line, splice, string_value,
};
use crate::mcp::era::server::{Versions, initialize_result};
use crate::mcp::{Era, MODERN, Version, hide_tasks};

/// A server's answer to `initialize`, or what stands for it.
#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    /// The revisions that a modern server speaks.
    modern: Option<Versions>,
    result: Bytes,
    version: Box<str>,
    /// The result for clients of a shared instance, and where its revision stands.
    shared: (Bytes, Span),
}

impl Handshake {
    /// Reads the answer to `initialize`.
    ///
    /// # Errors
    /// In words, when it is an error or no initialize result.
    pub(crate) fn read(answer: &Message) -> Result<Handshake, String> {
        let Some(result) = answer.result() else {
            let error = answer.part(answer.envelope().error).unwrap_or_default();
            return Err(format!(
                "it answered initialize with the error {}",
                String::from_utf8_lossy(error)
            ));
        };
        // The result is kept for the life of the generation: not as a part of a larger read buffer.
        let result = Bytes::copy_from_slice(&result);
        let (_, version) = version_of(&result)?;
        let shared = hide_tasks(&result).map_or_else(|| result.clone(), Bytes::from);
        let (shared_span, _) = version_of(&shared)?;
        Ok(Handshake {
            modern: None,
            version: version.into(),
            shared: (shared, shared_span),
            result,
        })
    }

    /// What a modern server says of itself in the `result` of `server/discover`; one without a name gets `name`.
    pub(crate) fn discovered(result: &[u8], versions: Versions, name: &str) -> Handshake {
        let result = Bytes::from(initialize_result(result, name));
        let shared = hide_tasks(&result).map_or_else(|| result.clone(), Bytes::from);
        let (span, version) = version_of(&shared).expect("it was just put there");
        Handshake {
            modern: Some(versions),
            version: version.into(),
            shared: (shared, span),
            result,
        }
    }

    /// The era of the server.
    pub(crate) fn era(&self) -> Era {
        self.modern.as_ref().map_or(Era::Legacy, |_| Era::Modern)
    }

    /// The revision that is spoken with the server.
    pub(crate) fn spoken(&self) -> &str {
        self.modern.as_ref().map_or(&self.version, |_| MODERN)
    }

    /// The JSON array of the revisions that a modern server speaks, as it wrote it.
    pub(crate) fn supported_versions(&self) -> Option<&Bytes> {
        self.modern.as_ref().map(Versions::text)
    }

    /// `serverInfo.name` and `serverInfo.version`.
    pub(crate) fn server_info(&self) -> Option<(String, String)> {
        let info = member(&self.result, "serverInfo")?.of(&self.result);
        let text = |key| {
            member(info, key)
                .and_then(|span| string_value(span.of(info)))
                .unwrap_or_default()
        };
        Some((text("name").into_owned(), text("version").into_owned()))
    }

    /// Whether the server declared the capability `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        member(&self.result, "capabilities")
            .is_some_and(|span| member(span.of(&self.result), name).is_some())
    }

    /// Whether it declared that it tells when its list of that kind changes.
    pub(crate) fn tells_of(&self, kind: &str) -> bool {
        let part = |text: &[u8], key| Some(member(text, key)?.of(text).to_vec());
        part(&self.result, "capabilities")
            .and_then(|capabilities| part(&capabilities, kind))
            .and_then(|capability| part(&capability, "listChanged"))
            .is_some_and(|declared| declared == b"true")
    }

    /// The answer to a client of the shared instance that offers the revision `offered`, under its `id`; and the
    /// revision agreed on.
    pub(crate) fn answer(&self, id: &[u8], offered: &str) -> (Bytes, String) {
        let agreed = Version::negotiate(offered, &self.version);
        let (result, span) = &self.shared;
        let mut text = Vec::with_capacity(result.len() + id.len() + 48);
        text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        text.extend_from_slice(id);
        text.extend_from_slice(br#","result":"#);
        if agreed == &*self.version {
            text.extend_from_slice(result);
        } else {
            splice(
                &mut text,
                result,
                &mut [Edit {
                    span: *span,
                    with: format!("\"{agreed}\"").as_bytes(),
                }],
            );
        }
        text.push(b'}');
        (text.into(), agreed.to_owned())
    }
}

fn version_of(result: &[u8]) -> Result<(Span, String), String> {
    let span =
        member(result, "protocolVersion").ok_or("its initialize result has no protocolVersion")?;
    let version = string_value(span.of(result))
        .ok_or("the protocolVersion of its initialize result is no string")?;
    Ok((span, version.into_owned()))
}

/// What the bridge says of itself in `initialize`.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    /// What can be asked of whoever is behind it, as JSON.
    pub(crate) capabilities: Bytes,
    /// The client's own name and version, as JSON.
    pub(crate) client: Option<Bytes>,
}

impl Hello {
    /// For an instance of many clients; with `asks` it says that roots, sampling and elicitation can be routed to one.
    pub(crate) fn shared(asks: bool) -> Hello {
        let capabilities: &[u8] = if asks {
            br#"{"roots":{},"sampling":{},"elicitation":{}}"#
        } else {
            b"{}"
        };
        Hello {
            capabilities: Bytes::from_static(capabilities),
            client: None,
        }
    }

    /// The `initialize` request under the id `id`.
    pub(crate) fn request(&self, id: u64) -> String {
        let capabilities = String::from_utf8_lossy(&self.capabilities);
        let client = self.client.as_ref().map_or_else(
            || {
                let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
                format!(r#"{{"name":"{name}","version":"{version}"}}"#)
            },
            |client| String::from_utf8_lossy(client).into_owned(),
        );
        let version = Version::LATEST.name();
        let mut text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{client}}}}}"#,
        )
        .into_bytes();
        // What a client wrote may be spread over lines.
        single_line(&mut text);
        String::from_utf8(text).expect("blanks in the place of line breaks keep it UTF-8")
    }
}

/// The revision that a client's `initialize` offers.
///
/// # Errors
/// The JSON-RPC error that it deserves when there is none.
pub(crate) fn offered_version(initialize: &Message) -> Result<String, ErrorObject> {
    let params = initialize
        .part(initialize.envelope().params)
        .unwrap_or_default();
    member(params, "protocolVersion")
        .and_then(|span| string_value(span.of(params)))
        .map(|version| version.into_owned())
        .ok_or_else(|| {
            ErrorObject::new(
                code::INVALID_PARAMS,
                "initialize needs params.protocolVersion, a string",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_raw_result_with_its_own_revision() {
        let answer = br#"{"jsonrpc":"2.0","id":0,"result":{"x":1.0,"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{}},"instructions":"\ud800"}}"#;
        let handshake =
            Handshake::read(&Message::parse(Bytes::from_static(answer)).unwrap()).unwrap();
        let (text, agreed) = handshake.answer(b"\"0\"", "2024-11-05");
        let want = br#"{"jsonrpc":"2.0","id":"0","result":{"x":1.0,"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"instructions":"\ud800"}}"#;
        assert_eq!(text, want.as_slice());
        assert_eq!(agreed, "2024-11-05");
        assert!(handshake.has("tools") && !handshake.has("logging"));
    }

    #[test]
    fn an_error_is_no_handshake() {
        let answer = br#"{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"no"}}"#;
        let error =
            Handshake::read(&Message::parse(Bytes::from_static(answer)).unwrap()).unwrap_err();
        assert!(error.contains("\"message\":\"no\""), "{error}");
    }
}
