//! Method names and what the bridge does with each.
//!
//! Everything that is not named here passes through as it is.

/// A request of a client, by how it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// `initialize`.
    Initialize,
    /// `ping`: answered by the bridge.
    Ping,
    /// `logging/setLevel`: kept per session.
    SetLevel,
    /// `resources/subscribe`: counted per URI.
    Subscribe,
    /// `resources/unsubscribe`: counted per URI.
    Unsubscribe,
    /// `tools/call`; like `prompts/get` and `resources/read` it may make the server ask its client something.
    CallTool,
    /// `prompts/get`, `resources/read`.
    Interactive,
    /// `tools/list`: a list that the bridge's filter may shorten.
    ListTools,
    /// The other lists. They change nothing, so a new generation may be asked again.
    List,
    /// `server/discover`, of revision 2026-07-28.
    Discover,
    /// `subscriptions/listen`, of revision 2026-07-28: it stays open.
    Listen,
    /// `tasks/…`: nothing that a shared instance can keep apart.
    Task,
    /// `notifications/…`: no request. A server that looks at the method alone would act on it as it stands.
    Notification,
    /// Anything else.
    Other,
}

impl Request {
    /// The routing class of `method`.
    pub fn of(method: &str) -> Request {
        match method {
            "initialize" => Request::Initialize,
            "ping" => Request::Ping,
            "logging/setLevel" => Request::SetLevel,
            "resources/subscribe" => Request::Subscribe,
            "resources/unsubscribe" => Request::Unsubscribe,
            "tools/call" => Request::CallTool,
            "prompts/get" | "resources/read" => Request::Interactive,
            "tools/list" => Request::ListTools,
            "prompts/list" | "resources/list" | "resources/templates/list" => Request::List,
            "server/discover" => Request::Discover,
            "subscriptions/listen" => Request::Listen,
            _ if method.starts_with("tasks/") => Request::Task,
            _ if method.starts_with("notifications/") => Request::Notification,
            _ => Request::Other,
        }
    }

    /// Whether the server may ask the client something while it answers this.
    pub fn may_ask(self) -> bool {
        matches!(self, Request::CallTool | Request::Interactive)
    }

    /// Whether it may be sent again to a new generation after it was delivered to one that died.
    pub fn is_repeatable(self) -> bool {
        matches!(self, Request::ListTools | Request::List | Request::Discover)
    }
}

/// A notification of a client, by how it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientNotification {
    /// `notifications/initialized`.
    Initialized,
    /// `notifications/cancelled`.
    Cancelled,
    /// `notifications/progress`.
    Progress,
    /// `notifications/roots/list_changed`.
    RootsChanged,
    /// Anything else.
    Other,
}

impl ClientNotification {
    /// The routing class of `method`.
    pub fn of(method: &str) -> ClientNotification {
        match method {
            "notifications/initialized" => ClientNotification::Initialized,
            "notifications/cancelled" => ClientNotification::Cancelled,
            "notifications/progress" => ClientNotification::Progress,
            "notifications/roots/list_changed" => ClientNotification::RootsChanged,
            _ => ClientNotification::Other,
        }
    }
}

/// A notification of a server, by how it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerNotification {
    /// `notifications/progress`.
    Progress,
    /// `notifications/message`: a log line.
    Log,
    /// `notifications/cancelled`.
    Cancelled,
    /// `notifications/resources/updated`.
    Updated,
    /// `notifications/tools/list_changed`, `…/prompts/…` and `…/resources/…`: index into [`ServerNotification::LISTS`].
    ListChanged(usize),
    /// Anything else.
    Other,
}

impl ServerNotification {
    /// The capability that has the list, and the notification that says it changed.
    pub const LISTS: [(&'static str, &'static str); 3] = [
        ("tools", "notifications/tools/list_changed"),
        ("prompts", "notifications/prompts/list_changed"),
        ("resources", "notifications/resources/list_changed"),
    ];

    /// The routing class of `method`.
    pub fn of(method: &str) -> ServerNotification {
        match method {
            "notifications/progress" => ServerNotification::Progress,
            "notifications/message" => ServerNotification::Log,
            "notifications/cancelled" => ServerNotification::Cancelled,
            "notifications/resources/updated" => ServerNotification::Updated,
            _ => match ServerNotification::LISTS
                .iter()
                .position(|(_, name)| *name == method)
            {
                Some(list) => ServerNotification::ListChanged(list),
                None => ServerNotification::Other,
            },
        }
    }
}
