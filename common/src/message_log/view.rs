//! Looking at a log without changing it, also while a collector uses it.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::cipher::Keyring;
use super::records::Single;
use super::store::{Family, Store};
use super::{Entry, Error, Ranges, Sequence, high_water, quarantine, recovery, repair};

/// How often opening is tried while the files change.
const ATTEMPTS: usize = 8;
/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(50);
/// Groups are read in pages of so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// A log as it was at one moment. Nothing is written, not even the number of openings. What the write-ahead log holds is
/// kept in memory, see [`Options::write_ahead_bytes`](super::Options::write_ahead_bytes).
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    store: Store,
    instance: Option<String>,
    is_encrypted: bool,
    epoch: u64,
    settled: Ranges,
    /// The sequence after everything that is there or should be.
    end: Sequence,
    positions: BTreeMap<String, i64>,
    cursors: BTreeMap<String, Bytes>,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// With those that came at the same time, waiting for Kafka.
    Group,
    /// See [`Family::Deferred`].
    Deferred,
    /// See [`Family::Failed`].
    Failed,
}

/// What is in a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry that is not settled.
    Entry(Place, Sequence, Entry),
    /// What is not settled from the first sequence up to the second, without it, cannot be read. In a group each sequence is
    /// an entry; elsewhere nobody knows how many there were.
    Damaged(Place, Sequence, Sequence),
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::Group, Self::Deferred, Self::Failed];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Deferred => Family::Deferred.name(),
            Self::Failed => Family::Failed.name(),
        }
    }
}

impl From<Family> for Place {
    fn from(family: Family) -> Self {
        match family {
            Family::Deferred => Self::Deferred,
            Family::Failed => Self::Failed,
        }
    }
}

impl Found {
    /// Where it begins.
    pub const fn sequence(&self) -> Sequence {
        match self {
            Self::Entry(_, sequence, _) | Self::Damaged(_, sequence, _) => *sequence,
        }
    }
}

impl View {
    /// Looks at the log in the directory `path`, which may be encrypted with these keys.
    ///
    /// # Errors
    /// When there is none, its own values cannot be read, or keys are missing.
    pub fn open(path: &Path, keys: Option<Arc<Keyring>>) -> Result<Self, Error> {
        if matches!(path.join("CURRENT").try_exists(), Ok(false)) {
            return Err(Error::Absent { path: path.to_owned() });
        }
        let mut failed = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let before = stamp(path);
            // What is on disk by now is in what is opened next, or settled.
            let high_water = high_water::last(path);
            match Store::open_read_only(path, keys.clone()) {
                Ok(store) if stamp(path) == before => return Self::of(path, store, high_water),
                Ok(_) => failed = None,
                Err(
                    error @ (Error::OtherFormat { .. }
                    | Error::Encrypted { .. }
                    | Error::KeyMissing { .. }
                    | Error::Plain { .. }),
                ) => return Err(error),
                // A file that was deleted meanwhile looks like damage.
                Err(error) if stamp(path) == before => failed = Some(error),
                Err(_) => failed = None,
            }
        }
        Err(failed.unwrap_or_else(|| Error::Changing { path: path.to_owned() }))
    }

    fn of(path: &Path, store: Store, high_water: Option<Sequence>) -> Result<Self, Error> {
        let mut settled = store.settled()?;
        let mut end = recovery::skip_between_groups(&store, &mut settled)?;
        // What is on damaged blocks at the end is known only by the mark, or by the names of the files.
        let files = store.group_files()?.into_iter().map(|(last, _)| last);
        if let Some(last) = files.chain(high_water).max().filter(|last| *last >= end) {
            // As at a start: what is missing of earlier epochs is not known.
            settled.insert(end, last.first_of_epoch());
            end = last.next();
        }
        Ok(Self {
            path: path.to_owned(),
            instance: recovery::instance(&store)?,
            is_encrypted: store.key_uses()?.is_some() || !store.has_plain(),
            epoch: recovery::epoch(&store)?,
            settled,
            end,
            positions: store.positions()?,
            cursors: store.cursors()?,
            store,
        })
    }

    /// The id of the log; `None` if it was never opened to the end.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Whether it is encrypted.
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// How often a collector has opened it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// See [`Recovered::positions`](super::Recovered::positions).
    pub const fn positions(&self) -> &BTreeMap<String, i64> {
        &self.positions
    }

    /// Where each source resumes. The values may be secret.
    pub const fn cursors(&self) -> &BTreeMap<String, Bytes> {
        &self.cursors
    }

    /// How many files with damage are kept in the folder `damaged`.
    pub fn kept_files(&self) -> usize {
        quarantine::kept(&self.path)
    }

    /// How many files are in the folder `lost`, because an earlier repair could not use them.
    pub fn lost_files(&self) -> usize {
        repair::lost(&self.path)
    }

    /// Reads all of the log's own values, and returns how many there are.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read_metadata(&self) -> Result<u64, Error> {
        self.store.read_metadata()
    }

    /// All that is not settled, in the order of arrival. After an error what is behind it in the same place is missing, and
    /// the other places are read on.
    pub fn found(&self) -> impl Iterator<Item = Result<Found, Error>> {
        let family = |family: Family| {
            let place = Place::from(family);
            self.store.scan(family).map(move |single| {
                Ok(match single? {
                    Single::Entry(sequence, entry) => Found::Entry(place, sequence, entry),
                    Single::Damaged(from, to) => Found::Damaged(place, from, to),
                })
            })
        };
        let groups = Groups { view: self, from: self.settled.low(), ready: VecDeque::new() };
        let mut groups = groups.peekable();
        let mut families = Family::ALL.map(|one| family(one).peekable());
        iter::from_fn(move || {
            let [deferred, failed] = &mut families;
            let at = [groups.peek(), deferred.peek(), failed.peek()]
                .map(|next| next.map(|next| next.as_ref().map_or(Sequence::ZERO, Found::sequence)));
            match at
                .iter()
                .enumerate()
                .filter_map(|(place, at)| Some((*at.as_ref()?, place)))
                .min()?
            {
                (_, 0) => groups.next(),
                (_, 1) => deferred.next(),
                _ => failed.next(),
            }
        })
    }
}

/// What is not settled of the groups.
struct Groups<'v> {
    view: &'v View,
    /// All before was read.
    from: Sequence,
    ready: VecDeque<Found>,
}

impl Iterator for Groups<'_> {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let View { store, settled, end, .. } = self.view;
        while self.ready.is_empty() {
            self.from = settled.next_missing(self.from);
            if self.from >= *end {
                return None;
            }
            let page = match store.page(self.from, *end, PAGE_BYTES) {
                Ok(page) => page,
                Err(error) => {
                    self.from = *end;
                    return Some(Err(error));
                }
            };
            self.from = page.end;
            let damaged = page.damaged.iter().flat_map(|(from, to)| settled.missing(*from, *to));
            let damaged = damaged.map(|(from, to)| Found::Damaged(Place::Group, from, to));
            let entries = page.entries.into_iter();
            let entries = entries.filter(|(sequence, _)| !settled.contains(*sequence));
            let entries =
                entries.map(|(sequence, entry)| Found::Entry(Place::Group, sequence, entry));
            let mut found: Vec<_> = damaged.chain(entries).collect();
            found.sort_by_key(Found::sequence);
            self.ready = found.into();
        }
        self.ready.pop_front().map(Ok)
    }
}

/// What changes when the database's files do: RocksDB writes down each new set of files before it deletes any.
fn stamp(path: &Path) -> Option<(String, u64)> {
    let current = fs::read_to_string(path.join("CURRENT")).ok()?;
    let manifest = fs::metadata(path.join(current.trim_end())).ok()?;
    Some((current, manifest.len()))
}
