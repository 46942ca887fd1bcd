//! Raw events: opaque bytes that are never altered. The [`Schema`] says where an event's id, key and time
//! are. The collector reads only those ([`identity`]); the analyzer also reads what its queries name.

pub mod control;
pub mod identity;
pub mod json;
mod pointer;
mod reason;
mod schema;
pub mod time;
mod value;

pub use pointer::{InvalidPointer, Pointer, Step};
pub use reason::{Reason, UnknownReason};
pub use schema::{Id, Schema, Time};
pub use value::Value;

/// The deepest nesting of objects and arrays that an event may have; deeper ones are dead-lettered.
pub const MAX_DEPTH: usize = 128;

/// The payload without its leading byte order mark, which RFC 8259 section 8.1 lets a reader ignore.
pub fn without_bom(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)
}
