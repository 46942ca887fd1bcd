//! Reads bodies: no more bytes than one may have, no longer than it may take, and no more at the same time than the memory
//! for all of them.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::asked::Encoding;
use super::problem::{Outcome, Problem, RETRY_AFTER_S};

/// How many bytes of bodies are held at the same time.
pub const BODIES_BYTES: usize = 64 << 20;
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
    /// Its part of the memory, until it is dropped.
    pub share: OwnedSemaphorePermit,
}

impl Bodies {
    /// Each body may have `most` bytes, and take `timeout` to come.
    pub fn new(most: usize, timeout: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(BODIES_BYTES)), most, timeout }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The answer to a body that is too large or does not come to its end, or for which there is no room.
    pub async fn read(&self, mut body: Incoming) -> Outcome<Held> {
        if body.size_hint().lower() > self.most as u64 {
            discard(body).await;
            return Err(Problem::too_large(self.most));
        }
        let deadline = Instant::now() + self.timeout;
        let mut bytes = BytesMut::new();
        let mut share = self.share(0, deadline).await?;
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
            share.merge(self.share(data.len(), deadline).await?);
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), share })
    }

    /// Decompresses a body.
    ///
    /// # Errors
    /// The answer to a body that becomes too large, or is not what it says.
    pub async fn decompress(&self, body: Held, encoding: Encoding) -> Outcome<Held> {
        if encoding == Encoding::None {
            return Ok(body);
        }
        let mut share = self.share(self.most, Instant::now() + self.timeout).await?;
        let (compressed, most) = (body.bytes.clone(), self.most);
        let working = tokio::task::spawn_blocking(move || decompress(&compressed, encoding, most));
        let bytes = working.await.unwrap_or_else(|_panicked| Err(Problem::internal()))?;
        drop(share.split(self.most - bytes.len()));
        Ok(Held { bytes: bytes.into(), share })
    }

    async fn share(&self, bytes: usize, deadline: Instant) -> Outcome<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match timeout_at(deadline, Arc::clone(&self.room).acquire_many_owned(bytes)).await {
            Ok(Ok(share)) => Ok(share),
            Ok(Err(_)) | Err(_) => {
                let detail = "other requests take all the memory for bodies; send it again";
                Err(Problem::unavailable(detail, RETRY_AFTER_S))
            }
        }
    }
}

/// Reads a body that is not wanted, for a moment: a connection that is closed with unread bytes in it is reset, and the
/// answer is lost.
pub async fn discard(mut body: Incoming) {
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    let _in_time = tokio::time::timeout(DISCARD_DEADLINE, reading).await;
}

fn decompress(body: &[u8], encoding: Encoding, most: usize) -> Outcome<Vec<u8>> {
    let decoded = match encoding {
        Encoding::None => Ok(body.to_vec()),
        Encoding::Gzip => bounded(flate2::read::MultiGzDecoder::new(body), most),
        Encoding::Zstd => zstd::stream::read::Decoder::new(body).and_then(|mut decoder| {
            decoder.window_log_max(WINDOW_LOG)?;
            bounded(decoder, most)
        }),
    };
    let bytes = decoded.map_err(|error| {
        Problem::bad_request(
            "content_encoding",
            format!("the body cannot be decompressed: {error}"),
        )
    })?;
    if bytes.len() > most { Err(Problem::too_large(most)) } else { Ok(bytes) }
}

/// Reads one byte more than `most` at the most.
fn bounded(decoder: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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

    fn status(body: &[u8], encoding: Encoding) -> u16 {
        decompress(body, encoding, 1000).unwrap_err().status.as_u16()
    }

    #[test]
    fn a_body_is_what_was_compressed() {
        let text = b"{\"a\":1}".repeat(100);
        assert_eq!(decompress(&gzip(&text), Encoding::Gzip, 1000).unwrap(), text);
        assert_eq!(decompress(&zstd(&text), Encoding::Zstd, 1000).unwrap(), text);
        let twice = [gzip(b"{}"), gzip(b"[]")].concat();
        assert_eq!(decompress(&twice, Encoding::Gzip, 1000).unwrap(), b"{}[]");
    }

    #[test]
    fn a_bomb_is_not_blown_up_beyond_the_limit() {
        let zeros = vec![0; 64 << 20];
        for (bomb, encoding) in [(gzip(&zeros), Encoding::Gzip), (zstd(&zeros), Encoding::Zstd)] {
            assert!(bomb.len() < 100_000);
            assert_eq!(status(&bomb, encoding), 413);
        }
        assert_eq!(bounded(&zeros[..], 1000).unwrap().len(), 1001);
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
