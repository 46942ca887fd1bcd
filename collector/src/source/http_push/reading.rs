//! Reads bodies: no more bytes than one may have, no longer than it may take, and no more at the same time than the memory
//! for all of them.
//!
//! Memory is taken for what has come, and nobody waits for it: a body that finds none is refused at once and gives back what
//! it has, so that bodies that do not come to their end cannot make others wait. Strangers, whose signature can only be checked
//! with the whole body, leave half of it to others.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::asked::Encoding;
use super::problem::{Problem, RETRY_AFTER_S, Step};

/// How many bytes of bodies are held at the same time.
const BODIES_BYTES: usize = 64 << 20;
/// How many of them have to be free after a stranger has got some.
const RESERVED_BYTES: usize = BODIES_BYTES / 2;
/// How much is decompressed at once.
const STEP_BYTES: usize = 64 << 10;
/// The largest window of zstd: RFC 8878 asks each decoder for as much. More would be memory that no limit counts.
const WINDOW_LOG: u32 = 23;
/// How long the rest of a body that is not wanted is read, so that the client can read the answer.
const DISCARD_DEADLINE: Duration = Duration::from_secs(1);

/// The memory for bodies.
#[derive(Debug, Clone)]
pub struct Bodies {
    room: Arc<Semaphore>,
    most: usize,
    timeout: Duration,
}

/// A body and its part of the memory.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    /// Its part of the memory.
    pub share: Share,
}

/// A part of the memory for bodies, until it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Semaphore>,
    held: usize,
}

impl Bodies {
    /// Each body may have `most` bytes, and take `timeout` to come.
    pub fn new(most: usize, timeout: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(BODIES_BYTES)), most, timeout }
    }

    /// Checks the length that a body has by its head.
    ///
    /// # Errors
    /// The answer to a body that is too large.
    pub fn check(&self, body: &Incoming) -> Step<()> {
        let fits = body.size_hint().lower() <= self.most as u64;
        if fits { Ok(()) } else { Err(Problem::too_large(self.most)) }
    }

    /// Reads a body, maybe one of a stranger.
    ///
    /// # Errors
    /// The answer to a body that is too large or does not come to its end, or for which there is no room.
    pub async fn read(&self, mut body: Incoming, is_stranger: bool) -> Step<Held> {
        let deadline = Instant::now() + self.timeout;
        let reserved = if is_stranger { RESERVED_BYTES } else { 0 };
        let (mut bytes, mut share) = (BytesMut::new(), Share::of(&self.room));
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_elapsed| {
                let detail = format!("the body did not come to its end within {:?}", self.timeout);
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
            })?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                Problem::bad_request("body", format!("the body cannot be read to its end: {error}"))
            })?;
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.most {
                discard(body).await;
                return Err(Problem::too_large(self.most));
            }
            if let Err(problem) = share.grow(data.len(), reserved) {
                drop((bytes, share));
                discard(body).await;
                return Err(problem);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), share })
    }

    /// Decompresses a body.
    ///
    /// # Errors
    /// The answer to a body that becomes too large, or is not what it says.
    pub async fn decompress(&self, body: Held, encoding: Encoding) -> Step<Held> {
        if encoding == Encoding::None {
            return Ok(body);
        }
        let (mut share, most) = (Share::of(&self.room), self.most);
        let working = tokio::task::spawn_blocking(move || {
            let bytes = decompress(&body.bytes, encoding, most, |bytes| share.grow(bytes, 0))?;
            Ok(Held { bytes: bytes.into(), share })
        });
        working.await.unwrap_or_else(|_panicked| Err(Problem::internal()))
    }
}

impl Share {
    fn of(room: &Arc<Semaphore>) -> Self {
        Self { room: Arc::clone(room), held: 0 }
    }

    /// Takes some more, if `reserved` bytes are free after that.
    fn grow(&mut self, bytes: usize, reserved: usize) -> Step<()> {
        let wanted = u32::try_from(bytes).ok();
        let has_room = self.room.available_permits() >= bytes.saturating_add(reserved);
        match wanted.filter(|_| has_room).map(|wanted| self.room.try_acquire_many(wanted)) {
            Some(Ok(permit)) => {
                permit.forget();
                self.held += bytes;
                Ok(())
            }
            Some(Err(_)) | None => {
                let detail = "other requests take all the memory for bodies; send it again";
                Err(Problem::unavailable(detail, RETRY_AFTER_S))
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.add_permits(self.held);
    }
}

/// Reads a body that is not wanted, for a moment: a connection that is closed with unread bytes in it is reset, and the
/// answer is lost.
pub async fn discard(mut body: Incoming) {
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    let _in_time = tokio::time::timeout(DISCARD_DEADLINE, reading).await;
}

/// Decompresses a body to at most `most` bytes. Asks `grow` for the memory of each piece.
fn decompress(
    body: &[u8],
    encoding: Encoding,
    most: usize,
    mut grow: impl FnMut(usize) -> Step<()>,
) -> Step<Vec<u8>> {
    let failed = |error: io::Error| {
        let detail = format!("the body cannot be decompressed: {error}");
        Problem::bad_request("content_encoding", detail)
    };
    let mut decoder: Box<dyn Read + '_> = match encoding {
        Encoding::None => Box::new(body),
        Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(body).map_err(failed)?;
            decoder.window_log_max(WINDOW_LOG).map_err(failed)?;
            Box::new(decoder)
        }
    };
    let (mut bytes, mut step) = (Vec::new(), vec![0; STEP_BYTES]);
    loop {
        let read = match decoder.read(&mut step) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if bytes.len() + read > most {
            return Err(Problem::too_large(most));
        }
        grow(read)?;
        bytes.extend_from_slice(&step[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 19).unwrap()
    }

    fn unpacked(body: &[u8], encoding: Encoding) -> Step<Vec<u8>> {
        decompress(body, encoding, 1000, |_| Ok(()))
    }

    fn status(body: &[u8], encoding: Encoding) -> u16 {
        unpacked(body, encoding).unwrap_err().status.as_u16()
    }

    #[test]
    fn a_body_is_what_was_compressed() {
        let text = b"{\"a\":1}".repeat(100);
        assert_eq!(unpacked(&gzip(&text), Encoding::Gzip).unwrap(), text);
        assert_eq!(unpacked(&zstd(&text), Encoding::Zstd).unwrap(), text);
        let twice = [gzip(b"{}"), gzip(b"[]")].concat();
        assert_eq!(unpacked(&twice, Encoding::Gzip).unwrap(), b"{}[]");
    }

    #[test]
    fn a_bomb_is_not_blown_up_beyond_the_limit() {
        let zeros = vec![0; 64 << 20];
        for (bomb, encoding) in [(gzip(&zeros), Encoding::Gzip), (zstd(&zeros), Encoding::Zstd)] {
            assert!(bomb.len() < 100_000);
            assert_eq!(status(&bomb, encoding), 413);
        }
    }

    #[test]
    fn what_is_decompressed_takes_memory_as_it_grows_and_gives_all_of_it_back() {
        let room = Arc::new(Semaphore::new(2 * STEP_BYTES));
        let text = vec![b'x'; STEP_BYTES + 1];
        let (mut share, packed) = (Share::of(&room), gzip(&text));
        let grow = |bytes| share.grow(bytes, 0);
        assert_eq!(decompress(&packed, Encoding::Gzip, usize::MAX, grow).unwrap(), text);
        assert_eq!(room.available_permits(), STEP_BYTES - 1);
        let grow = |bytes| share.grow(bytes, 0);
        let refused = decompress(&packed, Encoding::Gzip, usize::MAX, grow).unwrap_err();
        assert_eq!(refused.status.as_u16(), 503);
        drop(share);
        assert_eq!(room.available_permits(), 2 * STEP_BYTES);
    }

    #[test]
    fn what_is_not_compressed_as_it_says_or_cut_off_is_a_bad_request() {
        let text = b"{\"a\":1}".repeat(10);
        for (body, encoding) in [
            (text.clone(), Encoding::Gzip),
            (text.clone(), Encoding::Zstd),
            (gzip(&text)[..30].to_vec(), Encoding::Gzip),
            (zstd(&text)[..12].to_vec(), Encoding::Zstd),
            ([gzip(&text), text.clone()].concat(), Encoding::Gzip),
        ] {
            assert_eq!(status(&body, encoding), 400);
        }
    }
}
