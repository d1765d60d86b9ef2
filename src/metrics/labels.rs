//! The label values: small enums that index the arrays of numbers.

/// An enum whose variants have a text each and count from zero.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their index.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];
            pub(super) const COUNT: usize = Self::ALL.len();

            /// The label's value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

labels! {
    /// A method, as far as it is told apart: the requests that MCP defines, so that a client cannot mint label values.
    MethodLabel {
        /// `initialize`
        Initialize = "initialize",
        /// `ping`
        Ping = "ping",
        /// `server/discover`
        Discover = "server/discover",
        /// `tools/list`
        ToolsList = "tools/list",
        /// `tools/call`
        ToolsCall = "tools/call",
        /// `resources/list`
        ResourcesList = "resources/list",
        /// `resources/templates/list`
        ResourceTemplatesList = "resources/templates/list",
        /// `resources/read`
        ResourcesRead = "resources/read",
        /// `resources/subscribe`
        ResourcesSubscribe = "resources/subscribe",
        /// `resources/unsubscribe`
        ResourcesUnsubscribe = "resources/unsubscribe",
        /// `prompts/list`
        PromptsList = "prompts/list",
        /// `prompts/get`
        PromptsGet = "prompts/get",
        /// `completion/complete`
        Complete = "completion/complete",
        /// `logging/setLevel`
        SetLevel = "logging/setLevel",
        /// `subscriptions/listen`
        Listen = "subscriptions/listen",
        /// `tasks/get`
        TasksGet = "tasks/get",
        /// `tasks/result`
        TasksResult = "tasks/result",
        /// `tasks/list`
        TasksList = "tasks/list",
        /// `tasks/cancel`
        TasksCancel = "tasks/cancel",
        /// `sampling/createMessage`, asked by a server
        CreateMessage = "sampling/createMessage",
        /// `elicitation/create`, asked by a server
        Elicit = "elicitation/create",
        /// `roots/list`, asked by a server
        RootsList = "roots/list",
        /// Every other method.
        Other = "other",
    }
}

labels! {
    /// How a call ended.
    Outcome {
        /// With a result.
        Ok = "ok",
        /// With the server's JSON-RPC error.
        Error = "error",
        /// Not within its time.
        Timeout = "timeout",
        /// By the client's wish.
        Cancelled = "cancelled",
        /// The server's process ended first.
        ServerGone = "server_gone",
        /// The bridge refused it before the server saw it.
        Refused = "refused",
    }
}

labels! {
    /// Why a message reached nobody.
    Dropped {
        /// A line of stdout that is no JSON-RPC message.
        Garbage = "garbage",
        /// An answer after its call was over.
        LateAnswer = "late_answer",
        /// An answer to nothing that was asked.
        UnknownAnswer = "unknown_answer",
        /// A notification whose owner is not known.
        UnattributedNotification = "unattributed_notification",
        /// A notification for a client that does not read fast enough.
        NotificationOverflow = "notification_overflow",
        /// A message over the limit.
        Oversize = "oversize",
        /// A server's request whose owner is not known; the server got an error.
        UnroutableAsk = "unroutable_ask",
        /// A line of stderr over the rate that is logged.
        StderrOverflow = "stderr_overflow",
    }
}

labels! {
    /// Why a client was turned away.
    Refused {
        /// Its `Origin` is not allowed.
        Origin = "origin",
        /// Its `Host` is not one of this listener.
        Host = "host",
        /// Its key is missing or wrong.
        Key = "key",
        /// Too many sessions.
        Sessions = "sessions",
        /// Too many calls in flight.
        InFlight = "in_flight",
        /// The queue towards the server is full.
        QueueFull = "queue_full",
        /// The body is too large.
        Body = "body",
        /// Too many instances.
        Instances = "instances",
        /// The server is not ready.
        NotReady = "not_ready",
        /// The bridge is stopping.
        Draining = "draining",
        /// Too many connections.
        Connections = "connections",
        /// The head or the body did not arrive in time.
        Slow = "slow",
        /// The request is not MCP: method, path, media type or JSON.
        Malformed = "malformed",
        /// Memory for queued output is used up.
        Shedding = "shedding",
    }
}

labels! {
    /// An instance's state.
    StateLabel {
        /// Its command or a variable is missing, which the configuration allows.
        Unavailable = "unavailable",
        /// Started, `initialize` not answered yet.
        Starting = "starting",
        /// Answers.
        Ready = "ready",
        /// Missed a ping.
        Suspect = "suspect",
        /// Waits for its restart.
        Backoff = "backoff",
        /// Failed too often; tried once a minute.
        Quarantined = "quarantined",
        /// Finishes its calls.
        Draining = "draining",
        /// Being ended.
        Stopping = "stopping",
        /// Ended, and not to be started again.
        Stopped = "stopped",
    }
}

labels! {
    /// How a tool call of the gateway ended.
    ToolOutcome {
        /// With a result.
        Ok = "ok",
        /// With a result that the tool itself calls an error.
        ToolError = "tool_error",
        /// With a JSON-RPC error, or because the server is not there.
        Error = "error",
        /// It took longer than `tool_timeout`.
        TimedOut = "timeout",
        /// The model's arguments were no JSON object.
        Arguments = "arguments",
        /// Whoever asked for it went away.
        Cancelled = "cancelled",
    }
}

labels! {
    /// A client's transport.
    TransportLabel {
        /// HTTP+SSE of 2024-11-05.
        Sse = "sse",
        /// Streamable HTTP.
        Streamable = "streamable",
        /// Streamable HTTP of 2026-07-28: a session for each request.
        Stateless = "stateless",
        /// None of its own: the gateway calls for it.
        Gateway = "gateway",
    }
}

impl MethodLabel {
    /// The label of a method's name.
    #[must_use]
    pub fn of(method: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|label| label.as_str() == method)
            .unwrap_or(Self::Other)
    }
}
