//! Hides the secrets of a server's environment in what is shown of its stderr.

use std::ffi::OsString;

/// Words in the name of a variable that say that its value is a secret.
const TELLING: [&str; 10] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASS",
    "PWD",
    "AUTH",
    "CREDENTIAL",
    "DSN",
    "URI",
    "URL",
];
/// Shorter values are no secrets, and would blank out half of a text.
const SHORTEST: usize = 6;

/// The secrets that a text may hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redaction(Vec<String>);

impl Redaction {
    /// The values of variables with a telling name; of URLs, only those with a password, and the password by itself.
    #[must_use]
    pub fn of(env: &[(OsString, OsString)]) -> Redaction {
        let mut secrets = Vec::new();
        for (name, value) in env {
            let (name, value) = (
                name.to_string_lossy().to_uppercase(),
                value.to_string_lossy(),
            );
            if !TELLING.iter().any(|word| name.contains(word)) {
                continue;
            }
            match value.split_once("://") {
                Some((_, rest)) => {
                    let user = rest
                        .split(['/', '?', '#'])
                        .next()
                        .unwrap_or_default()
                        .rsplit_once('@');
                    if let Some((_, password)) = user.and_then(|(user, _)| user.split_once(':')) {
                        secrets.push(value.to_string());
                        secrets.push(password.to_owned());
                    }
                }
                None => secrets.push(value.into_owned()),
            }
        }
        Redaction(secrets).in_order()
    }

    /// The same with further secrets, whatever they are called.
    #[must_use]
    pub fn and(mut self, secrets: impl Iterator<Item = OsString>) -> Redaction {
        self.0
            .extend(secrets.map(|secret| secret.to_string_lossy().into_owned()));
        self.in_order()
    }

    fn in_order(mut self) -> Redaction {
        self.0.retain(|secret| secret.len() >= SHORTEST);
        // A secret that holds another goes first, or its rest would stay.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.0.dedup();
        self
    }

    /// `text` with three stars in the place of each secret.
    #[must_use]
    pub fn apply(&self, text: String) -> String {
        let hide = |text: String, secret: &String| match text.contains(secret) {
            true => text.replace(secret, "***"),
            false => text,
        };
        self.0.iter().fold(text, hide)
    }
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redaction of {} values", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        let env = [
            ("API_KEY", "sk-0123456789"),
            ("DATABASE_URI", "postgres://app:hunter22@db:5432/app"),
            ("BASE_URL", "http://example.org/x"),
            ("PGUSER", "postgres"),
            ("PASSWORD", "short"),
        ];
        let env = env.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let redaction = Redaction::of(&env);
        for (text, want) in [
            ("key sk-0123456789 refused", "key *** refused"),
            (
                "cannot connect to postgres://app:hunter22@db:5432/app",
                "cannot connect to ***",
            ),
            (
                "password hunter22 is wrong for postgres",
                "password *** is wrong for postgres",
            ),
            (
                "http://example.org/x is short",
                "http://example.org/x is short",
            ),
        ] {
            assert_eq!(redaction.apply(text.to_owned()), want);
        }
        assert!(!format!("{redaction:?}").contains("hunter22"));
    }
}
