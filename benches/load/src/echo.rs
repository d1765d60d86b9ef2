//! `load echo`: a stdio MCP server that does as little as possible, so that what is measured is the bridge in front of it.
//!
//! Newline-delimited JSON-RPC (MCP 2025-06-18, Transports § stdio). It reads whatever the pipe holds, answers every whole line in it,
//! and writes all answers at once. The text of `echo` goes back as the raw JSON it came as. `progress` sends `n` progress
//! notifications before it answers.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

const TOOLS: &str = concat!(
    r#"{"tools":[{"name":"echo","description":"Returns its text","#,
    r#""inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}},"#,
    r#"{"name":"progress","description":"Sends n progress notifications, then returns its text","#,
    r#""inputSchema":{"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}},"required":["text"]}}]}"#
);

/// Serves stdin until it ends.
///
/// # Errors
/// When stdin can't be read or stdout can't be written.
pub(crate) fn serve() -> Result<()> {
    let own = |fd: io::Result<_>| fd.map(File::from).map_err(Error::io("stdio"));
    let mut input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let mut output = own(io::stdout().as_fd().try_clone_to_owned())?;
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut filled = 0;
    let mut answers = Vec::new();
    loop {
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        let read = input
            .read(&mut buffer[filled..])
            .map_err(Error::io("stdin"))?;
        if read == 0 {
            return Ok(());
        }
        // Only the new bytes can hold the newline: a long line isn't searched again with each read.
        let Some(last) =
            memchr::memrchr(b'\n', &buffer[filled..filled + read]).map(|at| filled + at + 1)
        else {
            filled += read;
            continue;
        };
        filled += read;
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &buffer[..last]) {
            if start < end {
                answer(&buffer[start..end], &mut answers);
            }
            start = end + 1;
        }
        buffer.copy_within(last..filled, 0);
        filled -= last;
        output.write_all(&answers).map_err(Error::io("stdout"))?;
        answers.clear();
    }
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow, rename = "protocolVersion")]
    version: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    n: Option<u32>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
}

fn answer(line: &[u8], out: &mut Vec<u8>) {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(line) else {
        out.extend_from_slice(
            br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#,
        );
        out.push(b'\n');
        return;
    };
    let (Some(id), Some(method)) = (request.id, request.method) else {
        return;
    };
    let params = request.params.as_ref();
    match &*method {
        "tools/call" => call(id, params, out),
        "initialize" => {
            let version = params
                .and_then(|params| params.version)
                .map_or(r#""2025-06-18""#, RawValue::get);
            let result = format!(
                r#"{{"protocolVersion":{version},"capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"echo","version":"1"}}}}"#
            );
            reply(id, "result", &result, out);
        }
        "tools/list" => reply(id, "result", TOOLS, out),
        "ping" => reply(id, "result", "{}", out),
        _ => reply(
            id,
            "error",
            r#"{"code":-32601,"message":"method not found"}"#,
            out,
        ),
    }
}

fn call(id: &RawValue, params: Option<&Params<'_>>, out: &mut Vec<u8>) {
    let name = params.and_then(|params| params.name.as_deref());
    let arguments = params.and_then(|params| params.arguments.as_ref());
    let (Some(name @ ("echo" | "progress")), Some(text)) =
        (name, arguments.and_then(|given| given.text))
    else {
        return reply(
            id,
            "error",
            r#"{"code":-32602,"message":"echo and progress take a text"}"#,
            out,
        );
    };
    let token = params
        .and_then(|params| params.meta.as_ref())
        .and_then(|meta| meta.token);
    if let (true, Some(token)) = (name == "progress", token) {
        let total = arguments.and_then(|given| given.n).unwrap_or(0);
        let head = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"total":{total},"progress":"#
        );
        for step in 1..=total {
            out.extend_from_slice(head.as_bytes());
            writeln!(out, "{step}}}}}").expect("writing into a Vec cannot fail");
        }
    }
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.get().as_bytes());
    out.extend_from_slice(br#","result":{"content":[{"type":"text","text":"#);
    out.extend_from_slice(text.get().as_bytes());
    out.extend_from_slice(b"}]}}\n");
}

fn reply(id: &RawValue, member: &str, value: &str, out: &mut Vec<u8>) {
    writeln!(out, r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#)
        .expect("writing into a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let mut out = Vec::new();
        answer(line.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn ids_and_texts_go_back_as_they_came() {
        check(
            r#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"echo","arguments":{"text":"a\u0041"}}}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\\u0041\"}]}}\n",
        );
        check(
            r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"result\":{}}\n",
        );
    }

    #[test]
    fn notifications_are_not_answered() {
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":{}}"#,
            "",
        );
    }

    #[test]
    fn progress_comes_before_its_answer() {
        let line = r#"{"id":9,"method":"tools/call","params":{"_meta":{"progressToken":4},"name":"progress","arguments":{"n":2,"text":"t"}}}"#;
        let mut out = Vec::new();
        answer(line.as_bytes(), &mut out);
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].contains(r#""progressToken":4,"total":2,"progress":2}"#),
            "{}",
            lines[1]
        );
        assert!(lines[2].starts_with(r#"{"jsonrpc":"2.0","id":9,"#));
    }
}
