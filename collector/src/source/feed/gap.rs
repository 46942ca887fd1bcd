//! An interval whose messages are missing, until the next message comes.

#[derive(Debug)]
pub(super) struct Gap {
    /// When the last message before it came, in milliseconds since 1970; `None` if there was none.
    pub(super) after_ms: Option<i64>,
    pub(super) why: &'static str,
}
