//! Changes two kinds of messages of a WebSocket server on their way to the implementation of the protocol.
//!
//! That implementation ends the connection at a message that is larger than its limit, and at a text that is
//! not UTF-8. A feed that can resume would then send the same message again and again; one that cannot would
//! have a gap. So both are changed before they get there:
//!
//! - Only the first bytes of a message above the limit are passed on; the rest is dropped while it arrives.
//!   Its length is noted in [`Seen`].
//! - Texts are passed on as binary messages, because the pipeline decides whether a payload is UTF-8.
//!
//! Everything else is passed on unchanged, including frames that break the protocol.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(test)]
mod tests;

/// How many bytes are passed on of a message whose first frame is too large.
const CUT_BYTES: u64 = crate::source::feed::CUT_BYTES as u64;
const BUFFER_BYTES: usize = 16 << 10;
/// The longest header of a frame: two bytes, eight of length, four of a mask.
const HEADER_BYTES: usize = 14;

const FINAL: u8 = 0x80;
const BINARY: u8 = 2;

/// What was seen in a stream; shared with the reader of the messages.
#[derive(Debug, Default)]
pub(super) struct Seen {
    bytes: AtomicU64,
    cut: Mutex<VecDeque<Cut>>,
}

/// A message of which only the first bytes were passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// How many data messages came before it.
    number: u64,
    /// How many bytes it had up to the frame at which it was cut, that frame included.
    bytes: u64,
}

/// A stream whose incoming frames are inspected.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// The part of the buffer that is not passed on yet.
    unread: std::ops::Range<usize>,
    scanner: Scanner,
    seen: Arc<Seen>,
}

/// The position in the stream of frames.
#[derive(Debug)]
struct Scanner {
    limit: u64,
    state: State,
    /// Bytes of the data message that is arriving.
    message: u64,
    /// Whether the rest of the data message that is arriving is dropped.
    cutting: bool,
    /// How many data messages have been passed on.
    messages: u64,
}

#[derive(Debug)]
enum State {
    /// In the answer to the handshake. The number counts how many bytes of `\r\n\r\n` have come in a row.
    Handshake(usize),
    /// In a frame's header, of which `len` bytes have come.
    Header { bytes: [u8; HEADER_BYTES], len: usize },
    /// The bytes `from..to` of a header must be passed on; then comes its payload.
    Emit { bytes: [u8; HEADER_BYTES], from: usize, to: usize, pass: u64, drop: u64 },
    /// In a payload: `pass` bytes must be passed on, the next `drop` bytes dropped.
    Payload { pass: u64, drop: u64 },
}

// === impl Seen ===

impl Seen {
    /// How many bytes have arrived.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many bytes the data message of this number had, if it was cut. Numbers must be asked for in order.
    pub(super) fn cut(&self, number: u64) -> Option<u64> {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.pop_front_if(|first| first.number == number).map(|first| first.bytes)
    }

    fn note(&self, cut: Cut) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).push_back(cut);
    }
}

// === impl Frames ===

impl<S> Frames<S> {
    /// Inspects what comes from `stream`, beginning with the answer to the handshake. Messages above `limit`
    /// bytes are cut.
    pub(super) fn new(stream: S, limit: usize) -> (Self, Arc<Seen>) {
        let seen = Arc::<Seen>::default();
        let scanner = Scanner {
            limit: limit as u64,
            state: State::Handshake(0),
            message: 0,
            cutting: false,
            messages: 0,
        };
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        (Self { stream, buffer, unread: 0..0, scanner, seen: Arc::clone(&seen) }, seen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            let unread = &this.buffer[this.unread.clone()];
            this.unread.start += this.scanner.pass(unread, out, &this.seen);
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut this.buffer[..]);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer))?;
            this.unread = 0..buffer.filled().len();
            if this.unread.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.seen.bytes.fetch_add(this.unread.len() as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

// === impl Scanner ===

impl Scanner {
    /// Passes `input` on to `out` until `out` is full, and returns how many bytes of it were used.
    fn pass(&mut self, input: &[u8], out: &mut ReadBuf<'_>, seen: &Seen) -> usize {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match &mut self.state {
                State::Handshake(_) | State::Header { .. } if rest.is_empty() => return used,
                State::Handshake(matched) => {
                    if out.remaining() == 0 {
                        return used;
                    }
                    let byte = rest[0];
                    out.put_slice(&[byte]);
                    used += 1;
                    *matched = match (*matched, byte) {
                        (0 | 2, b'\r') => *matched + 1,
                        (1 | 3, b'\n') => *matched + 1,
                        (_, b'\r') => 1,
                        _ => 0,
                    };
                    if *matched == 4 {
                        self.state = State::Header { bytes: [0; HEADER_BYTES], len: 0 };
                    }
                }
                State::Header { bytes, len } => {
                    bytes[*len] = rest[0];
                    *len += 1;
                    used += 1;
                    if *len == header_len(&bytes[..*len]) {
                        let (bytes, len) = (*bytes, *len);
                        self.state = self.begin(bytes, len, seen);
                    }
                }
                State::Emit { bytes, from, to, pass, drop } => {
                    let room = out.remaining().min(*to - *from);
                    out.put_slice(&bytes[*from..*from + room]);
                    *from += room;
                    if from < to {
                        return used;
                    }
                    self.state = State::Payload { pass: *pass, drop: *drop };
                }
                State::Payload { pass: 0, drop: 0 } => {
                    self.state = State::Header { bytes: [0; HEADER_BYTES], len: 0 };
                }
                State::Payload { pass: 0, drop } => {
                    let size = (rest.len() as u64).min(*drop);
                    if size == 0 {
                        return used;
                    }
                    *drop -= size;
                    used += size as usize;
                }
                State::Payload { pass, .. } => {
                    let size = rest.len().min(out.remaining()) as u64;
                    let size = size.min(*pass);
                    if size == 0 {
                        return used;
                    }
                    out.put_slice(&rest[..size as usize]);
                    *pass -= size;
                    used += size as usize;
                }
            }
        }
    }

    /// Decides what happens to the frame that has this header.
    fn begin(&mut self, mut bytes: [u8; HEADER_BYTES], len: usize, seen: &Seen) -> State {
        let payload = payload_len(&bytes);
        let (last, opcode) = (bytes[0] & FINAL != 0, bytes[0] & 0x0f);
        let unchanged = |bytes| State::Emit { bytes, from: 0, to: len, pass: payload, drop: 0 };
        match opcode {
            0 if self.cutting => {
                self.cutting = !last;
                State::Payload { pass: 0, drop: payload }
            }
            0 if self.message.saturating_add(payload) > self.limit => {
                seen.note(Cut {
                    number: self.messages,
                    bytes: self.message.saturating_add(payload),
                });
                self.messages += 1;
                self.cutting = !last;
                // An empty last fragment, passed on instead of this one, ends the message here.
                let mut end = [0; HEADER_BYTES];
                end[0] = FINAL;
                State::Emit { bytes: end, from: 0, to: 2, pass: 0, drop: payload }
            }
            0 => {
                self.message += payload;
                self.messages += u64::from(last);
                unchanged(bytes)
            }
            1 | 2 => {
                bytes[0] = bytes[0] & 0xf0 | BINARY;
                self.message = payload;
                self.cutting = false;
                if payload <= self.limit {
                    self.messages += u64::from(last);
                    return unchanged(bytes);
                }
                seen.note(Cut { number: self.messages, bytes: payload });
                self.messages += 1;
                self.cutting = !last;
                let pass = self.limit.min(CUT_BYTES);
                bytes[0] |= FINAL;
                let to = put_len(&mut bytes, pass);
                State::Emit { bytes, from: 0, to, pass, drop: payload - pass }
            }
            // Pings, pongs, closes, and opcodes that do not exist.
            _ => unchanged(bytes),
        }
    }
}

/// The length of the header that begins with `bytes`, as far as they tell.
fn header_len(bytes: &[u8]) -> usize {
    let Some(second) = bytes.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    // Servers must not mask; a masked frame is refused by the implementation of the protocol.
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

fn payload_len(bytes: &[u8; HEADER_BYTES]) -> u64 {
    match bytes[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => bytes[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        short => u64::from(short),
    }
}

/// Writes the length of a payload of at most [`CUT_BYTES`] into a header, and returns the header's length.
fn put_len(bytes: &mut [u8; HEADER_BYTES], payload: u64) -> usize {
    const _: () = assert!(CUT_BYTES <= u16::MAX as u64);
    if payload < 126 {
        bytes[1] = payload as u8;
        2
    } else {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
        4
    }
}
