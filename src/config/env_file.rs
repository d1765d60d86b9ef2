//! Files of `KEY=VALUE` lines: comments, `export`, single and double quotes; nothing is expanded.

use super::Place;

/// What a file holds: variables in its order, and what is wrong with it, neither of which may be shown with values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EnvFile {
    pub(super) variables: Vec<(String, String)>,
    pub(super) flaws: Vec<(Place, &'static str)>,
}

/// Reads the text of such a file.
///
/// A value in double quotes knows `\n`, `\t`, `\"` and `\\`; one in single quotes is taken as it is; one without quotes
/// ends before ` #`. Quotes may not span lines.
pub(super) fn parse(text: &str) -> EnvFile {
    let mut file = EnvFile::default();
    for (index, line) in text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .enumerate()
    {
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let place = Place {
            line: index + 1,
            column: line.chars().count() - bare.chars().count() + 1,
        };
        match assignment(bare) {
            Ok(variable) => file.variables.push(variable),
            Err(flaw) => file.flaws.push((place, flaw)),
        }
    }
    file
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line
        .split_once('=')
        .ok_or("expected KEY=VALUE, found no `=`")?;
    let name = name.trim_end();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("expected KEY=VALUE, found no name of a variable before `=`");
    }
    if value.contains('\0') {
        return Err("found a NUL byte in the value");
    }
    Ok((name.to_owned(), unquote(value.trim())?))
}

fn unquote(value: &str) -> Result<String, &'static str> {
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let comment = value.find(" #").or_else(|| value.find("\t#"));
        let comment = if value.starts_with('#') {
            Some(0)
        } else {
            comment
        };
        return Ok(value[..comment.unwrap_or(value.len())]
            .trim_end()
            .to_owned());
    };
    let mut unquoted = String::new();
    let mut chars = value[1..].chars();
    while let Some(c) = chars.next() {
        match c {
            _ if c == quote => return after_quote(chars.as_str()).map(|()| unquoted),
            '\\' if quote == '"' => match chars.next() {
                Some('n') => unquoted.push('\n'),
                Some('t') => unquoted.push('\t'),
                Some(escaped @ ('"' | '\\' | '$' | '`')) => unquoted.push(escaped),
                Some(other) => unquoted.extend(['\\', other]),
                None => break,
            },
            _ => unquoted.push(c),
        }
    }
    Err("found a quote that is not closed on its line")
}

fn after_quote(rest: &str) -> Result<(), &'static str> {
    if rest.trim_start().is_empty() || rest.trim_start().starts_with('#') {
        return Ok(());
    }
    Err("found text after the closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_variables() {
        for (line, name, value) in [
            ("A=b", "A", "b"),
            ("  A = b  ", "A", "b"),
            ("export A=b", "A", "b"),
            ("exported=b", "exported", "b"),
            ("A=", "A", ""),
            ("A=b=c", "A", "b=c"),
            ("A=b # comment", "A", "b"),
            ("A=b#c", "A", "b#c"),
            ("A=# comment", "A", ""),
            ("A=${B}$$", "A", "${B}$$"),
            (r#"A="b # c" # d"#, "A", "b # c"),
            (r#"A="a\nb\"c\\d\x""#, "A", "a\nb\"c\\d\\x"),
            (r"A='a\nb' ", "A", r"a\nb"),
            ("A=postgres://u:p@h/d?x=1", "A", "postgres://u:p@h/d?x=1"),
        ] {
            let variables = vec![(name.to_owned(), value.to_owned())];
            assert_eq!(
                parse(line),
                EnvFile {
                    variables,
                    flaws: vec![]
                },
                "{line}"
            );
        }
    }

    #[test]
    fn comments_blank_lines_and_a_mark_at_the_start_are_skipped() {
        let file = parse("\u{feff}# one\r\n\r\nA=1\r\n  # two\nB=2");
        assert_eq!(
            file.variables,
            [("A", "1"), ("B", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        assert_eq!(file.flaws, []);
    }

    #[test]
    fn flaws_have_a_place_and_do_not_stop_the_rest() {
        let file = parse("A\n  B C=1\nD='x\nE=\"x\"y\nF=1\n=2");
        let places: Vec<_> = file
            .flaws
            .iter()
            .map(|(place, _)| (place.line, place.column))
            .collect();
        assert_eq!(places, [(1, 1), (2, 3), (3, 1), (4, 1), (6, 1)]);
        assert_eq!(file.variables.len(), 1);
    }
}
