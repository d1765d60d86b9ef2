//! `POST /v1/responses` over models that speak chat.

mod content;
mod conversation;
mod input;
mod labels;
mod parameters;
mod tools;
