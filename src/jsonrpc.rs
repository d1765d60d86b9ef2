//! JSON-RPC 2.0 as bytes: one message is its text plus the places of its envelope.
//!
//! Nothing here builds a tree. [`scan`] reads a text once, checks that it is JSON, and notes where the members stand
//! that routing needs: `id`, `method`, `params` and a few keys inside `params` and `params._meta`. [`Message`] keeps the
//! text with those places, [`splice`] replaces some of them and leaves every other byte as it was. So big numbers, key
//! order, lone surrogates and a client's spelling of its id pass unchanged.

mod error;
mod id;
mod message;
mod scan;
mod splice;

pub use error::{ErrorObject, code};
pub use id::RequestId;
pub use message::{Body, Kind, Message};
pub use scan::{
    Envelope, MAX_DEPTH, MAX_ID, Outcome, ScanError, Span, array_elements, is_of_the_request,
    member, member_cuts, members, outcome, retain_members, scan, string_value,
};
pub use splice::{Edit, one_line, single_line, splice};
