//! The ledger: what became of every message, by source.
//!
//! Each source has an account. So has what the message log held at the start ([`Account::RECOVERED`]), and so have
//! the collector's own [control records](common::event::control) ([`Account::CONTROL`]). In each account
//!
//! ```text
//! received + recovered = published + dead letters + pending + failed + evicted + damaged + dropped + shed + filtered
//! ```
//!
//! holds at any moment, because each side is only changed together with the other, under one lock: what was received is
//! pending until it is something else. As that would hide a message that is entered twice or not at all, the same entries are
//! counted a second time by their sequences, which no account has: all that are pending and failed are the entries of the log
//! that are not settled.
//!
//! The journal enters what it has written once a group, and the delivery what became of it once a turn, so that there is no
//! lock for each message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::Reason;
use common::message_log::{Recovered, Sequence};
use common::result::missed::Cause;

/// The name of [`Account::RECOVERED`]; no source can have it.
pub const RECOVERED: &str = "(recovered)";
/// The name of [`Account::CONTROL`], and the source of such an entry in the log; no source can have it.
pub const CONTROL: &str = "(control)";

/// The accounts of all sources. Clones are the same.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Mutex<Books>>);

/// An account in a ledger. Names are not looked up for each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(usize);

/// What was entered in an account since the process started, in messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken from the source: in the log, dropped, shed or filtered.
    pub received: u64,
    /// In the log at the start.
    pub recovered: u64,
    /// Events that Kafka has.
    pub published: u64,
    /// Dead letters that Kafka has.
    pub dead_letters: BTreeMap<Reason, u64>,
    /// Refused by Kafka and kept; this one also falls.
    pub failed: i64,
    /// Refused by Kafka and removed because too many were kept.
    pub evicted: u64,
    /// Could not be read from the log.
    pub damaged: u64,
    /// Dropped before the log, because there was no room, or later, because Kafka may have it and must not have it twice.
    pub dropped: u64,
    /// Dropped before the log by load shedding.
    pub shed: u64,
    /// Left out of the log because `keep` says so.
    pub filtered: u64,
}

/// Why a message that was received does not come into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// There was no room for it.
    Dropped,
    /// Load shedding dropped it.
    Shed,
    /// `keep` says so.
    Filtered,
}

/// How much is in the log and not settled, counted by sequences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// All entries of groups before are settled.
    pub low: Sequence,
    /// How many behind it are settled too.
    pub above: u64,
    /// How many entries are kept outside of the groups.
    pub aside: u64,
    /// How many were lost whose source is not known yet: they are pending in its account until it is.
    pub unattributed: u64,
}

/// The ledger at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The accounts with their names; the recovered one is the first.
    pub accounts: Vec<(Arc<str>, Counts)>,
    /// How many entries of the log are not settled, by their sequences: as many as are pending and failed.
    pub log_entries: u64,
}

#[derive(Debug)]
struct Books {
    accounts: Vec<(Arc<str>, Counts)>,
    /// Everything before was received.
    end: Sequence,
    unsettled: Unsettled,
}

impl Account {
    /// The account of what the log held at the start. Its entries are of any source.
    pub const RECOVERED: Self = Self(0);
    /// The account of control records.
    pub const CONTROL: Self = Self(1);

    /// Its place among the accounts.
    pub const fn index(self) -> usize {
        self.0
    }
}

impl From<LeftOut> for Cause {
    fn from(why: LeftOut) -> Self {
        match why {
            LeftOut::Dropped => Self::Dropped,
            LeftOut::Shed => Self::Shed,
            LeftOut::Filtered => Self::Filtered,
        }
    }
}

impl Counts {
    /// How many messages wait for Kafka. It would be negative if one were entered twice.
    pub fn pending(&self) -> i64 {
        let dead_letters: u64 = self.dead_letters.values().sum();
        let left_out = self.dropped + self.shed + self.filtered;
        let gone = self.published + dead_letters + self.evicted + self.damaged + left_out;
        (self.received + self.recovered).wrapping_sub(gone).cast_signed() - self.failed
    }

    fn add(&mut self, more: &Self) {
        let Self { received, recovered, published, failed, evicted, damaged, .. } = more;
        let Self { dropped, shed, filtered, .. } = more;
        self.received += received;
        self.recovered += recovered;
        self.published += published;
        for (reason, count) in &more.dead_letters {
            *self.dead_letters.entry(*reason).or_default() += count;
        }
        self.failed += failed;
        self.evicted += evicted;
        self.damaged += damaged;
        self.dropped += dropped;
        self.shed += shed;
        self.filtered += filtered;
    }
}

impl Statement {
    /// All accounts together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, counts) in &self.accounts {
            total.add(counts);
        }
        total
    }
}

impl Default for Ledger {
    fn default() -> Self {
        let books = Books {
            accounts: [RECOVERED, CONTROL].map(|name| (name.into(), Counts::default())).into(),
            end: Sequence::ZERO,
            unsettled: Unsettled::default(),
        };
        Self(Arc::new(Mutex::new(books)))
    }
}

impl Ledger {
    /// The account of the source of this name, which is there from then on.
    pub fn open(&self, source: &str) -> Account {
        let accounts = &mut self.books().accounts;
        let known = accounts.iter().position(|(name, _)| &**name == source);
        Account(known.unwrap_or_else(|| {
            accounts.push((source.into(), Counts::default()));
            accounts.len() - 1
        }))
    }

    /// The accounts of sources and of control records, with their names.
    pub fn sources(&self) -> Vec<(Arc<str>, Account)> {
        let books = self.books();
        let accounts = books.accounts.iter().enumerate().skip(1);
        accounts.map(|(index, (name, _))| (Arc::clone(name), Account(index))).collect()
    }

    /// Enters what the log holds at the start.
    pub fn begin(&self, found: &Recovered) {
        let (failed, damaged) = (found.failed.len() as u64, found.damaged as u64);
        let mut books = self.books();
        books.end = found.end;
        books.unsettled = Unsettled {
            low: found.settled.low(),
            above: found.settled.count_above(),
            aside: found.deferred.len() as u64 + failed,
            unattributed: 0,
        };
        books.accounts[Account::RECOVERED.0].1 = Counts {
            recovered: found.pending() + failed + damaged,
            failed: failed.cast_signed(),
            damaged,
            ..Counts::default()
        };
    }

    /// So many messages of these sources are in the log, whose entries end before `end`.
    pub fn received(&self, messages: impl IntoIterator<Item = (Account, u64)>, end: Sequence) {
        let mut books = self.books();
        books.end = end;
        for (account, messages) in messages {
            books.accounts[account.0].1.received += messages;
        }
    }

    /// So many messages were received and do not come into the log.
    pub fn leave_out(&self, account: Account, why: LeftOut, messages: u64) {
        let counts = &mut self.books().accounts[account.0].1;
        counts.received += messages;
        *match why {
            LeftOut::Dropped => &mut counts.dropped,
            LeftOut::Shed => &mut counts.shed,
            LeftOut::Filtered => &mut counts.filtered,
        } += messages;
    }

    /// Enters what became of messages, by account, and what is in the log now.
    pub fn enter(&self, changes: &[Counts], unsettled: Unsettled) {
        let mut books = self.books();
        for ((_, counts), change) in books.accounts.iter_mut().zip(changes) {
            counts.add(change);
        }
        books.unsettled = unsettled;
    }

    /// How many messages are pending in each account, and the end of those that were received.
    pub fn pending(&self) -> (Vec<i64>, Sequence) {
        let books = self.books();
        (books.accounts.iter().map(|(_, counts)| counts.pending()).collect(), books.end)
    }

    /// The ledger at this moment.
    pub fn statement(&self) -> Statement {
        let books = self.books();
        let Unsettled { low, above, aside, unattributed } = books.unsettled;
        let groups = books.end.since(low).saturating_sub(above);
        Statement { accounts: books.accounts.clone(), log_entries: groups + aside + unattributed }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
