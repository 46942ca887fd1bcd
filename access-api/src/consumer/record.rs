//! The kinds of records in the topic of results. Pure.

use common::protocol::StreamId;
use common::result::audit;

use crate::envelope::{AuditEnvelope, Envelope, Unreadable};
use crate::hub::Dropped;

/// A record of the topic of results.
#[derive(Debug, PartialEq)]
pub enum Record<'a> {
    /// The topic's identity.
    Stream(StreamId),
    /// The newest result of a query.
    Newest(Envelope),
    /// The newest audit.
    Audit(AuditEnvelope),
    /// The query was removed: a record without a value.
    Retired(&'a str),
    /// Anything else in the topic: another key with a `/`, or a record without a value whose key is not text.
    Other,
}

/// Why a record is dropped.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It is not a result.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Its key is not the query's name. The newest result of a query has that key, so that compaction keeps it.
    #[error("a result of `{query}` whose key is not the query's name")]
    ForeignKey {
        /// The query.
        query: String,
    },
}

impl Invalid {
    /// As what it is counted.
    pub const fn dropped(&self) -> Dropped {
        match self {
            Self::Unreadable(_) => Dropped::Malformed,
            Self::ForeignKey { .. } => Dropped::ForeignKey,
        }
    }
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// When it is to be dropped.
    pub fn read(key: Option<&'a [u8]>, payload: Option<&[u8]>) -> Result<Self, Invalid> {
        let key = key.unwrap_or_default();
        if let Some(stream) = StreamId::from_key(key) {
            return Ok(Self::Stream(stream));
        }
        if let (true, Some(payload)) = (key == audit::KEY.as_bytes(), payload) {
            return Ok(Self::Audit(AuditEnvelope::read(payload)?));
        }
        if key.contains(&b'/') {
            return Ok(Self::Other);
        }
        let Some(payload) = payload else {
            return Ok(std::str::from_utf8(key).map_or(Self::Other, Self::Retired));
        };
        let result = Envelope::read(payload)?;
        if result.query.as_bytes() != key {
            return Err(Invalid::ForeignKey { query: result.query });
        }
        Ok(Self::Newest(result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str =
        r#"{"v":1,"query":"topics","window":{"kind":"lunar","moons":3},"version":5,"new":[1]}"#;

    fn read<'a>(key: &'a str, payload: Option<&str>) -> Result<Record<'a>, Invalid> {
        Record::read(Some(key.as_bytes()), payload.map(str::as_bytes))
    }

    #[test]
    fn a_result_of_a_kind_that_is_not_known_is_read_as_far_as_it_is_known() {
        let Ok(Record::Newest(result)) = read("topics", Some(RESULT)) else { panic!() };
        assert_eq!((result.query.as_str(), result.version), ("topics", 5));
        assert_eq!(result.window["moons"], 3);
        assert_eq!(result.stream(), None);
    }

    #[test]
    fn only_a_record_whose_key_is_the_querys_name_is_its_newest_result() {
        assert!(matches!(read("topics/1f/0", Some(RESULT)), Ok(Record::Other)));
        assert!(matches!(read("topics/1f/0", None), Ok(Record::Other)));
        for key in ["topic", "", "Topics"] {
            let invalid = read(key, Some(RESULT)).unwrap_err();
            assert_eq!(invalid.dropped().as_str(), "foreign_key", "{key}");
        }
        assert!(matches!(read("topics", None), Ok(Record::Retired("topics"))));
    }

    #[test]
    fn a_stream_is_named_by_the_key_alone() {
        let stream = StreamId(7);
        for payload in [None, Some(""), Some("{}")] {
            let key = stream.key();
            assert!(matches!(read(&key, payload), Ok(Record::Stream(s)) if s == stream));
        }
        assert!(matches!(read("stream/x", Some("")), Ok(Record::Other)));
    }

    #[test]
    fn the_audit_is_known_by_its_key_and_is_no_result() {
        let audit = r#"{"v":1,"stream":"0000000000000007","version":9,"news":[]}"#;
        let Ok(Record::Audit(envelope)) = read(audit::KEY, Some(audit)) else { panic!() };
        assert_eq!((envelope.version, envelope.stream()), (9, Some(StreamId(7))));
        assert!(matches!(read("audit/else", Some(audit)), Ok(Record::Other)));
        assert!(matches!(read(audit::KEY, None), Ok(Record::Other)));
        for malformed in ["", "{}", r#"{"v":9,"version":1}"#] {
            assert_eq!(
                read(audit::KEY, Some(malformed)).unwrap_err().dropped().as_str(),
                "malformed"
            );
        }
    }

    #[test]
    fn what_is_no_result_is_malformed() {
        let newer = RESULT.replace("\"v\":1", "\"v\":9");
        for payload in ["", "{", "null", "[]", "{\"v\":1}", &newer] {
            assert_eq!(read("topics", Some(payload)).unwrap_err().dropped().as_str(), "malformed");
        }
        let invalid = Record::read(Some(b"topics"), Some(&[0xff, 0xfe])).unwrap_err();
        assert_eq!(invalid.dropped().as_str(), "malformed");
    }
}
