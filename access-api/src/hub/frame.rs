//! A result, encoded once for all clients.

use std::sync::{Arc, OnceLock};

use common::protocol::{Cursor, ServerFrame, Update};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How every result frame begins. A snapshot frame differs only in this.
const RESULT_HEAD: &str = r#"{"type":"result""#;
const SNAPSHOT_HEAD: &str = r#"{"type":"snapshot""#;
/// How a frame around the result `()` ends; the payload replaces it.
const NO_RESULT: &str = "null}";

/// An upper bound, in bytes, of what a frame adds to its result, the query's name excepted.
pub const WRAPPING_BYTES: usize = 1024;

/// A result, encoded for clients.
#[derive(Debug)]
pub struct Frame {
    /// Its position in the stream.
    pub cursor: Cursor,
    /// The index of its query, see [`State::queries`](super::state::State::queries).
    pub query: usize,
    /// The number of this result among those of its query, from 1.
    pub nth: u64,
    result: Utf8Bytes,
    snapshot: OnceLock<Utf8Bytes>,
}

impl Frame {
    /// Wraps `payload`, a result as it was published, which stays unchanged byte for byte.
    ///
    /// # Errors
    /// When the frame cannot be serialised.
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

    /// The text of the `snapshot` frame. The first call makes it, and calls `encoded`.
    pub fn snapshot(&self, encoded: impl FnOnce()) -> Utf8Bytes {
        let text = self.snapshot.get_or_init(|| {
            encoded();
            let tail = self.result.strip_prefix(RESULT_HEAD).unwrap_or_default();
            format!("{SNAPSHOT_HEAD}{tail}").into()
        });
        text.clone()
    }

    /// How many of the ring's bytes it takes: those of the `result` frame.
    pub fn bytes(&self) -> usize {
        self.result.len()
    }
}
