//! Variables in values: `${VAR}`, `${VAR:-default}`, `$$` for a dollar sign, and `os.environ/VAR` as a whole value.
//!
//! A default stands in for a variable that is not set or empty, and may itself contain variables. A `$` before anything
//! else is a dollar sign.

use std::ffi::OsString;

/// Why a value can't be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// These variables are not set and have no default.
    Missing(Vec<String>),
    /// The variable's value is not UTF-8.
    NotText(String),
    /// `${` that no `}` closes.
    Unclosed,
    /// What stands between the braces is no variable.
    NoVariable,
}

/// Expands the variables of `text`.
pub(super) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<String, Flaw> {
    if let Some(name) = text.strip_prefix("os.environ/")
        && is_variable(name)
    {
        return variable(name, lookup)?.ok_or_else(|| Flaw::Missing(vec![name.to_owned()]));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut missing = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing_brace(after).ok_or(Flaw::Unclosed)?;
            match reference(&after[..end], lookup) {
                Ok(value) => expanded.push_str(&value),
                Err(Flaw::Missing(names)) => missing.extend(names),
                Err(flaw) => return Err(flaw),
            }
            rest = &after[end + 1..];
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    if missing.is_empty() {
        Ok(expanded)
    } else {
        Err(Flaw::Missing(missing))
    }
}

/// The variable that is all there is in `text`, with or without a default.
pub(super) fn only_variable(text: &str) -> Option<&str> {
    let name = match text.strip_prefix("os.environ/") {
        Some(name) => name,
        None => {
            let inner = text.strip_prefix("${")?.strip_suffix('}')?;
            inner.split_once(":-").map_or(inner, |(name, _)| name)
        }
    };
    is_variable(name).then_some(name)
}

/// The value of what stands between braces.
fn reference(inner: &str, lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<String, Flaw> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_variable(name) {
        return Err(Flaw::NoVariable);
    }
    match (variable(name, lookup)?, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => expand(default, lookup),
        (None, None) => Err(Flaw::Missing(vec![name.to_owned()])),
    }
}

fn variable(name: &str, lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<String>, Flaw> {
    let value = lookup(name).map(OsString::into_string).transpose();
    value.map_err(|_| Flaw::NotText(name.to_owned()))
}

/// Where the brace closes that was open before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if index > 0 && text.as_bytes()[index - 1] == b'$' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(index);
        }
    }
    None
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn check(text: &str, expected: Result<&str, Flaw>) {
        let lookup = |name: &str| match name {
            "A" => Some("a".into()),
            "B" => Some("${A}: {b}".into()),
            "EMPTY" => Some("".into()),
            "BYTES" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        };
        assert_eq!(expand(text, &lookup), expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn variables_expand_once() {
        check("plain", Ok("plain"));
        check("${A}", Ok("a"));
        check("x${A}y${A}", Ok("xaya"));
        check("${B}", Ok("${A}: {b}"));
        check("${EMPTY}", Ok(""));
        check("os.environ/A", Ok("a"));
        check("see os.environ/A", Ok("see os.environ/A"));
        check("os.environ/", Ok("os.environ/"));
    }

    #[test]
    fn defaults_stand_in() {
        check("${NONE:-d}", Ok("d"));
        check("${NONE:-}", Ok(""));
        check("${EMPTY:-d}", Ok("d"));
        check("${A:-d}", Ok("a"));
        check("${NONE:-a:-b}", Ok("a:-b"));
        check("${NONE:-${A}}!", Ok("a!"));
        check("${NONE:-$$}", Ok("$"));
    }

    #[test]
    fn dollars_can_be_written() {
        check("$$", Ok("$"));
        check("$${A}", Ok("${A}"));
        check("$$$${A}", Ok("$${A}"));
        check("$A costs 5$", Ok("$A costs 5$"));
    }

    #[test]
    fn a_variable_by_itself_is_recognised() {
        for (text, expected) in [
            ("${A}", Some("A")),
            ("${A:-x}", Some("A")),
            ("os.environ/A", Some("A")),
            ("x${A}", None),
            ("${A}${B}", None),
            ("$${A}", None),
            ("A", None),
        ] {
            assert_eq!(only_variable(text), expected, "{text}");
        }
    }

    #[test]
    fn flaws_are_told_apart() {
        let missing =
            |names: &[&str]| Err(Flaw::Missing(names.iter().map(|&n| n.to_owned()).collect()));
        check("${X} ${A} ${Y}", missing(&["X", "Y"]));
        check("${X:-${Y}}", missing(&["Y"]));
        check("os.environ/X", missing(&["X"]));
        check("${A", Err(Flaw::Unclosed));
        check("${", Err(Flaw::Unclosed));
        check("${X:-${A}", Err(Flaw::Unclosed));
        check("${}", Err(Flaw::NoVariable));
        check("${A B}", Err(Flaw::NoVariable));
        check("${A:?x}", Err(Flaw::NoVariable));
        check("${1}", Err(Flaw::NoVariable));
        check("${BYTES}", Err(Flaw::NotText("BYTES".to_owned())));
    }
}
