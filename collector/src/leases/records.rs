//! Where the sources of several collectors resume: records of the topic of cursors.
//!
//! A record has the key `SOURCE/INSTANCE`, where the instance is that of a collector's message log, and is
//! `{"takeover":N,"number":N,"feed":"…","cursor":"BASE64"}`. Each takeover of a source is one higher than the highest that was
//! there before, so that what a former owner writes late is known as such: it is compared with no record of a higher takeover.
//! Within a takeover the numbers rise. A cursor is written when Kafka has everything that it covers, so that whoever
//! takes the source over misses nothing, whatever is in the former owner's log.

use std::collections::BTreeMap;

use crate::cursor::{Cursor, Record};

/// The newest record of each owner of each source, by source and instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records(BTreeMap<String, BTreeMap<String, Record>>);

/// Where a source is taken over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) takeover: u64,
    /// Where it is followed from; `None` if no collector was ever connected to it.
    pub(super) resume: Option<Cursor>,
    /// Where Kafka is known to have everything before. It is empty if that is not known.
    pub(super) published: Cursor,
    /// Whether another collector has had the source since this one had it.
    pub(super) by_another: bool,
}

impl Records {
    /// Takes in a record. Whatever is none is passed over: a newer version may have written it.
    pub(super) fn read(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let key = key.and_then(|key| std::str::from_utf8(key).ok());
        let Some((source, instance)) = key.and_then(|key| key.split_once('/')) else { return };
        let record = value.and_then(|value| serde_json::from_slice::<Record>(value).ok());
        let Some(record) = record else { return };
        let owners = self.0.entry(source.to_owned()).or_default();
        // A source may have had another partition, and what is left in it may come later.
        let newest = owners.entry(instance.to_owned()).or_insert_with(|| record.clone());
        if (newest.takeover, newest.number) < (record.takeover, record.number) {
            *newest = record;
        }
    }

    /// Where this collector begins with a source. `local` is the cursor in its own log, which is the better one if nobody has
    /// taken the source over since, although what it covers is perhaps not in Kafka yet.
    pub(super) fn beginning(
        &self,
        source: &str,
        instance: &str,
        feed: &str,
        local: Option<&Cursor>,
    ) -> Beginning {
        let owners = self.0.get(source);
        let highest =
            owners.iter().flat_map(|owners| owners.values()).map(|record| record.takeover).max();
        let newest = owners
            .iter()
            .flat_map(|owners| owners.iter())
            .filter(|(_, record)| record.feed == feed)
            .max_by_key(|(_, record)| (record.takeover, record.number));
        let by_another = newest.is_some_and(|(owner, _)| owner != instance);
        let published = newest.map(|(_, record)| record.cursor.clone());
        let local = local.filter(|_| !by_another).cloned();
        Beginning {
            takeover: highest.unwrap_or(0) + 1,
            resume: local.or_else(|| published.clone()),
            published: published.unwrap_or_default(),
            by_another,
        }
    }
}

/// The key of the record of this source and instance.
pub(super) fn key(source: &str, instance: &str) -> String {
    format!("{source}/{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(text: &str) -> Cursor {
        Cursor(text.to_owned().into())
    }

    fn record(takeover: u64, number: u64, text: &str) -> Record {
        Record { takeover, number, feed: "ws://a".to_owned(), cursor: cursor(text) }
    }

    fn records(of: &[(&str, &str, Record)]) -> Records {
        let mut records = Records::default();
        for (source, instance, record) in of {
            let value = serde_json::to_vec(record).unwrap();
            records.read(Some(key(source, instance).as_bytes()), Some(&value));
        }
        records
    }

    fn beginning(records: &Records, instance: &str, local: Option<&str>) -> (u64, Option<Cursor>) {
        let local = local.map(cursor);
        let beginning = records.beginning("rsvps", instance, "ws://a", local.as_ref());
        (beginning.takeover, beginning.resume)
    }

    #[test]
    fn what_a_former_owner_writes_late_does_not_lead_a_source_back() {
        let records = records(&[
            ("rsvps", "old", record(1, 7, "early")),
            ("rsvps", "new", record(2, 1, "later")),
            ("rsvps", "old", record(1, 900, "late, by the one before")),
            ("other", "old", record(9, 9, "of another source")),
        ]);
        assert_eq!(beginning(&records, "third", None), (3, Some(cursor("later"))));
        assert_eq!(beginning(&records, "old", Some("its own")), (3, Some(cursor("later"))));
    }

    #[test]
    fn an_owner_that_comes_back_goes_on_at_its_own_cursor_if_nobody_was_there_between() {
        let records = records(&[
            ("rsvps", "one", record(2, 5, "published")),
            ("rsvps", "two", record(1, 9, "before")),
        ]);
        let local = cursor("logged");
        let back = records.beginning("rsvps", "one", "ws://a", Some(&local));
        assert_eq!(
            back,
            Beginning {
                takeover: 3,
                resume: Some(local),
                published: cursor("published"),
                by_another: false
            },
            "what is only logged is not told to others"
        );
        let published = Some(cursor("published"));
        assert_eq!(beginning(&records, "one", None), (3, published.clone()), "a lost volume");
        assert_eq!(beginning(&records, "two", Some("old")), (3, published));
    }

    #[test]
    fn a_source_begins_anew_if_it_is_new_or_has_another_feed_now() {
        let records = records(&[("rsvps", "one", record(4, 5, "there"))]);
        let (published, by_another) = (Cursor::default(), false);
        let first = Records::default().beginning("rsvps", "one", "ws://a", None);
        let none = Beginning { takeover: 1, resume: None, published, by_another };
        assert_eq!(first, none);
        let changed = records.beginning("rsvps", "two", "ws://b", None);
        assert_eq!(changed, Beginning { takeover: 5, ..none });
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let mut records = Records::default();
        records.read(None, None);
        records.read(Some(b"rsvps/one"), None);
        records.read(Some(b"rsvps/one"), Some(b"{}"));
        records.read(Some(b"\xff/one"), Some(b"1"));
        records.read(Some(b"rsvps"), Some(&serde_json::to_vec(&record(1, 1, "a")).unwrap()));
        assert_eq!(records, Records::default());
    }
}
