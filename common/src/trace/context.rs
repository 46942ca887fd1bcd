//! Ids of traces and spans. All that two processes have to agree on are hashes of what both know.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(u128);

/// The id of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(u64);

/// A span, named as others refer to it. Its text is a `traceparent` of W3C Trace Context, sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Context {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
}

/// A text that is not a `traceparent` of a sampled span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of a sampled span")]
pub struct InvalidContext;

impl TraceId {
    /// The trace of the event with this id.
    pub fn of_event(id: &str) -> Self {
        Self::of(&[b"event", id.as_bytes()])
    }

    /// The trace of the result of this query and version in this stream.
    pub fn of_result(stream: &str, query: &str, version: u64) -> Self {
        Self::of(&[b"result", stream.as_bytes(), query.as_bytes(), &version.to_be_bytes()])
    }

    fn of(parts: &[&[u8]]) -> Self {
        // The id 0 means that there is none.
        Self(hasher(parts).digest128().max(1))
    }
}

impl SpanId {
    /// A span that nobody refers to without having been told its id.
    pub fn random() -> Self {
        Self(rand::random::<u64>().max(1))
    }

    /// The span in which the collector received the message of this `mr-seq`.
    pub fn of_receipt(trace: TraceId, seq: &str) -> Self {
        Self::of(&[b"receive", &trace.0.to_be_bytes(), seq.as_bytes()])
    }

    /// The span in which the record at this place of the raw topic was published.
    pub fn of_record(trace: TraceId, partition: i32, offset: i64) -> Self {
        let (partition, offset) = (partition.to_be_bytes(), offset.to_be_bytes());
        Self::of(&[b"publish", &trace.0.to_be_bytes(), &partition, &offset])
    }

    fn of(parts: &[&[u8]]) -> Self {
        Self(hasher(parts).digest().max(1))
    }
}

impl Context {
    /// Several in one text, which [`list`](Self::list) reads.
    pub fn join(contexts: &[Self]) -> String {
        contexts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// Those in a text that [`join`](Self::join) made; what is none is left out.
    pub fn list(text: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let texts = std::str::from_utf8(text).unwrap_or_default().split(',');
        texts.filter_map(|text| text.parse().ok())
    }
}

/// The parts are told apart by their lengths.
fn hasher(parts: &[&[u8]]) -> Xxh3 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.span)
    }
}

impl FromStr for Context {
    type Err = InvalidContext;

    fn from_str(text: &str) -> Result<Self, InvalidContext> {
        let mut parts = text.split('-');
        let mut next = |length: usize| {
            let is_hex = |part: &&str| {
                part.len() == length && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            };
            let part = parts.next().filter(is_hex).ok_or(InvalidContext)?;
            u128::from_str_radix(part, 16).map_err(|_| InvalidContext)
        };
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let span = u64::try_from(span).map_err(|_| InvalidContext)?;
        // Later versions may append parts.
        let is_known = version < 0xff && (version > 0 || parts.next().is_none());
        if is_known && trace > 0 && span > 0 && flags & 1 == 1 {
            Ok(Self { trace: TraceId(trace), span: SpanId(span) })
        } else {
            Err(InvalidContext)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_traceparent_of_a_sampled_span_is_none() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(valid.parse::<Context>().unwrap().to_string(), valid);
        let longer = format!("{valid}-what-comes-later").replacen("00", "01", 1);
        assert!(longer.parse::<Context>().is_ok());
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01",
        ] {
            assert_eq!(wrong.parse::<Context>(), Err(InvalidContext), "{wrong}");
        }
    }

    #[test]
    fn spans_of_one_trace_differ_by_what_they_are_of() {
        let trace = TraceId::of_event("1525:yes");
        let spans = [
            SpanId::of_record(trace, 0, 1),
            SpanId::of_record(trace, 1, 0),
            SpanId::of_receipt(trace, "a:1"),
            SpanId::of_receipt(trace, "b:1"),
            SpanId::of_receipt(TraceId::of_event("1525:no"), "a:1"),
        ];
        let different: std::collections::BTreeSet<_> = spans.into_iter().collect();
        assert_eq!(different.len(), spans.len());
        assert_ne!(TraceId::of_result("s", "ab", 1), TraceId::of_result("sa", "b", 1));
    }

    proptest! {
        #[test]
        fn a_list_reads_back_what_was_joined(ids in proptest::collection::vec((1u128.., 1u64..), 0..40)) {
            let contexts: Vec<_> = ids
                .into_iter()
                .map(|(trace, span)| Context { trace: TraceId(trace), span: SpanId(span) })
                .collect();
            let text = Context::join(&contexts);
            prop_assert_eq!(Context::list(text.as_bytes()).collect::<Vec<_>>(), contexts);
        }
    }
}
