//! Which tools of a server are visible and callable: globs that allow and globs that deny.

use std::fmt;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// The `tools` section of a bridge. The default permits everything.
#[derive(Clone, Default)]
pub struct ToolFilter {
    allow: Vec<String>,
    deny: Vec<String>,
    allowed: GlobSet,
    denied: GlobSet,
}

impl ToolFilter {
    /// A filter that permits what one of `allow` matches (everything when it is empty) and none of `deny`.
    ///
    /// # Errors
    /// The first pattern that is no glob.
    pub fn new(allow: Vec<String>, deny: Vec<String>) -> Result<Self, globset::Error> {
        Ok(Self {
            allowed: compile(&allow)?,
            denied: compile(&deny)?,
            allow,
            deny,
        })
    }

    /// Whether the tool of this name is visible and callable.
    #[must_use]
    pub fn permits(&self, tool: &str) -> bool {
        (self.allow.is_empty() || self.allowed.is_match(tool)) && !self.denied.is_match(tool)
    }

    /// Whether every tool is permitted, so that lists need no filtering.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

impl fmt::Debug for ToolFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolFilter")
            .field("allow", &self.allow)
            .field("deny", &self.deny)
            .finish()
    }
}

impl PartialEq for ToolFilter {
    fn eq(&self, other: &Self) -> bool {
        self.allow == other.allow && self.deny == other.deny
    }
}

fn compile(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], deny: &[&str], tool: &str, permitted: bool) {
        let own = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        let filter = ToolFilter::new(own(allow), own(deny)).unwrap();
        assert_eq!(filter.permits(tool), permitted, "{filter:?} {tool}");
    }

    #[test]
    fn deny_outranks_allow_and_no_allow_allows_all() {
        check(&[], &[], "anything", true);
        check(&["list_*", "explain_query"], &[], "list_schemas", true);
        check(&["list_*", "explain_query"], &[], "explain_query", true);
        check(&["list_*"], &[], "execute_sql", false);
        check(&["list_*"], &[], "LIST_x", false);
        check(&[], &["execute_*"], "execute_sql", false);
        check(&[], &["execute_*"], "list", true);
        check(&["*"], &["execute_sql"], "execute_sql", false);
        check(&["{a,b}?"], &[], "b1", true);
        check(&["a*"], &[], "a/b", true);
    }

    #[test]
    fn the_default_is_open() {
        assert!(ToolFilter::default().is_open());
        assert!(ToolFilter::default().permits("x"));
        assert!(
            !ToolFilter::new(vec![], vec!["x".to_owned()])
                .unwrap()
                .is_open()
        );
    }
}
