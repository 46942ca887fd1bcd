//! Reads an event stream. Events come out the same however the bytes are divided when they come in.
//!
//! What is kept of a stream is at most: one line and one event's data, each up to the limit, and an id. The data stays
//! byte for byte as it was received.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::source::feed::{CUT_BYTES, Frame};

/// The longest id that is kept, in bytes. A longer one could not be sent back in a header.
const MAX_ID_BYTES: usize = 4096;
/// The longest time that `retry` can ask for: one line must not stop a feed for hours.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// How much longer than an event's data a line may be: the name of the field and what is around it.
const NAME_BYTES: usize = 16;

/// Reads one stream.
pub(super) struct Events {
    wanted: Vec<String>,
    limit: usize,
    /// What has arrived and was not looked at.
    chunk: Bytes,
    /// The beginning of a line whose end has not arrived, up to its limit.
    line: Vec<u8>,
    /// Whether the last line ended with `\r`, so that a `\n` belongs to the same end.
    after_cr: bool,
    /// Whether no line has ended yet.
    is_first: bool,
    /// The data of the event that is arriving; `None` if it has none.
    data: Option<Vec<u8>>,
    /// The type of that event; empty for `message`.
    kind: Vec<u8>,
    /// Whether that event is too large: its data is the first bytes, and what follows is dropped.
    is_cut: bool,
    id: Option<Bytes>,
    retry: Duration,
}

impl Events {
    /// A stream at its beginning. Events whose data is above `limit` bytes are cut. `wanted` are the types of events that
    /// are messages; empty for all.
    pub(super) fn new(wanted: &[String], limit: usize) -> Self {
        Self {
            wanted: wanted.to_vec(),
            limit,
            chunk: Bytes::new(),
            line: Vec::new(),
            after_cr: false,
            is_first: true,
            data: None,
            kind: Vec::new(),
            is_cut: false,
            id: None,
            retry: Duration::ZERO,
        }
    }

    /// How long the feed wants to be left alone after this connection.
    pub(super) fn retry(&self) -> Duration {
        self.retry
    }

    /// Takes what has arrived. All events before must have been taken out.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// The next event; `None` if more has to arrive.
    pub(super) fn next(&mut self) -> Option<Frame> {
        while !self.chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && self.chunk[0] == b'\n' {
                self.chunk = self.chunk.slice(1..);
                continue;
            }
            let end = self.chunk.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let part = self.chunk.split_to(end.unwrap_or(self.chunk.len()));
            let room = (self.limit.max(MAX_ID_BYTES) + NAME_BYTES).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let event = if end.is_some() {
                self.after_cr = self.chunk[0] == b'\r';
                self.chunk = self.chunk.slice(1..);
                let line = std::mem::take(&mut self.line);
                let event = self.take(&line);
                self.line = line;
                self.line.clear();
                event
            } else {
                self.overflow();
                None
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Takes a whole line, without its end. Returns the event that it completes.
    fn take(&mut self, line: &[u8]) -> Option<Frame> {
        let bom: &[u8] = if std::mem::take(&mut self.is_first) { b"\xef\xbb\xbf" } else { b"" };
        let line = line.strip_prefix(bom).unwrap_or(line);
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.take_data(value),
            b"event" => self.kind = value[..value.len().min(MAX_ID_BYTES)].to_vec(),
            b"id" if value.len() <= MAX_ID_BYTES && HeaderValue::from_bytes(value).is_ok() => {
                self.id = Some(Bytes::copy_from_slice(value));
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                self.retry = ms.map_or(MAX_RETRY, Duration::from_millis).min(MAX_RETRY);
            }
            // A comment (its name is empty), a field that does not exist, or an id that cannot be sent back.
            _ => {}
        }
        None
    }

    fn take_data(&mut self, value: &[u8]) {
        if self.is_cut {
            return;
        }
        let data = match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data
            }
            none => none.insert(Vec::new()),
        };
        let room = (self.limit + 1).saturating_sub(data.len());
        data.extend_from_slice(&value[..value.len().min(room)]);
        if data.len() > self.limit {
            self.is_cut = true;
            *data = data[..CUT_BYTES.min(self.limit)].to_vec();
        }
    }

    /// Ends the event at a blank line.
    fn dispatch(&mut self) -> Option<Frame> {
        let kind = std::mem::take(&mut self.kind);
        let is_cut = std::mem::take(&mut self.is_cut);
        let data = self.data.take()?;
        self.wants(&kind).then(|| Frame {
            payload: data.into(),
            cut: is_cut.then_some(self.limit as u64 + 1),
            cursor: self.id.clone(),
            ..Frame::default()
        })
    }

    /// Takes the line that is arriving if it makes the event too large.
    fn overflow(&mut self) {
        let bom = if self.is_first { 3 } else { 0 };
        let before = self.data.as_ref().map_or(0, |data| data.len() + 1);
        let value =
            self.line.get(bom..).filter(|_| bom > 0 && self.line.starts_with(b"\xef\xbb\xbf"));
        let Some(value) = value.unwrap_or(&self.line).strip_prefix(b"data:") else { return };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if !self.is_cut && before + value.len() > self.limit {
            let value = value.to_vec();
            self.take_data(&value);
        }
    }

    fn wants(&self, kind: &[u8]) -> bool {
        let kind = if kind.is_empty() { b"message" } else { kind };
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted.as_bytes() == kind)
    }
}

#[cfg(test)]
mod tests;
