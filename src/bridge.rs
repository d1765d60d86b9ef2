//! One configured server: its instances, and the sessions that speak with it.

mod mailbox;

pub use mailbox::{Budget, Delivery, DeliveryKind, MAX_BYTES, MAX_BYTES_IN_ALL, Mailbox, Reader, Refusal};
