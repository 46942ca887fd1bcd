//! A group: entries that were written together, and their format.

use bytes::Bytes;

use super::key::{Sequence, Span};
use super::record::Entry;

const FORMAT: u8 = 3;
/// The format byte and the checksum.
const HEAD_BYTES: usize = 5;

/// A group's record: its checksum, then each entry after its length (little-endian u32).
pub(super) fn encode(span: Span, entries: &[(Sequence, Entry)]) -> Vec<u8> {
    let payload: usize = entries.iter().map(|(_, entry)| entry.payload.len() + 128).sum();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload);
    bytes.extend([FORMAT, 0, 0, 0, 0]);
    for (_, entry) in entries {
        let start = bytes.len();
        bytes.extend([0; 4]);
        entry.encode_into(&mut bytes);
        let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    let sum = checksum(span, &bytes[HEAD_BYTES..]);
    bytes[1..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The entries of a group; one that is in no known format is `None`. All is `None` if the record is damaged.
pub(super) fn decode(span: Span, bytes: &Bytes) -> Option<Vec<(Sequence, Option<Entry>)>> {
    let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [FORMAT, sum @ ..] = *head else { return None };
    let mut rest = bytes.slice(HEAD_BYTES..);
    if checksum(span, &rest) != u32::from_le_bytes(sum) {
        return None;
    }
    let count = span.last.next().since(span.first);
    let mut entries = Vec::new();
    for number in 0..count {
        let (length, _) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if rest.len() < 4 + length {
            return None;
        }
        let record = rest.split_to(4 + length).slice(4..);
        entries.push((span.first.after(number), Entry::decode(record)));
    }
    rest.is_empty().then_some(entries)
}

/// CRC32C over the sequences and the entries.
fn checksum(span: Span, entries: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&span.key()), entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(payloads: &[Vec<u8>]) -> (Span, Vec<(Sequence, Entry)>) {
        let first = Sequence::from_opaque(7);
        let entries: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(number, payload)| {
                let entry = Entry {
                    source: "feed".into(),
                    received_ms: 5,
                    identity: None,
                    reason: None,
                    payload: payload.clone().into(),
                };
                (first.after(number as u64), entry)
            })
            .collect();
        (Span { first, last: first.after(payloads.len() as u64 - 1) }, entries)
    }

    proptest! {
        #[test]
        fn a_group_is_read_as_it_was_written_and_no_changed_byte_goes_unnoticed(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5),
            place in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<prop::sample::Index>(),
        ) {
            let (span, entries) = group(&payloads);
            let bytes = encode(span, &entries);
            let read = decode(span, &Bytes::from(bytes.clone())).unwrap();
            let read: Vec<_> = read.into_iter().map(|(sequence, entry)| (sequence, entry.unwrap())).collect();
            prop_assert_eq!(read, entries);
            let mut damaged = bytes.clone();
            damaged[place.index(bytes.len())] ^= flip;
            prop_assert_eq!(decode(span, &damaged.into()), None);
            prop_assert_eq!(decode(span, &bytes[..cut.index(bytes.len())].to_vec().into()), None);
            let elsewhere = Span { first: span.first.next(), last: span.last.next() };
            prop_assert_eq!(decode(elsewhere, &bytes.into()), None, "it is another group's");
        }
    }
}
