//! The messages in the body of an HTTP answer whose form is not known: lines, JSON texts one after another, or the elements of
//! an array. Pure.

use bytes::Bytes;

use super::came::{Framing, MAX_MESSAGE};

/// Divides a body into messages.
#[derive(Debug, Default)]
pub(super) struct Split {
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    taken: usize,
    form: Form,
    scan: Scan,
    is_array: bool,
    skips_line: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Form {
    #[default]
    Unknown,
    Lines,
    Texts,
    /// A message was too large to find its end.
    Lost,
}

/// How far the JSON text that begins at `taken` was looked at.
#[derive(Debug, Default, Clone, Copy)]
struct Scan {
    length: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// A message, or one that was too large.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Message(Bytes),
    TooLarge,
}

impl Split {
    /// Takes in bytes, and returns the messages that end in them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.buffer.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        self.divide(false, &mut pieces);
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.len() > MAX_MESSAGE {
            pieces.push(Piece::TooLarge);
            self.buffer.clear();
            self.scan = Scan::default();
            match self.form {
                Form::Lines => self.skips_line = true,
                Form::Unknown | Form::Texts | Form::Lost => self.form = Form::Lost,
            }
        }
        pieces
    }

    /// The messages that end with the body.
    pub(super) fn end(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.divide(true, &mut pieces);
        pieces
    }

    /// How the messages follow each other, as far as is known.
    pub(super) const fn framing(&self) -> Framing {
        match self.form {
            Form::Unknown | Form::Lines | Form::Lost => Framing::Lines,
            Form::Texts if self.is_array => Framing::Array(None),
            Form::Texts => Framing::Concatenated,
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    fn divide(&mut self, ended: bool, pieces: &mut Vec<Piece>) {
        if self.form == Form::Unknown {
            self.form = form(self.rest(), ended);
        }
        match self.form {
            Form::Unknown => {}
            Form::Lines => self.lines(ended, pieces),
            Form::Texts => while self.text(ended, pieces) {},
            Form::Lost => self.taken = self.buffer.len(),
        }
    }

    fn lines(&mut self, ended: bool, pieces: &mut Vec<Piece>) {
        loop {
            let rest = self.rest();
            let end = match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) => end,
                None if ended && !rest.is_empty() => rest.len(),
                None => return,
            };
            let line = Bytes::copy_from_slice(rest[..end].trim_ascii());
            self.taken = (self.taken + end + 1).min(self.buffer.len());
            if !std::mem::take(&mut self.skips_line) && !line.is_empty() {
                pieces.push(Piece::Message(line));
            }
        }
    }

    /// Takes the next JSON text, or what stands between two. Returns whether there may be more.
    fn text(&mut self, ended: bool, pieces: &mut Vec<Piece>) -> bool {
        let Some(&first) = self.rest().first() else { return false };
        if first == b'[' {
            self.is_array = true;
        }
        if first.is_ascii_whitespace() || b"[],\x1e".contains(&first) || first >= 0x80 {
            self.taken += 1;
            return true;
        }
        let end = if first == b'{' {
            let found = self.scan.end(&self.buffer[self.taken..]);
            found.or(if ended { Some(self.buffer.len() - self.taken) } else { None })
        } else {
            // Not an object: up to where the next thing may begin.
            let ends = |byte: &u8| b",]\n{".contains(byte);
            let rest = self.rest();
            rest.iter().position(ends).or(if ended { Some(rest.len()) } else { None })
        };
        let Some(end) = end else { return false };
        let message = Bytes::copy_from_slice(self.rest()[..end].trim_ascii());
        pieces.push(Piece::Message(message));
        self.taken += end;
        self.scan = Scan::default();
        true
    }
}

impl Scan {
    /// Where the object ends; `None` if not yet.
    fn end(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(&byte) = text.get(self.length) {
            self.length += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.length);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// The form of a body by its beginning.
fn form(head: &[u8], ended: bool) -> Form {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head.first() {
        None => Form::Unknown,
        Some(b'[') => Form::Texts,
        Some(b'{') => {
            let mut scan = Scan::default();
            let end = scan.end(head);
            let first_line = head.iter().position(|&byte| byte == b'\n');
            match (end, first_line) {
                // An object over several lines, unless the line is only cut off.
                (end, Some(line)) if end.is_none_or(|end| line < end) => {
                    let mut until = Scan::default();
                    let _open = until.end(&head[..line]);
                    if until.in_string { Form::Lines } else { Form::Texts }
                }
                (Some(end), Some(_)) => {
                    let after = head[end..].iter().find(|byte| !b" \t\r".contains(byte));
                    if after == Some(&b'\n') { Form::Lines } else { Form::Texts }
                }
                (Some(end), None) if head[end..].trim_ascii().is_empty() && !ended => Form::Unknown,
                (Some(end), None) if head[end..].trim_ascii().is_empty() => Form::Lines,
                (Some(_), None) => Form::Texts,
                (None, _) if ended => Form::Lines,
                (None, _) => Form::Unknown,
            }
        }
        Some(_) => Form::Lines,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(body: &[u8], size: usize) -> (Vec<String>, Framing) {
        let mut split = Split::default();
        let mut pieces: Vec<Piece> = body.chunks(size).flat_map(|part| split.push(part)).collect();
        pieces.extend(split.end());
        let text = |piece| match piece {
            Piece::Message(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Piece::TooLarge => "too large".to_owned(),
        };
        (pieces.into_iter().map(text).collect(), split.framing())
    }

    #[test]
    fn the_form_is_seen_by_the_first_messages() {
        let array = Framing::Array(None);
        let bodies = [
            ("{\"a\":1}\n{\"a\":2}\r\n\n", vec!["{\"a\":1}", "{\"a\":2}"], Framing::Lines),
            ("{\"a\":\"}\"}{\"a\":2}", vec!["{\"a\":\"}\"}", "{\"a\":2}"], Framing::Concatenated),
            (
                "{\n \"a\":1\n}\n{\"a\":2}",
                vec!["{\n \"a\":1\n}", "{\"a\":2}"],
                Framing::Concatenated,
            ),
            ("[{\"a\":[1]},\n{\"a\":2}]\n", vec!["{\"a\":[1]}", "{\"a\":2}"], array.clone()),
            ("[]", vec![], array),
            ("nothing\n{\"a\":2}\n", vec!["nothing", "{\"a\":2}"], Framing::Lines),
            ("{\"cut\":\"of\n{\"a\":2}\n", vec!["{\"cut\":\"of", "{\"a\":2}"], Framing::Lines),
            ("{\"a\":2}", vec!["{\"a\":2}"], Framing::Lines),
        ];
        for (body, messages, framing) in bodies {
            for size in [1, 3, 1_000] {
                assert_eq!(
                    split(body.as_bytes(), size),
                    (messages.iter().map(|&m| m.to_owned()).collect(), framing.clone()),
                    "{body:?} in parts of {size}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_divided_and_nothing_is_added(
            body in prop::collection::vec(prop::sample::select(b"{}[]\",\\\n ab1\xff".to_vec()), 0..80), size in 1..9_usize,
        ) {
            let (messages, _) = split(&body, size);
            let kept: usize = messages.iter().map(String::len).sum();
            // A byte that is no UTF-8 is shown as three.
            prop_assert!(kept <= 3 * body.len());
            prop_assert!(messages.iter().all(|message| !message.is_empty()));
        }
    }
}
