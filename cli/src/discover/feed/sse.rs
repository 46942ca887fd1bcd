//! Server-sent events, as the collector takes them apart: data, and the type of an event. Pure.

use std::sync::Arc;

use bytes::Bytes;

use super::came::MAX_MESSAGE;

/// The type of an event that names none.
const MESSAGE: &str = "message";

/// Divides a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    of: Option<Arc<str>>,
    too_large: bool,
    after_return: bool,
}

/// An event with data, or one that was too large.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Data(Bytes, Option<Arc<str>>),
    TooLarge,
}

impl Events {
    /// Takes in bytes, and returns the events that end in them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                _ if self.line.len() + self.data.len() < MAX_MESSAGE => self.line.push(byte),
                _ => self.too_large = true,
            }
        }
        events
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let of = self.of.take().unwrap_or_else(|| MESSAGE.into());
            if std::mem::take(&mut self.too_large) {
                self.has_data = false;
                return Some(Event::TooLarge);
            }
            return std::mem::take(&mut self.has_data).then(|| Event::Data(data.into(), Some(of)));
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // An empty type is none.
            b"event" => {
                self.of =
                    (!value.is_empty()).then(|| String::from_utf8_lossy(value).as_ref().into());
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_divided() {
        let text = "\u{feff}:hello\r\n\r\nevent: update\ndata: {\"a\":\ndata:1}\nid: 7\n\nretry: 5\n\ndata: x\r\r";
        let expected = [
            Event::Data("{\"a\":\n1}".into(), Some("update".into())),
            Event::Data("x".into(), Some("message".into())),
        ];
        for size in 1..text.len() {
            let mut events = Events::default();
            let all: Vec<Event> =
                text.as_bytes().chunks(size).flat_map(|part| events.push(part)).collect();
            assert_eq!(all, expected, "in parts of {size}");
        }
    }
}
