//! A result, encoded once for all clients.

use std::sync::{Arc, OnceLock};

use common::protocol::{Cursor, ServerFrame, Update};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How every result frame begins; a snapshot frame differs in nothing else.
const RESULT_HEAD: &str = r#"{"type":"result""#;
const SNAPSHOT_HEAD: &str = r#"{"type":"snapshot""#;
/// How the frame of no result ends; the payload takes its place.
const NO_RESULT: &str = "null}";

/// More than anything takes that is wrapped around a result, but for its query's name.
pub const WRAPPING_BYTES: usize = 1024;

/// A result, encoded for clients.
#[derive(Debug)]
pub struct Frame {
    /// Its place in the stream.
    pub cursor: Cursor,
    /// Which query, see [`State`](super::state::State).
    pub query: usize,
    /// Its place among the results of its query, from 1.
    pub nth: u64,
    result: Utf8Bytes,
    snapshot: OnceLock<Utf8Bytes>,
}

impl Frame {
    /// Wraps `payload`, which is a result as published, byte for byte.
    ///
    /// # Errors
    /// When the query's name has no JSON form.
    pub fn encode(
        (query, index): (&str, usize),
        nth: u64,
        cursor: Cursor,
        lag_ms: u64,
        payload: &str,
    ) -> serde_json::Result<Arc<Self>> {
        let update = Update { query: query.to_owned(), cursor, lag_ms, result: () };
        let mut text = serde_json::to_string(&ServerFrame::Result(update))?;
        text.truncate(text.len() - NO_RESULT.len());
        text.reserve_exact(payload.len() + 1);
        text.push_str(payload);
        text.push('}');
        Ok(Arc::new(Self {
            cursor,
            query: index,
            nth,
            result: text.into(),
            snapshot: OnceLock::new(),
        }))
    }

    /// The text of the `result` frame.
    pub fn result(&self) -> Utf8Bytes {
        self.result.clone()
    }

    /// The text of the `snapshot` frame; made when it is wanted first, then `encoded` is called.
    pub fn snapshot(&self, encoded: impl FnOnce()) -> Utf8Bytes {
        let text = self.snapshot.get_or_init(|| {
            encoded();
            let tail = self.result.strip_prefix(RESULT_HEAD).unwrap_or_default();
            format!("{SNAPSHOT_HEAD}{tail}").into()
        });
        text.clone()
    }

    /// What it takes of the ring's bytes.
    pub fn bytes(&self) -> usize {
        self.result.len()
    }
}
