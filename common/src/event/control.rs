//! Control records: what a collector tells the readers of `raw-rsvps` between the events.
//!
//! A control record has the key `mr-control` and an object as its value:
//!
//! ```json
//! {"mr_control":{"v":1,"id":"9f3c00000000beef",
//!  "missed":{"from_ms":1764000000000,"to_ms":1764000001000,"source":"orders","cause":"gap"}}}
//! ```
//!
//! It is logged and sent as an event is. So it is as safe, and it may come twice; `id` says which are the same. All
//! have one key, and so they are in one partition. An event whose own key is `mr-control` stays an event unless it is
//! such an object, which collectors refuse to take from a source.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::identity::Identity;
use crate::result::missed::Interval;

/// The key of every control record.
pub const KEY: &str = "mr-control";
/// The version that is written.
const VERSION: u32 = 1;

/// What a control record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Messages of a source are missing.
    Missed {
        /// Names this record and its copies.
        id: String,
        /// Which messages.
        interval: Interval,
    },
    /// Something that this version does not know.
    Unknown,
}

/// The member that every control record has, whatever it tells.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<Told> {
    mr_control: Told,
}

#[derive(Serialize, Deserialize)]
struct Told {
    v: u32,
    id: String,
    missed: Interval,
}

impl Control {
    /// Reads a record. `None` if it is no control record.
    #[inline]
    pub fn read(key: Option<&[u8]>, payload: &[u8]) -> Option<Self> {
        if key == Some(KEY.as_bytes()) { Self::parse(payload) } else { None }
    }

    #[cold]
    fn parse(payload: &[u8]) -> Option<Self> {
        // An array would be read as the members in their order.
        payload.first().filter(|first| **first == b'{')?;
        serde_json::from_slice::<Record<Map<String, Value>>>(payload).ok()?;
        let told = serde_json::from_slice::<Record<Told>>(payload).map(|record| record.mr_control);
        Some(match told {
            Ok(Told { v: VERSION, id, missed }) => Self::Missed { id, interval: missed },
            _ => Self::Unknown,
        })
    }

    /// The record about an interval, as it is logged and sent. `id` is drawn at random.
    pub fn missed(id: u64, interval: Interval) -> (Identity, Vec<u8>) {
        let id = format!("{id:016x}");
        let identity =
            Identity { key: Some(KEY.to_owned()), id: Some(format!("{KEY}:{id}")), time_ms: None };
        let record = Record { mr_control: Told { v: VERSION, id, missed: interval } };
        #[expect(clippy::expect_used, reason = "texts and numbers can always be written as JSON")]
        (identity, serde_json::to_vec(&record).expect("a record can be written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::missed::Cause;

    fn interval() -> Interval {
        let source = "orders".to_owned();
        Interval { from_ms: None, to_ms: 5, source, cause: Cause::Shed, events: Some(3) }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let (identity, payload) = Control::missed(7, interval());
        let text = r#"{"mr_control":{"v":1,"id":"0000000000000007","missed":{"from_ms":null,"to_ms":5,"source":"orders","cause":"shed","events":3}}}"#;
        assert_eq!(String::from_utf8(payload.clone()).unwrap(), text);
        let key = identity.key.unwrap();
        let id = "0000000000000007".to_owned();
        assert_eq!(identity.id.unwrap(), format!("mr-control:{id}"));
        let control = Control::read(Some(key.as_bytes()), &payload);
        assert_eq!(control, Some(Control::Missed { id, interval: interval() }));
    }

    #[test]
    fn an_event_is_none_whatever_its_key_and_its_members() {
        let (_, payload) = Control::missed(7, interval());
        assert_eq!(Control::read(None, &payload), None);
        assert_eq!(Control::read(Some(b"7"), &payload), None);
        let near = [r#"{"mr_control":5}"#, r#"{"mr_control":{},"id":5}"#, r#"[{"v":1}]"#];
        for payload in [r#"{"id":"mr-control"}"#, "[]", "", "\u{feff}"].into_iter().chain(near) {
            assert_eq!(Control::read(Some(KEY.as_bytes()), payload.as_bytes()), None, "{payload}");
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_recognised() {
        for payload in [
            r#"{"mr_control":{"v":1,"heartbeat":{}}}"#,
            r#"{"mr_control":{"v":2,"id":"a","missed":{"from_ms":1,"to_ms":2,"source":"a","cause":"gap"}}}"#,
            r#"{"mr_control":{}}"#,
        ] {
            let read = Control::read(Some(KEY.as_bytes()), payload.as_bytes());
            assert_eq!(read, Some(Control::Unknown), "{payload}");
        }
    }
}
