//! Raw events: opaque bytes, never altered. The collector reads only their [`identity`], the
//! analyzer only what its queries name.

pub mod identity;
pub mod json;
mod pointer;
mod reason;

pub use pointer::{InvalidPointer, Pointer, Step};
pub use reason::{Reason, UnknownReason};

/// The deepest nesting of objects and arrays that an event may have; deeper ones are dead-lettered.
pub const MAX_DEPTH: usize = 128;

/// The text of a payload without the byte order mark that RFC 8259 section 8.1 lets a reader ignore.
pub fn without_bom(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)
}
