//! Shortening a `tools/list` result by a bridge's filter.

use crate::jsonrpc::{Edit, Span, array_elements, member, splice, string_value};

/// The result of a `tools/list` with only the tools whose name `keep` says yes to; every other byte as it was.
/// `None` when nothing has to go.
pub fn keep_tools(result: &[u8], keep: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let tools = member(result, "tools")?;
    let text = tools.of(result);
    let elements = array_elements(text).ok()?;
    let kept: Vec<&[u8]> = elements
        .iter()
        .map(|element: &Span| element.of(text))
        .filter(|tool| {
            member(tool, "name")
                .and_then(|name| string_value(name.of(tool)))
                .is_some_and(|name| keep(&name))
        })
        .collect();
    if kept.len() == elements.len() {
        return None;
    }
    let list = [b"[", kept.join(&b","[..]).as_slice(), b"]"].concat();
    let mut out = Vec::with_capacity(result.len());
    splice(
        &mut out,
        result,
        &mut [Edit {
            span: tools,
            with: &list,
        }],
    );
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_denied_tools_go() {
        let result =
            br#"{"tools":[{"name":"a","n":1.0}, {"name":"b"},{"name":"\u0063"}],"nextCursor":"x"}"#;
        let kept = keep_tools(result, |name| name != "b").unwrap();
        assert_eq!(
            kept,
            br#"{"tools":[{"name":"a","n":1.0},{"name":"\u0063"}],"nextCursor":"x"}"#
        );
        assert_eq!(keep_tools(result, |_| true), None);
        assert_eq!(
            keep_tools(result, |name| name == "c").unwrap(),
            br#"{"tools":[{"name":"\u0063"}],"nextCursor":"x"}"#
        );
    }
}
