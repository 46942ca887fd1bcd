//! A file: a recording, the standard input or another pipe, or a growing file that is followed.
//!
//! Each message has its place in the file as the cursor, so that a restart goes on after the last one that was logged. A pipe has
//! no places: what was read of it and not logged is lost with the process.
//!
//! | what happens | what is done |
//! |---|---|
//! | the end of a file that is not followed | the last line is a message, also without a newline; the source is finished, and ready |
//! | the end of one that is followed | the last line waits for its newline; see [`tail`] for what else may happen to it |
//! | a packed file ends too early, or is damaged | what could be read was taken; the source is not ready and says why |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter, and the next one is looked for |
//! | NULs before a message, as a crash of the writer or a truncation leaves them | they are blank |
//! | the queue is full | reading waits, and the file does not |

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::event::Reason;
use tokio_util::sync::CancellationToken;

use super::End;
use super::connection::Connection;
use super::feed::Frame;
use super::splitter::Splitter;
use crate::config::File as Section;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::intake::{Closed, Intake, Message};
use crate::metrics::{FileMetrics, SourceMetrics};
use place::{Identity, Place};
use tail::{Piece, Why};

mod content;
mod place;
mod rotated;
mod tail;
#[cfg(test)]
mod tests;

/// A file that is not read yet.
pub struct File {
    source: Arc<str>,
    section: Section,
    source_metrics: SourceMetrics,
    metrics: FileMetrics,
    connection: Connection,
}

/// What is needed to read it.
struct Reader {
    file: File,
    intake: Intake,
    stop: CancellationToken,
    splitter: Splitter,
    /// Which file is read; `None` for a stream.
    identity: Option<Identity>,
    /// Where the splitter began in it.
    begun_at: u64,
    /// Whether nothing could be read yet, or at present.
    is_waiting: bool,
}

/// Why nothing more is taken.
enum Stop {
    Stopped,
    Closed,
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl File {
    /// Checks that there is something to read.
    ///
    /// # Errors
    /// When there is nothing at the path, or nothing that may be read; a file that is followed may come later.
    pub fn new(
        source: &Arc<str>,
        section: &Section,
        source_metrics: SourceMetrics,
        metrics: FileMetrics,
        connection: Connection,
    ) -> Result<Self, Error> {
        check(&section.path, section.follow)
            .map_err(|why| Error::File { path: section.path.clone(), why })?;
        let (source, section) = (Arc::clone(source), section.clone());
        Ok(Self { source, section, source_metrics, metrics, connection })
    }
}

/// What is wrong with this path.
fn check(path: &Path, follow: bool) -> Result<(), String> {
    if path.as_os_str() == "-" {
        return Ok(());
    }
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && follow => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("there is no such file; write follow = true to wait for it".to_owned());
        }
        found => found.map_err(|error| format!("{error}; check the rights of its folders"))?,
    };
    if found.is_dir() {
        return Err("it is a folder; name one of its files".to_owned());
    }
    if found.is_file() {
        fs::File::open(path).map_err(|error| {
            format!("{error}; give the user that the collector runs as the right to read it")
        })?;
    }
    Ok(())
}

impl super::Source for File {
    async fn run(self, intake: Intake, resume: Option<Cursor>, stop: CancellationToken) -> End {
        let place = resume.and_then(|cursor| Place::read(&cursor.0));
        let Section { path, follow, framing, max_message_bytes, .. } = &self.section;
        let pieces = tail::start(path, *follow, place);
        let splitter = Splitter::of_file(framing, *max_message_bytes, false);
        let mut reader = Reader {
            file: self,
            intake,
            stop,
            splitter,
            identity: None,
            begun_at: 0,
            is_waiting: true,
        };
        let stopped = match pieces {
            Ok(mut pieces) => loop {
                let piece = tokio::select! {
                    biased;
                    () = reader.stop.cancelled() => break Stop::Stopped,
                    () = reader.intake.closed() => break Stop::Closed,
                    Some(piece) = pieces.recv() => piece,
                    else => break reader.ended().await,
                };
                if let Err(stopped) = reader.take(piece).await {
                    break stopped;
                }
            },
            Err(error) => {
                reader.fail(&format!("cannot start a thread: {error}"));
                reader.ended().await
            }
        };
        reader.file.source_metrics.connected.set(0);
        match stopped {
            Stop::Stopped => End::Stopped,
            Stop::Closed => End::Closed,
        }
    }
}

impl Reader {
    async fn take(&mut self, piece: Piece) -> Result<(), Stop> {
        match piece {
            Piece::Begin(path, place, why) => self.begin(&path, place, why),
            Piece::Bytes(bytes, identity) => {
                self.readable();
                self.identity = identity;
                self.splitter.push(bytes);
                // A file has no message that cannot be read on after.
                while let Ok(Some(frame)) = self.splitter.next() {
                    self.push(frame).await?;
                }
            }
            Piece::Size(bytes) => {
                self.readable();
                self.file.metrics.size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            Piece::End => {
                if let Some(rest) = self.splitter.take_rest() {
                    self.push(rest).await?;
                }
            }
            Piece::Gap(why) => {
                drop(self.splitter.take_rest());
                self.gap(why);
            }
            Piece::Waiting(why) => {
                tracing::warn!(source = &*self.file.source, why, "waiting until it can be read");
                self.file.source_metrics.disconnects.inc();
                self.unreadable(&why);
            }
            Piece::Finished => {
                tracing::info!(source = &*self.file.source, "finished: all of it was read");
                self.file.metrics.finished.set(1);
            }
            Piece::Failed(why) => self.fail(&why),
        }
        Ok(())
    }

    fn begin(&mut self, path: &Path, place: Option<Place>, why: Why) {
        let (source, offset) = (&*self.file.source, place.map(|place| place.offset));
        let path: PathBuf = path.to_owned();
        match why {
            Why::Start => tracing::info!(source, ?path, offset, "reading"),
            Why::Rotated => tracing::info!(source, ?path, offset, "rotated, reading the next file"),
            Why::Truncated | Why::Cut => {
                tracing::warn!(
                    source,
                    ?path,
                    "the file was truncated, reading it from its beginning"
                );
                self.file.metrics.truncations.inc();
            }
            Why::Lost => {
                tracing::info!(source, ?path, "reading this one from its beginning");
                self.gap(
                    "the file that was read last, or the next one, is not in the folder any more",
                );
            }
        }
        if why == Why::Rotated {
            self.file.metrics.rotations.inc();
        }
        if place.is_none() {
            tracing::warn!(
                source,
                ?path,
                "a pipe cannot be read again: what was read and not logged is lost when the process is killed"
            );
        }
        self.file.source_metrics.connects.inc();
        self.readable();
        let place = place.unwrap_or_default();
        let Section { framing, max_message_bytes, .. } = &self.file.section;
        self.splitter = Splitter::of_file(framing, *max_message_bytes, place.is_cutting);
        self.begun_at = place.offset;
        self.position(place.offset);
    }

    /// Tells that messages may be missing.
    fn gap(&self, why: &str) {
        let why = format!("{}: {why}", self.file.section.path.display());
        self.intake.missed().gap(None, None, &why);
    }

    /// Hands a message to the pipeline when it is due.
    async fn push(&mut self, frame: Frame) -> Result<(), Stop> {
        let received_ms = self.intake.now_ms();
        let identity = match frame.cut {
            Some(bytes) => {
                let (source, limit) = (&*self.file.source, self.file.section.max_message_bytes);
                tracing::warn!(
                    source,
                    bytes,
                    limit,
                    "a message is too large; its first bytes are a dead letter, the rest is dropped"
                );
                Err(Reason::TooLarge)
            }
            None => self.intake.identify(&frame.payload),
        };
        let offset = self.begun_at + self.splitter.consumed();
        let is_cutting = self.splitter.is_cutting();
        // A JSON text that was cut can only be read from its beginning.
        let is_place = !is_cutting || self.file.section.is_by_lines();
        let place = self.identity.filter(|_| is_place);
        let cursor = place.map(|file| Cursor(Place { file, offset, is_cutting }.stored()));
        let message =
            Message { payload: frame.payload, received_ms, identity, cursor, receipt: None };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stop::Stopped),
            pushed = self.intake.push(message) => {
                pushed?;
                self.position(offset);
                self.file.source_metrics.cursor.set(received_ms);
                Ok(())
            }
        }
    }

    fn position(&self, offset: u64) {
        self.file.metrics.position.set(i64::try_from(offset).unwrap_or(i64::MAX));
    }

    fn readable(&mut self) {
        if !std::mem::take(&mut self.is_waiting) {
            return;
        }
        self.file.source_metrics.connected.set(1);
        self.file.connection.set();
    }

    fn unreadable(&mut self, why: &str) {
        self.is_waiting = true;
        self.file.source_metrics.connected.set(0);
        self.file.connection.unset(format!("{}: {why}", self.file.source));
    }

    fn fail(&mut self, why: &str) {
        tracing::error!(source = &*self.file.source, why, "the source has ended with an error");
        self.file.source_metrics.disconnects.inc();
        self.unreadable(why);
    }

    /// Waits for the end of the process: a source that ended would end the others with it.
    async fn ended(&self) -> Stop {
        tokio::select! {
            () = self.stop.cancelled() => Stop::Stopped,
            () = self.intake.closed() => Stop::Closed,
        }
    }
}
