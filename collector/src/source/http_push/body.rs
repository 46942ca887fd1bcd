//! Divides the body of a request into its events, whose bytes stay as they were.

use std::ops::Range;

use common::event::Reason;
use common::event::json::Reader;
use http::header::{CONTENT_TYPE, HeaderMap};

#[cfg(test)]
mod tests;

/// How a body holds its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON array, whose elements are the events, or JSON texts one after another.
    Json,
    /// Every line that is not blank is an event.
    Lines,
    /// JSON text sequences (RFC 7464): an event follows each record separator.
    Sequence,
}

/// Where an event is in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its bytes.
    pub span: Range<usize>,
    /// The line in which it begins, from 1 on.
    pub line: usize,
}

/// Why a body cannot be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undivided {
    /// It is not what its content type says.
    Bad {
        /// The line up to which it is.
        line: usize,
        /// What is wrong there.
        reason: Reason,
    },
    /// It has more events than it may have.
    TooMany,
}

/// The types that are understood, as the answer to any other names them.
pub const TYPES: &str = "application/json (one event, an array, or several), application/x-ndjson, application/json-seq";

/// The record separator of JSON text sequences.
const SEPARATOR: u8 = 0x1e;

impl Form {
    /// The form that the content type of a request says; `None` if it is not understood.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (essence, _parameters) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" | "text/json" => Some(Self::Json),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/jsonlines"
            | "application/x-jsonlines"
            | "application/json-lines" => Some(Self::Lines),
            "application/json-seq" => Some(Self::Sequence),
            // Such as application/cloudevents+json.
            other => (other.starts_with("application/") && other.ends_with("+json"))
                .then_some(Self::Json),
        }
    }

    /// Divides a body into at most `most` events.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn divide(self, body: &[u8], most: usize) -> Result<Vec<Part>, Undivided> {
        let mut parts = Parts { body, most, found: Vec::new(), counted: 0, line: 1 };
        match self {
            Self::Json => parts.json()?,
            Self::Lines => parts.pieces(b'\n')?,
            Self::Sequence => parts.pieces(SEPARATOR)?,
        }
        if parts.found.is_empty() {
            return Err(Undivided::Bad { line: 1, reason: Reason::Empty });
        }
        Ok(parts.found)
    }
}

/// What was found in a body so far.
struct Parts<'a> {
    body: &'a [u8],
    most: usize,
    found: Vec<Part>,
    /// Up to here the lines are counted.
    counted: usize,
    line: usize,
}

impl Parts<'_> {
    /// Each piece between bytes `end` that is not blank.
    fn pieces(&mut self, end: u8) -> Result<(), Undivided> {
        let mut start = 0;
        for piece in self.body.split(|&byte| byte == end) {
            let text = piece.trim_ascii();
            if !text.is_empty() {
                let blank = piece.len() - piece.trim_ascii_start().len();
                self.add(start + blank..start + blank + text.len())?;
            }
            start += piece.len() + 1;
        }
        Ok(())
    }

    fn json(&mut self) -> Result<(), Undivided> {
        let mut reader = Reader::of_payload(self.body)
            .map_err(|reason| Undivided::Bad { line: self.line_of_bad(reason), reason })?;
        // A byte order mark.
        let skipped = self.body.len() - reader.text().len();
        let divided = self.values(&mut reader, skipped);
        divided.map_err(|error| match error {
            Stop::TooMany => Undivided::TooMany,
            Stop::Bad(reason) => {
                let line = self.line_at(skipped + reader.position());
                Undivided::Bad { line, reason }
            }
        })
    }

    fn values(&mut self, reader: &mut Reader<'_>, skipped: usize) -> Result<(), Stop> {
        if reader.open(b'[')? {
            let mut first = true;
            while reader.element(first)? {
                first = false;
                self.value(reader, skipped)?;
            }
            return Ok(reader.end()?);
        }
        while reader.peek().is_some() {
            self.value(reader, skipped)?;
        }
        Ok(())
    }

    fn value(&mut self, reader: &mut Reader<'_>, skipped: usize) -> Result<(), Stop> {
        reader.peek();
        let start = reader.position();
        reader.skip()?;
        let span = skipped + start..skipped + reader.position();
        self.add(span).map_err(|_too_many| Stop::TooMany)
    }

    fn add(&mut self, span: Range<usize>) -> Result<(), Undivided> {
        if self.found.len() == self.most {
            return Err(Undivided::TooMany);
        }
        let line = self.line_at(span.start);
        self.found.push(Part { span, line });
        Ok(())
    }

    /// The line of a position, none of which comes before the former one.
    fn line_at(&mut self, position: usize) -> usize {
        let position = position.clamp(self.counted, self.body.len());
        let passed = &self.body[self.counted..position];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.counted = position;
        self.line
    }

    /// The line of what keeps the whole body from being read.
    fn line_of_bad(&mut self, reason: Reason) -> usize {
        match (reason, std::str::from_utf8(self.body)) {
            (Reason::InvalidUtf8, Err(error)) => self.line_at(error.valid_up_to()),
            _ => 1,
        }
    }
}

/// Why reading JSON stops.
enum Stop {
    Bad(Reason),
    TooMany,
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Bad(reason)
    }
}
