//! How what is in a log is shown, as text and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::sample::{Sample, name_of};
use super::summary::{Counts, Damage, OfSource, Received, Summary};
use crate::text::{grouped, padded, printable, steers, utc, width};
use crate::units;

/// So many damaged ranges are shown as text.
const SHOWN_RANGES: usize = 20;

/// All that is to be shown.
#[derive(Debug)]
pub struct Report<'a> {
    /// The log's directory.
    pub path: &'a Path,
    /// The log's id.
    pub instance: Option<&'a str>,
    /// How often a collector has opened it.
    pub epoch: u64,
    /// The size of all files in the directory.
    pub bytes_on_disk: u64,
    /// How many files with damage are kept.
    pub kept_files: usize,
    /// What is in it.
    pub summary: &'a Summary,
    /// The cursors of the sources.
    pub cursors: &'a BTreeMap<String, Bytes>,
    /// The offsets in Kafka behind which nothing is unsettled.
    pub positions: &'a BTreeMap<String, i64>,
    /// Why places cannot be read to their end.
    pub unreadable: &'a [String],
    /// The first entries.
    pub samples: &'a [Sample],
}

/// What a cursor is, without its value.
fn kind(cursor: &[u8]) -> &'static str {
    match str::from_utf8(cursor) {
        Ok("") => "empty",
        Ok(text) if !text.chars().any(steers) => "text",
        Ok(_) | Err(_) => "binary",
    }
}

/// The report as text.
pub fn text(report: &Report<'_>) -> String {
    let Report { summary, .. } = report;
    let counts = summary.counts;
    let kept = match report.kept_files {
        0 => String::new(),
        files => format!(", with {files} damaged files that are kept in `damaged`"),
    };
    let received =
        summary.received.map_or("nothing waits".to_owned(), |Received { oldest_ms, newest_ms }| {
            format!("{} to {} UTC", utc(oldest_ms), utc(newest_ms))
        });
    let mut text = format!(
        "log        {}\ninstance   {}, opened {} times\non disk    {}{kept}\n\
         waiting    {} for Kafka: {} in groups, {} deferred\nfailed     {}\npayloads   {}\nreceived   {received}\n",
        report.path.display(),
        report.instance.map_or("none yet".to_owned(), printable),
        grouped(report.epoch),
        units::bytes(report.bytes_on_disk),
        grouped(counts.pending()),
        grouped(counts.groups),
        grouped(counts.deferred),
        match counts.failed {
            0 => "0".to_owned(),
            failed => format!(
                "{}, which Kafka has refused, and their dead letters not taken",
                grouped(failed)
            ),
        },
        units::bytes(summary.payload_bytes),
    );
    match damage(summary, report.unreadable) {
        missing if missing.is_empty() => text += "damaged    nothing\n",
        missing => text += &format!("\n{missing}"),
    }
    text += &sources(report);
    let rows = summary
        .reasons
        .iter()
        .map(|(reason, counts)| [&[reason.to_string()][..], &columns(*counts)].concat());
    text += &table(&["reason", "groups", "deferred", "failed"], rows.collect());
    let rows =
        report.positions.iter().map(|(name, offset)| vec![printable(name), offset.to_string()]);
    text += &table(&["settled in Kafka below", "offset"], rows.collect());
    for sample in report.samples {
        text += &shown(sample);
    }
    text
}

fn columns(counts: Counts) -> [String; 3] {
    [counts.groups, counts.deferred, counts.failed].map(grouped)
}

fn sources(report: &Report<'_>) -> String {
    let nothing = OfSource::default();
    let rows = source_names(report).into_iter().map(|name| {
        let source = report.summary.sources.get(name).unwrap_or(&nothing);
        let (oldest, newest) = source
            .received
            .map_or_else(Default::default, |times| (utc(times.oldest_ms), utc(times.newest_ms)));
        let cursor = report.cursors.get(name).map_or("none".to_owned(), |cursor| {
            format!("{}, {} bytes", kind(cursor), cursor.len())
        });
        let ends = [units::bytes(source.payload_bytes), oldest, newest, cursor];
        [&[name_of(name)][..], &columns(source.counts), &ends].concat()
    });
    let head = ["source", "groups", "deferred", "failed", "payloads", "oldest", "newest", "cursor"];
    table(&head, rows.collect())
}

/// Those of what waits, and those with a cursor.
fn source_names<'r>(report: &Report<'r>) -> Vec<&'r str> {
    let mut names: Vec<&str> =
        report.summary.sources.keys().chain(report.cursors.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A table below an empty line; nothing if it has no rows.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let rows = [vec![head], rows].concat();
    let mut text = "\n".to_owned();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            padded(cell, widths.max().unwrap_or_default())
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text += "\n";
    }
    text
}

fn shown(sample: &Sample) -> String {
    let known = |name: &str, value: Option<&str>| {
        value.map_or(String::new(), |value| format!("  {name} {value}"))
    };
    format!(
        "\n{}  {}  {}  {} UTC  {}{}{}{}\n  {}\n",
        sample.sequence,
        sample.place.as_str(),
        sample.source,
        utc(sample.received_ms),
        units::bytes(sample.bytes as u64),
        known("key", sample.key.as_deref()),
        known("id", sample.id.as_deref()),
        known("reason", sample.reason),
        sample.payload,
    )
}

/// A line for each range that cannot be read, and each place that cannot be read to its end; empty if there is none.
pub fn damage(summary: &Summary, unreadable: &[String]) -> String {
    let mut text = String::new();
    for damage in summary.damaged.iter().take(SHOWN_RANGES) {
        text += &format!("damaged: {}\n", range(*damage));
    }
    let more = summary.damaged_ranges.saturating_sub(SHOWN_RANGES as u64);
    if more > 0 {
        text += &format!("damaged: {} more ranges\n", grouped(more));
    }
    for why in unreadable {
        text +=
            &format!("damaged: what comes behind it cannot be read either: {}\n", printable(why));
    }
    text
}

fn range(damage: Damage) -> String {
    let Damage { place, from, to } = damage;
    match damage.entries() {
        Some(1) => format!("the entry {from} of a group"),
        Some(entries) => {
            format!("the {} entries of groups from {from} up to {to}", grouped(entries))
        }
        None if to == from.next() => format!("the {} entry {from}", place.as_str()),
        None => {
            format!("{} entries between {from} and {to}, nobody knows how many", place.as_str())
        }
    }
}

/// What `verify` prints. There are so many files in the folders `damaged` and `lost`.
pub fn verified(
    summary: &Summary,
    own_values: u64,
    unreadable: &[String],
    (kept_files, lost_files): (usize, usize),
    path: &Path,
) -> String {
    let Counts { groups, deferred, failed } = summary.counts;
    let read = format!(
        "read {} entries with {} of payload ({} in groups, {} deferred, {} failed) and {own_values} values of the log's own\n",
        grouped(summary.counts.total()),
        units::bytes(summary.payload_bytes),
        grouped(groups),
        grouped(deferred),
        grouped(failed),
    );
    let mut missing = damage(summary, unreadable);
    if lost_files > 0 {
        missing += &format!(
            "{lost_files} files that a repair could not use are in {}; remove the folder when nobody needs them\n",
            path.join("lost").display()
        );
    }
    if missing.is_empty() {
        return read + "whole: nothing is damaged or missing\n";
    }
    if kept_files > 0 {
        missing +=
            &format!("{kept_files} damaged files are kept in {}\n", path.join("damaged").display());
    }
    missing += "a collector that starts with this log sends the rest, and counts these as lost; if their source can send them \
                again, have it do so\n";
    read + &missing
}

/// The report as one JSON object. Sequences are texts, because many readers of JSON would round them.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn json(report: &Report<'_>) -> Result<String, serde_json::Error> {
    let Report { summary, .. } = report;
    let nothing = OfSource::default();
    let sources = source_names(report).into_iter().map(|name| {
        let source = summary.sources.get(name).unwrap_or(&nothing);
        let cursor = report
            .cursors
            .get(name)
            .map(|cursor| json!({ "kind": kind(cursor), "length": cursor.len() }));
        let mut one = numbers(source.counts, source.received);
        one["source"] = name.into();
        one["payload_bytes"] = source.payload_bytes.into();
        one["cursor"] = cursor.into();
        one
    });
    let reasons = summary.reasons.iter().map(|(reason, counts)| {
        json!({ "reason": reason, "groups": counts.groups, "deferred": counts.deferred, "failed": counts.failed })
    });
    let damaged = summary.damaged.iter().map(|damage| {
        json!({
            "place": damage.place.as_str(), "from": damage.from.to_string(), "to": damage.to.to_string(),
            "entries": damage.entries(),
        })
    });
    let entries = report.samples.iter().map(|sample| {
        json!({
            "sequence": sample.sequence.to_string(), "place": sample.place.as_str(), "source": sample.source,
            "received_ms": sample.received_ms, "key": sample.key, "id": sample.id, "reason": sample.reason,
            "bytes": sample.bytes, "payload": sample.payload,
        })
    });
    let mut all = numbers(summary.counts, summary.received);
    let more = json!({
        "path": report.path.to_string_lossy(),
        "instance": report.instance,
        "epoch": report.epoch,
        "pending": summary.counts.pending(),
        "payload_bytes": summary.payload_bytes,
        "bytes_on_disk": report.bytes_on_disk,
        "sources": sources.collect::<Vec<_>>(),
        "reasons": reasons.collect::<Vec<_>>(),
        "positions": report.positions,
        "damaged": damaged.collect::<Vec<_>>(),
        "damaged_ranges": summary.damaged_ranges,
        "unreadable": report.unreadable,
        "kept_files": report.kept_files,
        "entries": entries.collect::<Vec<_>>(),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    serde_json::to_string(&all).map(|text| text + "\n")
}

fn numbers(counts: Counts, received: Option<Received>) -> Value {
    json!({
        "groups": counts.groups, "deferred": counts.deferred, "failed": counts.failed,
        "oldest_ms": received.map(|times| times.oldest_ms),
        "newest_ms": received.map(|times| times.newest_ms),
    })
}

#[cfg(test)]
mod tests {
    use common::event::Reason;
    use common::event::identity::Identity;
    use common::message_log::{Found, Place, Sequence};

    use super::super::summary::tests::{entry, found};
    use super::*;

    fn report<'a>(
        summary: &'a Summary,
        cursors: &'a BTreeMap<String, Bytes>,
        positions: &'a BTreeMap<String, i64>,
        samples: &'a [Sample],
    ) -> Report<'a> {
        Report {
            path: Path::new("/log"),
            instance: Some("9f3c"),
            epoch: 12,
            bytes_on_disk: 2048,
            kept_files: 0,
            summary,
            cursors,
            positions,
            unreadable: &[],
            samples,
        }
    }

    #[test]
    fn a_cursor_is_never_shown_itself() {
        let cursors: BTreeMap<_, _> = [
            ("numbered".to_owned(), Bytes::from_static(&[0, 0, 0, 0, 0, 0, 1, 2])),
            ("quiet".to_owned(), Bytes::new()),
            ("tokened".to_owned(), Bytes::from_static(b"s3cret-token")),
        ]
        .into();
        let summary = Summary::default();
        let positions = BTreeMap::new();
        let report = report(&summary, &cursors, &positions, &[]);
        let shown = text(&report);
        for what in ["binary, 8 bytes", "empty, 0 bytes", "text, 12 bytes"] {
            assert!(shown.contains(what), "{what}: {shown}");
        }
        let json = json(&report).unwrap();
        assert!(json.contains(r#"{"kind":"text","length":12}"#), "{json}");
        assert!(!shown.contains("s3cret") && !json.contains("s3cret"));
    }

    #[test]
    fn what_is_shown_of_an_entry_cannot_steer_the_terminal_and_is_short() {
        let mut hostile = entry(
            "a\x1b[2J",
            1_000,
            Some(Reason::NotJson),
            &format!("\x1b]0;x\x07{}", "y".repeat(500)),
        );
        hostile.identity = Some(Identity {
            key: Some("k\u{202e}".to_owned()),
            id: Some("i".repeat(500)),
            time_ms: None,
        });
        let sample = Sample::of(Place::Failed, Sequence::from_opaque(7), &hostile);
        let (summary, none, positions) = Default::default();
        let samples = [sample];
        let shown = text(&report(&summary, &none, &positions, &samples));
        assert!(!shown.chars().any(|letter| letter != '\n' && steers(letter)), "{shown:?}");
        assert!(shown.contains("reason not_json") && shown.contains("506 B"), "{shown}");
        assert!(shown.lines().all(|line| width(line) < 250), "{shown}");
        assert!(shown.contains("y…"), "it says that it is shortened: {shown}");
    }

    #[test]
    fn the_report_has_what_waits_by_source_and_by_reason_and_the_positions() {
        let mut summary = Summary::default();
        summary.add(&found(Place::Group, 1, entry("meetup", 0, None, "x")));
        summary.add(&found(Place::Failed, 2, entry("meetup", 0, Some(Reason::TooLarge), "x")));
        let positions = [("raw-rsvps/0".to_owned(), 512)].into();
        let none = BTreeMap::new();
        let report = report(&summary, &none, &positions, &[]);
        let shown = text(&report);
        for line in [
            "meetup  1       0         1 ",
            "too_large  0       0         1",
            "raw-rsvps/0             512",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        let json: Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(json["pending"], 1);
        assert_eq!(json["failed"], 1);
        assert_eq!(json["sources"][0]["source"], "meetup");
        assert_eq!(json["reasons"][0]["reason"], "too_large");
        assert_eq!(json["positions"]["raw-rsvps/0"], 512);
    }

    #[test]
    fn damage_is_told_with_its_place_and_what_it_costs() {
        let at = Sequence::from_opaque;
        let mut summary = Summary::default();
        summary.add(&Found::Damaged(Place::Group, at(3), at(5)));
        summary.add(&Found::Damaged(Place::Group, at(9), at(10)));
        summary.add(&Found::Damaged(Place::Failed, at(7), at(8)));
        summary.add(&Found::Damaged(Place::Deferred, at(0), at(90)));
        let told = damage(&summary, &["an error".to_owned()]);
        let lines = [
            "damaged: the 2 entries of groups from 3 up to 5",
            "damaged: the entry 9 of a group",
            "damaged: the failed entry 7",
            "damaged: deferred entries between 0 and 90, nobody knows how many",
            "damaged: what comes behind it cannot be read either: an error",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), lines);
        let verified = verified(&summary, 5, &[], (2, 0), Path::new("/log"));
        assert!(verified.contains("2 damaged files are kept in /log/damaged"), "{verified}");
        assert!(verified.contains("counts these as lost"), "{verified}");
    }
}
