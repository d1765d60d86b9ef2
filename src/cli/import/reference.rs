//! References to variables, from the spellings of others to `${VAR}`; what is no reference there is escaped here.

use super::entry::Text;

/// How a source writes references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `${VAR}` and `${VAR:-default}` (Claude Code).
    Braces,
    /// `${env:VAR}`, `${input:id}` and predefined ones (VS Code).
    VsCode,
    /// `os.environ/VAR` as a whole, else as with [`Spelling::Braces`] (LiteLLM).
    Environ,
    /// `$VAR` as well (a shell).
    Shell,
}

impl Spelling {
    /// `text` with its references as ours; what is worth knowing goes to `warn`.
    pub(super) fn translate(self, text: &str, warn: &mut dyn FnMut(String)) -> Text {
        if self == Self::Environ
            && let Some(name) = text.strip_prefix("os.environ/")
            && is_variable(name)
        {
            return format!("${{{name}}}");
        }
        let mut translated = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            translated.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let braced = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            if let Some((inner, after)) = braced
                && let Some(reference) = self.reference(inner, warn)
            {
                translated.push_str(&reference);
                rest = after;
            } else if self == Self::Shell
                && let Some(length) = variable_length(rest)
            {
                translated.push_str(&format!("${{{}}}", &rest[..length]));
                rest = &rest[length..];
            } else if rest.starts_with(['$', '{']) {
                translated.push_str("$$");
            } else {
                translated.push('$');
            }
        }
        translated.push_str(rest);
        translated
    }

    fn reference(self, inner: &str, warn: &mut dyn FnMut(String)) -> Option<Text> {
        if self == Self::VsCode {
            return vs_code(inner, warn);
        }
        let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
        is_variable(name).then(|| format!("${{{inner}}}"))
    }
}

fn vs_code(inner: &str, warn: &mut dyn FnMut(String)) -> Option<Text> {
    if let Some(name) = inner.strip_prefix("env:") {
        return is_variable(name).then(|| format!("${{{name}}}"));
    }
    if let Some(id) = inner.strip_prefix("input:") {
        let name = as_variable(id);
        warn(format!(
            "VS Code asks its user for `{id}`; here it is the variable {name}"
        ));
        return Some(format!("${{{name}}}"));
    }
    match inner {
        "userHome" => Some("${HOME}".to_owned()),
        "pathSeparator" | "/" => Some("/".to_owned()),
        "workspaceFolder" | "workspaceRoot" | "cwd" => {
            warn(format!(
                "`${{{inner}}}` is the folder that is open in VS Code; here it is the variable WORKSPACE_FOLDER, or else the \
                 daemon's directory"
            ));
            Some("${WORKSPACE_FOLDER:-.}".to_owned())
        }
        _ => {
            warn(format!(
                "`${{{inner}}}` means nothing here; it stays as it is"
            ));
            None
        }
    }
}

/// The variables that `text`, which is in our language, refers to without a default.
pub(super) fn required(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((inner, after)) =
            rest.strip_prefix('{').and_then(|it| it.split_once('}'))
        {
            if is_variable(inner) {
                names.push(inner);
            }
            rest = after;
        }
    }
    names
}

/// `perplexity-key` as `PERPLEXITY_KEY`.
pub(in crate::cli) fn as_variable(id: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    let name: String = id.chars().map(plain).collect();
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

pub(super) fn is_variable(name: &str) -> bool {
    variable_length(name) == Some(name.len())
}

/// How much of the beginning of `text` is the name of a variable.
fn variable_length(text: &str) -> Option<usize> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let length = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    begins.then(|| length.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_kept_and_everything_else_is_escaped() {
        use Spelling::{Braces, Environ, Shell, VsCode};
        for (spelling, text, expected, warnings) in [
            (Braces, "${A}/x", "${A}/x", 0),
            (Braces, "${A:-b}", "${A:-b}", 0),
            (Braces, "$A costs 5$", "$A costs 5$", 0),
            (Braces, "$$ and ${1}", "$$$ and $${1}", 0),
            (Braces, "${open", "$${open", 0),
            (VsCode, "${env:A}:${userHome}", "${A}:${HOME}", 0),
            (VsCode, "${input:my-key}", "${MY_KEY}", 1),
            (
                VsCode,
                "${workspaceFolder}/db",
                "${WORKSPACE_FOLDER:-.}/db",
                1,
            ),
            (VsCode, "${fileBasename}", "$${fileBasename}", 1),
            (Environ, "os.environ/A", "${A}", 0),
            (Environ, "see os.environ/A", "see os.environ/A", 0),
            (Shell, "$HOME/x ${B}", "${HOME}/x ${B}", 0),
            (Shell, "$1", "$1", 0),
        ] {
            let mut said = Vec::new();
            let found = spelling.translate(text, &mut |warning| said.push(warning));
            assert_eq!(found, expected, "{text}");
            assert_eq!(said.len(), warnings, "{text}: {said:?}");
        }
    }

    #[test]
    fn what_is_required_is_found() {
        assert_eq!(required("$${A} ${B}-${C:-x}${D}"), ["B", "D"]);
    }
}
