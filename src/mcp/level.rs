//! Log levels of `logging/setLevel` and `notifications/message`.

/// RFC 5424's severities, the most verbose first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    const NAMES: [(&'static str, Level); 8] = [
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("notice", Level::Notice),
        ("warning", Level::Warning),
        ("error", Level::Error),
        ("critical", Level::Critical),
        ("alert", Level::Alert),
        ("emergency", Level::Emergency),
    ];

    /// The level that the JSON string `text` names.
    pub fn parse(text: &[u8]) -> Option<Level> {
        let name = crate::jsonrpc::string_value(text)?;
        Level::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }

    /// The protocol's name.
    pub fn name(self) -> &'static str {
        Level::NAMES[self as usize].0
    }
}
