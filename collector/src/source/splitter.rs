//! Divides a stream of bytes into messages, which come out the same however the bytes are divided when they come in.

use bytes::Bytes;
use common::event::json::Reader;

use crate::config::Framing;
use crate::source::feed::{CUT_BYTES, Frame, Lost};

/// Divides one stream.
pub(super) struct Splitter {
    texts: bool,
    limit: usize,
    /// What has arrived and was not looked at.
    chunk: Bytes,
    /// The beginning of a message whose end has not arrived. It has at most two bytes more than the limit.
    begun: Vec<u8>,
    /// Whether the rest of a message that is too large is dropped.
    cutting: bool,
    /// Where in a JSON text its next byte is.
    place: Place,
    ended: bool,
    /// Whether it is a file. One cannot be asked for a part again, and a crash may have left blocks of NUL in it.
    is_file: bool,
    /// How many bytes have arrived.
    arrived: u64,
}

/// A place in a sequence of JSON texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between two of them.
    Between,
    /// In a number, a word, or something that is not JSON.
    Word,
    /// In this many objects and arrays, and perhaps in a string of theirs. 0 for a string by itself.
    Within { depth: usize, string: bool, escaped: bool },
}

impl Splitter {
    /// A stream at its beginning. Messages above `limit` bytes are cut.
    pub(super) fn new(framing: &Framing, limit: usize) -> Self {
        Self {
            texts: *framing == Framing::Concatenated,
            limit,
            chunk: Bytes::new(),
            begun: Vec::new(),
            cutting: false,
            place: Place::Between,
            ended: false,
            is_file: false,
            arrived: 0,
        }
    }

    /// A file from some place on. `cutting` says that a line that was cut goes on there. After a text that was cut the next one
    /// is looked for, and NULs before a message are blank.
    pub(super) fn of_file(framing: &Framing, limit: usize, cutting: bool) -> Self {
        Self { cutting, is_file: true, ..Self::new(framing, limit) }
    }

    /// Takes what has arrived. All messages before must have been taken out.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.arrived += chunk.len() as u64;
        self.chunk = chunk;
    }

    /// How many bytes there were up to the end of the message that was taken out last.
    pub(super) fn consumed(&self) -> u64 {
        self.arrived - self.chunk.len() as u64
    }

    /// Whether the message that was taken out last goes on, and the rest of it is dropped.
    pub(super) const fn is_cutting(&self) -> bool {
        self.cutting
    }

    /// At the end of a file: what is left, whatever it is. What comes then begins anew.
    pub(super) fn take_rest(&mut self) -> Option<Frame> {
        self.place = Place::Between;
        let rest = std::mem::take(&mut self.begun);
        let rest = rest.strip_suffix(b"\r").unwrap_or(&rest);
        let is_dropped = std::mem::take(&mut self.cutting) || rest.trim_ascii().is_empty();
        (!is_dropped).then(|| Frame::whole(rest))
    }

    /// Nothing more will arrive.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// The next message; `None` if more has to arrive.
    ///
    /// # Errors
    /// When it is not known where the next message begins.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Lost> {
        if self.texts { self.next_text() } else { Ok(self.next_line()) }
    }

    fn next_line(&mut self) -> Option<Frame> {
        while !self.chunk.is_empty() {
            if self.is_file && self.begun.is_empty() && !self.cutting {
                let blank = self.chunk.iter().take_while(|&&byte| byte == 0).count();
                self.chunk = self.chunk.slice(blank..);
            }
            let end = self.chunk.iter().position(|&byte| byte == b'\n');
            let part = self.chunk.split_to(end.unwrap_or(self.chunk.len()));
            // One byte more may be the `\r` of the line's end.
            let room = (self.limit + 2).saturating_sub(self.begun.len());
            if !self.cutting {
                self.begun.extend_from_slice(&part[..part.len().min(room)]);
            }
            if end.is_some() {
                self.chunk = self.chunk.slice(1..);
            }
            let line = match end {
                Some(_) => self.begun.strip_suffix(b"\r").unwrap_or(&self.begun),
                None => &self.begun,
            };
            // A `\r` at the limit may be that of the line's end, which is not known yet.
            let is_open =
                end.is_none() && self.begun.len() == self.limit + 1 && line.ends_with(b"\r");
            if !self.cutting && line.len() > self.limit && !is_open {
                self.cutting = end.is_none();
                return Some(self.cut());
            }
            if end.is_some() && !std::mem::take(&mut self.cutting) {
                let frame = Frame::whole(line);
                let is_blank = frame.payload.trim_ascii().is_empty();
                self.begun.clear();
                if !is_blank {
                    return Some(frame);
                }
            }
        }
        self.last()
    }

    fn next_text(&mut self) -> Result<Option<Frame>, Lost> {
        if self.cutting && !self.is_file {
            return Err(Lost::unreadable(
                "a JSON text is larger than max_message_bytes, and it is not known where the next one begins",
            ));
        }
        let mut looked = 0;
        while looked < self.chunk.len() {
            let byte = self.chunk[looked];
            let before = self.place;
            let is_blank = self.is_file && byte == 0 && before == Place::Between;
            let (ends, used) = self.place.step(if is_blank { b' ' } else { byte });
            if used {
                looked += 1;
            }
            if self.cutting {
                self.cutting = !ends;
                self.chunk = self.chunk.slice(looked..);
                looked = 0;
                continue;
            }
            if before == Place::Between && self.place == Place::Between {
                // White space.
                self.chunk = self.chunk.slice(looked..);
                looked = 0;
                continue;
            }
            if self.begun.len() + looked > self.limit {
                self.begun.extend_from_slice(&self.chunk[..looked]);
                self.chunk = self.chunk.slice(looked..);
                self.cutting = !(ends && self.is_file);
                return Ok(Some(self.cut()));
            }
            if ends {
                self.begun.extend_from_slice(&self.chunk[..looked]);
                self.chunk = self.chunk.slice(looked..);
                let frame = Frame::whole(&self.begun);
                self.begun.clear();
                return Ok(Some(frame));
            }
        }
        self.begun.extend_from_slice(&self.chunk);
        self.chunk.clear();
        Ok(self.last())
    }

    /// At the end of the stream: what is left, if it is a whole JSON text. Otherwise the stream was interrupted.
    fn last(&mut self) -> Option<Frame> {
        if !self.ended || self.cutting {
            return None;
        }
        let rest = std::mem::take(&mut self.begun);
        let rest = rest.strip_suffix(b"\r").unwrap_or(&rest);
        let whole = Reader::of_payload(rest).and_then(|mut reader| {
            reader.skip()?;
            reader.end()
        });
        whole.is_ok().then(|| Frame::whole(rest))
    }

    fn cut(&mut self) -> Frame {
        let mut begun = std::mem::take(&mut self.begun);
        begun.truncate(CUT_BYTES.min(self.limit));
        Frame { payload: begun.into(), cut: Some(self.limit as u64 + 1), ..Frame::default() }
    }
}

impl Place {
    /// Goes on by one byte. Returns whether a text ends, and whether the byte belongs to it (or to the space between).
    fn step(&mut self, byte: u8) -> (bool, bool) {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self {
            Self::Between => {
                *self = match byte {
                    _ if is_space => Self::Between,
                    b'{' | b'[' => Self::Within { depth: 1, string: false, escaped: false },
                    b'"' => Self::Within { depth: 0, string: true, escaped: false },
                    _ => Self::Word,
                };
                (false, true)
            }
            Self::Word => {
                let ends = is_space || matches!(byte, b'{' | b'[' | b'"');
                if ends {
                    *self = Self::Between;
                }
                (ends, !ends)
            }
            Self::Within { depth, string, escaped } => {
                match byte {
                    _ if *escaped => *escaped = false,
                    b'\\' if *string => *escaped = true,
                    b'"' => *string = !*string,
                    b'{' | b'[' if !*string => *depth += 1,
                    b'}' | b']' if !*string => *depth -= 1,
                    _ => {}
                }
                let ends = *depth == 0 && !*string;
                if ends {
                    *self = Self::Between;
                }
                (ends, true)
            }
        }
    }
}

#[cfg(test)]
mod tests;
