//! Unique public names: `<server><separator><tool>`, as OpenAI's rule for functions allows them.
//!
//! A name that would be too long or has other characters than `a-zA-Z0-9_-` is shortened and ends with a digest of what it
//! stands for, so it stays the same as long as server and tool are called the same. Of two that would be equal
//! (`a` + `b-c`, `a-b` + `c`) the later one gets such an ending. Names are only ever looked up, never taken apart.

use std::collections::HashSet;

/// The longest name of a function that OpenAI takes.
const LONGEST: usize = 64;
/// Hexadecimal digits of the digest.
const DIGITS: usize = 8;

/// Gives out names; the order in which it is asked decides who keeps a contested one.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    separator: &'a str,
    taken: HashSet<String>,
}

impl<'a> Names<'a> {
    /// None is taken.
    pub(crate) fn new(separator: &'a str) -> Names<'a> {
        Names {
            separator,
            taken: HashSet::new(),
        }
    }

    /// The name of what `server` calls `original`; to be asked once for each.
    pub(crate) fn give(&mut self, server: &str, original: &str) -> String {
        let plain = format!("{server}{}{original}", self.separator);
        let fits = plain.len() <= LONGEST && plain.chars().all(is_allowed);
        let mut name = plain.clone();
        let mut digest = digest(server, original);
        if !fits {
            name = shortened(&plain, digest);
        }
        while !self.taken.insert(name.clone()) {
            name = shortened(&plain, digest);
            digest = digest.rotate_left(1) ^ 1;
        }
        name
    }
}

/// What clients may also call it: the name under one of the server's aliases, where that needs no shortening.
pub(crate) fn by_alias(alias: &str, separator: &str, original: &str) -> String {
    format!("{alias}{separator}{original}")
}

fn shortened(plain: &str, digest: u64) -> String {
    let mut name: String = plain
        .chars()
        .map(|c| if is_allowed(c) { c } else { '_' })
        .take(LONGEST - DIGITS - 1)
        .collect();
    name.push_str(&format!("_{:0DIGITS$x}", digest >> 32));
    name
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// FNV-1a over both, apart: the same in every process and version.
fn digest(server: &str, original: &str) -> u64 {
    let bytes = server.bytes().chain([0xff]).chain(original.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_and_others_get_a_stable_short_form() {
        let long = "x".repeat(80);
        for (server, tool, want) in [
            ("postgres", "list_schemas", "postgres-list_schemas"),
            ("a", "B-9_z", "a-B-9_z"),
            ("a", "get.weather", "a-get_weather_86845130"),
            ("a", "größe", "a-gr__e_5872ee5d"),
            ("a", &long, &format!("a-{}_4b1dfdee", "x".repeat(53))),
        ] {
            let name = Names::new("-").give(server, tool);
            assert_eq!(name, want);
            assert!(name.len() <= LONGEST && name.chars().all(is_allowed));
        }
    }

    #[test]
    fn no_two_are_equal() {
        let mut names = Names::new("-");
        let all: Vec<_> = [
            ("a", "b-c"),
            ("a-b", "c"),
            ("a", "x.y"),
            ("a", "x_y"),
            ("a", "x y"),
        ]
        .into_iter()
        .map(|(server, tool)| names.give(server, tool))
        .collect();
        assert_eq!(all[0], "a-b-c");
        assert_ne!(all[1], all[0]);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
