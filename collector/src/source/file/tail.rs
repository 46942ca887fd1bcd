//! The thread that reads: a file, and those that take its place; or a stream, such as a pipe.
//!
//! It has a thread of its own, because a read of a pipe cannot be interrupted. It ends with the process, or when what it reads is
//! not wanted any more.
//!
//! | what happens to a file that is followed | what is done |
//! |---|---|
//! | it is not there yet, or may not be read | it is waited for |
//! | it is renamed, and made anew | it is read to its end, until nothing has come for [`GRACE`]; then the files that were rotated meanwhile, then the new one |
//! | it is truncated | it is read from its beginning; if a copy of it is in the folder, what was not read is read there first, else there is a gap |
//! | it cannot be read any more, and is renamed then | a gap, and the next one is read |
//! | it is deleted | what is open is read on, until there is a new one |

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::content::{Content, Format};
use super::place::{Identity, Place};
use super::rotated;

/// How often a file is looked at that has been read to its end, or cannot be read.
const POLL: Duration = Duration::from_millis(100);
/// How long a file that was renamed may get no more bytes before the next one is read.
const GRACE: Duration = Duration::from_secs(2);
/// How often what takes more than a look at it is done when nothing seems to have changed: the beginning of a file is compared,
/// and a folder is searched.
const SEARCH: Duration = Duration::from_secs(1);
/// How much is read at once, and how many such pieces may wait.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 4;

/// What is told of what is read.
#[derive(Debug)]
pub(super) enum Piece {
    /// From now on it is this file, from this place on; `None` for a stream.
    Begin(PathBuf, Option<Place>, Why),
    /// What came next. The file is told with more certainty the more it has.
    Bytes(Bytes, Option<Identity>),
    /// How long the file is.
    Size(u64),
    /// The file has ended: its last message may have no end.
    End,
    /// What was begun is not a message, and what came after it may be missing, for this reason.
    Gap(&'static str),
    /// Nothing can be read at present.
    Waiting(String),
    /// Nothing more will come.
    Finished,
    /// Nothing more can be read.
    Failed(String),
}

/// Why a file is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is the first, or the one that was read before a restart.
    Start,
    /// It took the place of the one before.
    Rotated,
    /// It was truncated.
    Truncated,
    /// It was truncated before a restart, and there is no copy of it.
    Cut,
    /// What was read before a restart is not there any more.
    Lost,
}

/// Nobody wants to know any more, or there is nothing more to say.
#[derive(Debug)]
struct Gone;

type Step<T = ()> = Result<T, Gone>;

struct Tail {
    path: PathBuf,
    follow: bool,
    pieces: mpsc::Sender<Piece>,
}

/// A regular file that is read.
struct Current {
    content: Content,
    file: File,
    place: Place,
    /// How long it was, and when it was written to, when its beginning was compared last, and when that was.
    compared: Option<(u64, Option<SystemTime>, Instant)>,
}

/// Why a file is not read any more.
enum Left {
    Ended,
    Rotated,
    /// Also rotated, but not read to its end.
    Unreadable,
    Truncated,
    Failed(io::Error),
}

/// Starts the thread. It begins at the place that is given, if that can be found.
///
/// # Errors
/// When the system does not start it.
pub(super) fn start(
    path: &Path,
    follow: bool,
    place: Option<Place>,
) -> io::Result<mpsc::Receiver<Piece>> {
    let (pieces, received) = mpsc::channel(PIECES);
    let tail = Tail { path: path.to_owned(), follow, pieces };
    let run = move || {
        // The end of the other side ends this one.
        let _gone = tail.run(place);
    };
    thread::Builder::new().name("file".to_owned()).spawn(run)?;
    Ok(received)
}

impl Tail {
    fn run(&self, place: Option<Place>) -> Step {
        if self.path.as_os_str() == "-" {
            return self.stream(io::stdin).and_then(|()| self.tell(Piece::Finished));
        }
        let mut told = false;
        let mut search_at = Instant::now();
        loop {
            match fs::metadata(&self.path) {
                Ok(found) if found.is_file() => return self.files(place),
                Ok(found) if found.is_dir() => {
                    self.wait(&io::Error::from(io::ErrorKind::IsADirectory), &mut told)?;
                }
                Ok(_pipe) => match File::open(&self.path) {
                    Ok(file) => {
                        told = false;
                        self.stream(move || file)?;
                        // When its writers have ended, the next ones are waited for.
                        if !self.follow {
                            return self.tell(Piece::Finished);
                        }
                    }
                    Err(error) => self.wait(&error, &mut told)?,
                },
                // It may just be renamed.
                Err(error) => {
                    if self.follow && search_at <= Instant::now() {
                        search_at = Instant::now() + SEARCH;
                        let is_found = |place| rotated::find(&self.path, &place).is_some();
                        if place.is_some_and(is_found) {
                            return self.files(place);
                        }
                    }
                    self.wait(&error, &mut told)?;
                }
            }
        }
    }

    // === streams ===

    fn stream<R: io::Read + Send + 'static>(&self, open: impl FnOnce() -> R) -> Step {
        self.tell(Piece::Begin(self.path.clone(), None, Why::Start))?;
        let mut buffer = vec![0; PIECE_BYTES];
        let outcome = Content::of_stream(open()).and_then(|mut content| {
            loop {
                match content.read(&mut buffer)? {
                    0 => return Ok(Ok(())),
                    bytes => {
                        let bytes = Bytes::copy_from_slice(&buffer[..bytes]);
                        if let Err(gone) = self.tell(Piece::Bytes(bytes, None)) {
                            return Ok(Err(gone));
                        }
                    }
                }
            }
        });
        match outcome {
            Ok(step) => step.and_then(|()| self.tell(Piece::End)),
            Err(error) => self.fail(&error),
        }
    }

    // === files ===

    fn files(&self, place: Option<Place>) -> Step {
        let mut told = false;
        let (mut path, mut place, mut why) = self.await_first(place, &mut told)?;
        loop {
            let mut current = match Current::open(&path, place) {
                Ok(current) => current,
                Err(error) if is_damage(&error) => return self.fail(&error),
                // It was renamed again, or deleted, before it could be opened.
                Err(error) if path != self.path && error.kind() == io::ErrorKind::NotFound => {
                    (path, place, why) = match place {
                        Some(_) => self.await_first(place, &mut told)?,
                        None => (self.path.clone(), None, Why::Lost),
                    };
                    continue;
                }
                Err(error) => {
                    self.wait(&error, &mut told)?;
                    continue;
                }
            };
            told = false;
            if self.follow && current.content.is_stream() && path == self.path {
                let why = "a packed file cannot be followed; write follow = false";
                return self.fail(&io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if why == Why::Cut {
                self.tell(Piece::Gap("the file was truncated while it was not read"))?;
            }
            self.tell(Piece::Begin(path.clone(), Some(current.place), why))?;
            let left = self.read(&mut current)?;
            let at = current.place;
            (path, place, why) = match left {
                Left::Ended => {
                    self.tell(Piece::End)?;
                    return self.tell(Piece::Finished);
                }
                Left::Failed(error) => return self.fail(&error),
                Left::Unreadable => {
                    self.tell(Piece::Gap("the file could not be read to its end"))?;
                    (self.next(&current), None, Why::Rotated)
                }
                Left::Rotated => {
                    self.tell(Piece::End)?;
                    (self.next(&current), None, Why::Rotated)
                }
                Left::Truncated => {
                    match rotated::find(&self.path, &at)
                        .and_then(|copy| Current::open(&copy, Some(at)).ok())
                    {
                        Some(mut copy) => self.read_copy(&mut copy)?,
                        None => {
                            let why = "the file was truncated, and there is no copy of it";
                            self.tell(Piece::Gap(why))?;
                        }
                    }
                    (self.path.clone(), None, Why::Truncated)
                }
            };
        }
    }

    /// The file that is read after one that was rotated.
    fn next(&self, current: &Current) -> PathBuf {
        let written = current.file.metadata().and_then(|found| found.modified()).ok();
        let next = written.and_then(|written| rotated::after(&self.path, written, &current.place));
        next.unwrap_or_else(|| self.path.clone())
    }

    /// Where to begin, as soon as that can be said.
    fn await_first(
        &self,
        place: Option<Place>,
        told: &mut bool,
    ) -> Step<(PathBuf, Option<Place>, Why)> {
        loop {
            match self.first(place) {
                Ok(first) => return Ok(first),
                Err(error) => self.wait(&error, told)?,
            }
        }
    }

    /// Where to begin: at the place that is known, if its file is there. A file that is there and cannot be opened may be
    /// that one.
    fn first(&self, place: Option<Place>) -> io::Result<(PathBuf, Option<Place>, Why)> {
        let own = self.path.clone();
        let Some(place) = place else { return Ok((own, None, Why::Start)) };
        let opened = match File::open(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            opened => opened,
        };
        let found = opened.and_then(|file| {
            let is_long =
                Format::of_file(&file)? != Format::Plain || file.metadata()?.len() >= place.offset;
            Ok((place.file.is(&file)?, is_long, place.file.is_inode(&file.metadata()?)))
        });
        Ok(match found {
            Ok((true, true, _)) => (own, Some(place), Why::Start),
            _ if !self.follow => (own, None, Why::Start),
            found => match rotated::find(&own, &place) {
                Some(other) => (other, Some(place), Why::Start),
                None if found.is_ok_and(|(is_same, _, is_inode)| is_same || is_inode) => {
                    (own, None, Why::Cut)
                }
                None => (own, None, Why::Lost),
            },
        })
    }

    /// Reads a file, and follows it.
    fn read(&self, current: &mut Current) -> Step<Left> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut quiet = Instant::now();
        let (mut is_renamed, mut told) = (false, false);
        loop {
            if self.follow && !current.is_itself() {
                return Ok(Left::Truncated);
            }
            let is_stuck = match current.read(&mut buffer) {
                Ok(0) if !self.follow => return Ok(Left::Ended),
                Ok(0) => {
                    told = false;
                    false
                }
                Ok(bytes) => {
                    quiet = Instant::now();
                    let bytes = Bytes::copy_from_slice(&buffer[..bytes]);
                    self.tell(Piece::Bytes(bytes, Some(current.place.file)))?;
                    self.tell_size(current)?;
                    continue;
                }
                Err(error) if current.content.is_stream() => return Ok(Left::Failed(error)),
                Err(error) => {
                    self.tell_waiting(&error, &mut told)?;
                    true
                }
            };
            let there = fs::metadata(&self.path).ok();
            let is_other = there.is_some_and(|there| !current.place.file.is_inode(&there));
            if is_other && !is_renamed {
                quiet = Instant::now();
            }
            is_renamed = is_other;
            if is_renamed && quiet.elapsed() >= GRACE {
                return Ok(if is_stuck { Left::Unreadable } else { Left::Rotated });
            }
            if !is_stuck {
                self.tell_size(current)?;
            }
            self.pause()?;
        }
    }

    /// Reads what the copy of a truncated file has more, to its end.
    fn read_copy(&self, copy: &mut Current) -> Step {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match copy.read(&mut buffer) {
                Ok(0) => return self.tell(Piece::End),
                Ok(bytes) => {
                    let bytes = Bytes::copy_from_slice(&buffer[..bytes]);
                    self.tell(Piece::Bytes(bytes, Some(copy.place.file)))?;
                }
                Err(_) => {
                    let why = "the file was truncated, and its copy cannot be read to its end";
                    return self.tell(Piece::Gap(why));
                }
            }
        }
    }

    // === telling ===

    fn tell(&self, piece: Piece) -> Step {
        self.pieces.blocking_send(piece).map_err(|_| Gone)
    }

    fn tell_size(&self, current: &Current) -> Step {
        match current.file.metadata() {
            Ok(found) if !current.content.is_stream() => self.tell(Piece::Size(found.len())),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn fail(&self, error: &io::Error) -> Step {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "it is packed and ends too early; what was there was read".to_owned()
            }
            _ => error.to_string(),
        };
        self.tell(Piece::Failed(format!("{}: {why}", self.path.display()))).and(Err(Gone))
    }

    /// Waits a moment, and says once why.
    fn wait(&self, error: &io::Error, told: &mut bool) -> Step {
        self.tell_waiting(error, told)?;
        self.pause()
    }

    fn tell_waiting(&self, error: &io::Error, told: &mut bool) -> Step {
        if !std::mem::replace(told, true) {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "is not there yet".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            self.tell(Piece::Waiting(format!("{} {why}", self.path.display())))?;
        }
        Ok(())
    }

    fn pause(&self) -> Step {
        thread::sleep(POLL);
        if self.pieces.is_closed() { Err(Gone) } else { Ok(()) }
    }
}

/// Whether trying again would not help.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::InvalidData | Kind::InvalidInput | Kind::UnexpectedEof)
}

impl Current {
    /// Opens a file at this place; without one at its beginning.
    fn open(path: &Path, place: Option<Place>) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut place = place.unwrap_or_default();
        place.file = Identity::of(&file)?;
        let format = Format::of_file(&file)?;
        let content = Content::of_file(file.try_clone()?, format, place.offset)?;
        Ok(Self { content, file, place, compared: None })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.content.read(buffer)?;
        if bytes > 0 && self.place.file.may_grow() {
            self.place.file = Identity::of(&self.file)?;
        }
        self.place.offset += bytes as u64;
        Ok(bytes)
    }

    /// Whether it still holds what was read of it. Its beginning is compared when it was written to, and once in [`SEARCH`].
    fn is_itself(&mut self) -> bool {
        let Ok(found) = self.file.metadata() else { return true };
        if !self.content.is_stream() && found.len() < self.place.offset {
            return false;
        }
        let (length, written) = (found.len(), found.modified().ok());
        let is_known = self.compared.is_some_and(|(length_then, written_then, at)| {
            (length, written) == (length_then, written_then) && at.elapsed() < SEARCH
        });
        if is_known {
            return true;
        }
        self.compared = Some((length, written, Instant::now()));
        self.place.file.begins(&self.file).unwrap_or(true)
    }
}
