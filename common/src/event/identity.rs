//! Who an event is: whether a payload is an event at all, and its key, id and time.
//!
//! This takes one pass over the bytes and builds no tree. The pass recurses at most
//! [`MAX_DEPTH`](super::MAX_DEPTH) deep, and its cost depends on the payload's length and not on its shape,
//! so that nobody can exhaust the stack or the processor with a payload of a special form. It checks *all*
//! of the payload, not only the fields that it reads, so that every later reader accepts what is accepted
//! here.
//!
//! | payload | answer |
//! |---|---|
//! | nothing, or white space only | [`Reason::Empty`] |
//! | not UTF-8 | [`Reason::InvalidUtf8`] |
//! | nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH) | [`Reason::TooDeep`], whatever follows |
//! | not JSON (RFC 8259), or data after it | [`Reason::NotJson`] |
//! | JSON, but not an object | [`Reason::NotObject`] |
//! | a name twice in one object, at any depth | [`Reason::DuplicateKey`] |
//! | the schema names a key or a part of the id that is absent | [`Reason::MissingId`] |
//! | the key or a part of the id is neither a string nor an integer | [`Reason::BadId`] |
//!
//! Tolerated: one leading byte order mark, lone surrogate escapes (`"\ud800"`, read as U+FFFD), numbers of
//! any size in fields that are not read, and a time that is absent or cannot be read.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::{Id, Reason, Schema, Time, time};

mod scan;
#[cfg(test)]
mod tests;

use scan::Field;

/// Must never change, because the analyzer's stored snapshots and partials hold hashes that were computed with it.
const SEED: u64 = 0x6d69_6c6c_7261_6365;

/// The hash by which an event's id is remembered and sampled: XXH3, 64 bits, with a fixed seed.
#[inline]
pub fn hash(id: &[u8]) -> u64 {
    xxh3_64_with_seed(id, SEED)
}

/// What identifies an event, and when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject's id, e.g. `1525`; `None` if the schema names neither a key nor an id.
    pub key: Option<String>,
    /// The event's id, e.g. `1525:yes`, see [`Id::join`]; `None` if each record is an event of its own.
    pub id: Option<String>,
    /// When it happened, in milliseconds since 1970; `None` where absent or not readable.
    pub time_ms: Option<i64>,
}

/// Checks that `payload` is an event, and reads its key, id and time.
///
/// # Errors
/// The reason why it is not an event, see the table of the [module](self).
pub fn identify(payload: &[u8], schema: &Schema) -> Result<Identity, Reason> {
    let ids = schema.id.pointers();
    let time = schema.time.as_ref();
    let wanted = ids.iter().chain(schema.key.as_ref()).chain(time.map(|time| &time.path));
    let mut fields: Vec<Field<'_, '_>> =
        wanted.map(|pointer| Field::new(pointer.steps())).collect();
    scan::object(payload, &mut fields)?;

    let (ids, others) = fields.split_at(ids.len());
    let mut others = others.iter().map(|field| field.found.as_ref());
    let key = schema.key.as_ref().map(|_| others.next().flatten());
    let key = match key.or_else(|| ids.first().map(|first| first.found.as_ref())) {
        Some(found) => Some(found.ok_or(Reason::MissingId)?.name()?.to_owned()),
        None => None,
    };
    let time_ms =
        time.and_then(|Time { unit, .. }| time::milliseconds(others.next().flatten()?, *unit).ok());
    match &schema.id {
        Id::Fields(_) => {
            let mut id = String::with_capacity(key.as_ref().map_or(0, String::len) + 8);
            Id::join(ids.iter().map(|field| field.found.as_ref()), &mut id)?;
            Ok(Identity { key, id: Some(id), time_ms })
        }
        Id::Payload => {
            let id = fingerprint(payload);
            Ok(Identity { key: key.or_else(|| Some(id.clone())), id: Some(id), time_ms })
        }
        Id::None => Ok(Identity { key, id: None, time_ms }),
    }
}

/// The id of an event that is identified by its bytes: their 128-bit XXH3 hash in hexadecimal.
pub fn fingerprint(payload: &[u8]) -> String {
    format!("{:032x}", xxh3_128(payload))
}
