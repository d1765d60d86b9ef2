//! The Model Context Protocol as far as a bridge has to know it: methods, revisions, capabilities, log levels.

mod capabilities;
pub mod era;
mod level;
mod method;
pub mod mirrored;
mod tools;
mod version;

pub use capabilities::{ClientCapabilities, hide_tasks};
pub use era::{Era, MODERN};
pub use level::Level;
pub use method::{ClientNotification, Request, ServerNotification};
pub use tools::keep_tools;
pub use version::Version;
