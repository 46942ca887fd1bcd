//! What the delivery enters in the [ledger](crate::ledger), collected and entered together, with what the outbox counts.
//!
//! The source of an entry is known when it is in memory, and for the rest of its life that is enough: where it is not settled
//! then, it is remembered. Only of what a damaged disk has lost since the start nobody knows the source. It is found by
//! what is missing: when everything else that had been received until then is settled, the sources whose messages are still
//! pending have lost them.

use std::collections::HashMap;
use std::sync::Arc;

use common::event::Reason;
use common::message_log::{Family, Sequence};

use super::super::outbox::{Outbox, Place};
use crate::ledger::{Account, Counts, Ledger, Unsettled};

#[cfg(test)]
mod tests;

/// See the [module](self).
pub(super) struct Postings {
    ledger: Ledger,
    /// The accounts of sources.
    accounts: Vec<(Arc<str>, Account)>,
    /// Entries before were in the log at the start.
    start: Sequence,
    /// What was not entered yet, by account.
    changes: Vec<Counts>,
    is_changed: bool,
    /// The accounts of entries outside of the groups. Those that were there at the start are left out.
    aside: HashMap<Sequence, Account>,
    /// How many entries were lost whose account is not known.
    unattributed: u64,
    /// Whether some of them came since the shortfall was looked at.
    is_more_lost: bool,
    shortfall: Option<Shortfall>,
}

/// Where lost entries are missing.
struct Shortfall {
    /// They are before.
    end: Sequence,
    /// How many entries before are pending in each account.
    pending: Vec<i64>,
}

impl Shortfall {
    fn settle(&mut self, account: Account, entries: u64) {
        // An account that is newer had nothing pending then.
        if let Some(pending) = self.pending.get_mut(account.index()) {
            *pending -= entries.cast_signed();
        }
    }
}

impl Postings {
    /// For a log whose entries before `start` were there at the start.
    pub(super) fn new(ledger: Ledger, start: Sequence) -> Self {
        let accounts = ledger.sources();
        Self {
            ledger,
            changes: vec![Counts::default(); accounts.len() + 1],
            accounts,
            start,
            is_changed: false,
            aside: HashMap::new(),
            unattributed: 0,
            is_more_lost: false,
            shortfall: None,
        }
    }

    /// The account of an entry of this source.
    pub(super) fn account(&mut self, sequence: Sequence, source: &Arc<str>) -> Account {
        if sequence < self.start {
            return Account::RECOVERED;
        }
        // The text is compared only if it is another copy, as that of an entry that was read from the disk.
        if let Some((_, account)) = self.accounts.iter().find(|(name, _)| name == source) {
            return *account;
        }
        let account = self.ledger.open(source);
        self.accounts.push((Arc::clone(source), account));
        self.changes.resize(self.changes.len().max(account.index() + 1), Counts::default());
        account
    }

    /// Kafka has an entry, which was in this place: an event, or a dead letter with a reason.
    pub(super) fn acknowledged(
        &mut self,
        sequence: Sequence,
        account: Account,
        place: Place,
        reason: Option<Reason>,
    ) {
        self.leave(sequence, account, place);
        let counts = &mut self.changes[account.index()];
        match reason {
            None => counts.published += 1,
            Some(reason) => *counts.dead_letters.entry(reason).or_default() += 1,
        }
    }

    /// An entry is kept outside of its group from now on.
    pub(super) fn put_aside(
        &mut self,
        sequence: Sequence,
        account: Account,
        from: Place,
        to: Family,
    ) {
        self.is_changed = true;
        if to == Family::Failed {
            self.leave(sequence, account, from);
            self.changes[account.index()].failed += 1;
        }
        if account != Account::RECOVERED {
            self.aside.insert(sequence, account);
        }
    }

    /// An entry was dropped, because it may be in Kafka and is not to be there twice.
    pub(super) fn given_up(&mut self, sequence: Sequence, account: Account, place: Place) {
        self.leave(sequence, account, place);
        self.changes[account.index()].dropped += 1;
    }

    /// A failed entry was removed, because too many were kept.
    pub(super) fn evicted(&mut self, sequence: Sequence) {
        let account = self.account_aside(sequence);
        self.leave(sequence, account, Place::Aside(Family::Failed));
        self.changes[account.index()].evicted += 1;
    }

    /// An entry of a family cannot be read.
    pub(super) fn lost_aside(&mut self, sequence: Sequence, family: Family) {
        let account = self.account_aside(sequence);
        self.leave(sequence, account, Place::Aside(family));
        self.changes[account.index()].damaged += 1;
    }

    /// So many entries of groups from `start` on cannot be read; all of them were in the log at the start, or none.
    pub(super) fn lost(&mut self, start: Sequence, entries: u64) {
        self.is_changed = true;
        if start < self.start {
            self.changes[Account::RECOVERED.index()].damaged += entries;
            if let Some(shortfall) = &mut self.shortfall {
                shortfall.settle(Account::RECOVERED, entries);
            }
        } else {
            self.unattributed += entries;
            self.is_more_lost = true;
        }
    }

    /// Divides a range where the log of before ends.
    pub(super) fn parts(&self, start: Sequence, end: Sequence) -> [(Sequence, Sequence); 2] {
        let middle = self.start.clamp(start, end);
        [(start, middle), (middle, end)]
    }

    /// Enters all of it, with what the outbox counts now.
    pub(super) fn enter(&mut self, outbox: &Outbox) {
        if !self.is_changed {
            return;
        }
        self.post(outbox);
        if std::mem::take(&mut self.is_more_lost) {
            let (pending, end) = self.ledger.pending();
            self.shortfall = Some(Shortfall { end, pending });
        }
        let is_over = |shortfall: &mut Shortfall| {
            let deferred = outbox.oldest(Family::Deferred);
            outbox.settled().low() >= shortfall.end
                && deferred.is_none_or(|oldest| oldest >= shortfall.end)
        };
        match self.shortfall.take_if(is_over) {
            Some(shortfall) => {
                for (counts, missing) in self.changes.iter_mut().zip(shortfall.pending) {
                    counts.damaged += missing.max(0).cast_unsigned();
                }
                self.unattributed = 0;
                self.post(outbox);
            }
            None => self.is_changed = self.shortfall.is_some(),
        }
    }

    fn post(&mut self, outbox: &Outbox) {
        let unsettled = Unsettled {
            low: outbox.settled().low(),
            above: outbox.settled().count_above(),
            aside: outbox.aside() as u64,
            unattributed: self.unattributed,
        };
        self.ledger.enter(&self.changes, unsettled);
        self.changes.fill_with(Counts::default);
        self.is_changed = false;
    }

    /// An entry is not in this place any more.
    fn leave(&mut self, sequence: Sequence, account: Account, place: Place) {
        self.is_changed = true;
        if place != Place::Group {
            self.aside.remove(&sequence);
        }
        if place == Place::Aside(Family::Failed) {
            self.changes[account.index()].failed -= 1;
        } else if let Some(shortfall) = &mut self.shortfall
            && sequence < shortfall.end
        {
            shortfall.settle(account, 1);
        }
    }

    fn account_aside(&self, sequence: Sequence) -> Account {
        self.aside.get(&sequence).copied().unwrap_or(Account::RECOVERED)
    }
}
