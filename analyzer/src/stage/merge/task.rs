//! One record of `topn-rsvps` that this process keeps up to date: a query's result, or the audit.

use std::time::Instant;

use common::protocol::StreamId;
use common::result::TopN;
use common::result::audit;
use common::trace::Span;
use serde::Serialize;

use super::traces::Links;
use crate::core::audit::Audit;
use crate::core::merge::{Applied, Merge};
use crate::core::partial::{Error, Key};
use crate::core::plan::Planned;
use crate::metrics::Metrics;
use crate::pace::{AUDIT_INTERVAL, Pace};

/// A result, and what of it is published.
pub struct Task {
    /// The partition of the partials topic that it is made from.
    pub partition: i32,
    merged: Merged,
    /// Its key in the topic of results.
    key: String,
    /// Whether there may be something new to publish.
    changed: bool,
    /// What was published last.
    published: Vec<u8>,
    /// Sampled events that are new in the next result.
    pub(super) links: Links,
}

/// A record of the topic of results.
pub struct Publication<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its value.
    pub value: &'a [u8],
    /// The span of a result with sampled events that are new in it; to be recorded when it ends.
    pub span: Option<Span>,
}

enum Merged {
    Query(Box<Merge>),
    Audit(Audit, Pace),
}

impl Task {
    /// Of a query, before any partial of it was read.
    pub fn of_query(planned: &Planned, partition: i32) -> Self {
        let merged = Merged::Query(Box::new(Merge::new(planned)));
        // A query is published at first although nothing of it may have been read.
        Self { changed: true, ..Self::new(partition, merged, &planned.query.name) }
    }

    /// Of the audit, before any ledger was read.
    pub fn of_audit(partition: i32) -> Self {
        let merged = Merged::Audit(Audit::default(), Pace::new(AUDIT_INTERVAL));
        Self::new(partition, merged, audit::KEY)
    }

    fn new(partition: i32, merged: Merged, key: &str) -> Self {
        Self {
            partition,
            merged,
            key: key.to_owned(),
            changed: false,
            published: Vec::new(),
            links: Links::default(),
        }
    }

    /// Takes a partial in, and says what it did.
    ///
    /// # Errors
    /// A value that cannot be read; nothing changed.
    pub fn apply(&mut self, key: &Key, value: Option<&[u8]>) -> Result<Applied, Error> {
        let applied = match &mut self.merged {
            Merged::Query(merge) => merge.apply(key, value)?,
            Merged::Audit(audit, _) => audit.apply(key, value)?,
        };
        self.changed |= applied == Applied::Changed;
        Ok(applied)
    }

    /// Whether there may be something new, and it is time to publish that.
    pub fn is_due(&self, now: Instant) -> bool {
        self.changed
            && match &self.merged {
                Merged::Query(_) => true,
                Merged::Audit(_, pace) => pace.time_until_due(now, now).is_zero(),
            }
    }

    /// The record to publish; `None` when it says what the last one said.
    pub fn publish(
        &mut self,
        stream: StreamId,
        now: Instant,
        metrics: &Metrics,
    ) -> Option<Publication<'_>> {
        self.changed = false;
        let (version, value) = match &mut self.merged {
            Merged::Query(merge) => {
                let result = TopN { stream: stream.to_string(), ..merge.result() };
                (result.version, encode(&result))
            }
            Merged::Audit(audit, pace) => {
                let audit = audit::Audit { stream: stream.to_string(), ..audit.result() };
                show(&audit, metrics);
                let value = encode(&audit);
                pace.done(now, Instant::now());
                (audit.version, value)
            }
        };
        if value == self.published {
            return None;
        }
        if matches!(self.merged, Merged::Query(_)) {
            metrics.results.with_label_values(&[&self.key]).inc();
        }
        self.published = value;
        let span = self.links.span(stream, &self.key, version);
        Some(Publication { key: &self.key, value: &self.published, span })
    }
}

fn show(audit: &audit::Audit, metrics: &Metrics) {
    metrics.show_audit(audit.total);
    let unbalanced =
        |(partition, books): (&i32, &audit::Books)| (!books.balanced).then_some(*partition);
    let unbalanced: Vec<i32> = audit.partitions.iter().filter_map(unbalanced).collect();
    let (before, now) =
        (metrics.audit_unbalanced.get(), i64::try_from(unbalanced.len()).unwrap_or(i64::MAX));
    metrics.audit_unbalanced.set(now);
    if now > before {
        tracing::error!(partitions = ?unbalanced, "the books of partitions do not balance; see GET /v1/audit");
    }
}

#[expect(clippy::expect_used, reason = "it is made of numbers, strings and lists of them")]
fn encode(result: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(result).expect("numbers, strings and lists are JSON")
}
