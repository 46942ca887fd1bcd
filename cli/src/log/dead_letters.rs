//! `millrace log dead-letters`: what is in the topic of dead letters.

use std::process::ExitCode;

use common::kafka::{Kafka, Topic};
use common::output::print;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::letters::{self, ByReason, Letter, Which};
use super::sample::{beginning, name_of};
use crate::text::{grouped, utc};
use crate::units;

/// So many dead letters of each reason are shown.
const EXAMPLES: usize = 3;

/// List the dead letters in Kafka by reason, with how many there are and the first of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log dead-letters --brokers kafka:9092
  millrace log dead-letters --config millrace.toml --reason missing_id --since 2h
  millrace log dead-letters --json | jq '.reasons[] | {reason, count}'

Exit codes: 0 shown, 69 Kafka did not answer, 64 the configuration cannot be used, 1 the output cannot be written")]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Those of one reason.
#[derive(Debug, Default, PartialEq, Eq)]
struct OfReason {
    count: u64,
    payload_bytes: u64,
    /// The times of the oldest and the newest, in milliseconds since 1970.
    times: Option<(i64, i64)>,
    examples: Vec<Example>,
}

/// A dead letter that is shown, with harmless and short texts.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    partition: i32,
    offset: i64,
    source: Option<String>,
    time_ms: Option<i64>,
    bytes: usize,
    payload: String,
}

impl OfReason {
    fn add(&mut self, letter: &Letter) {
        self.count += 1;
        self.payload_bytes += letter.payload.len() as u64;
        if let Some(time_ms) = letter.time_ms {
            let (oldest, newest) = self.times.unwrap_or((time_ms, time_ms));
            self.times = Some((oldest.min(time_ms), newest.max(time_ms)));
        }
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example {
                partition: letter.partition,
                offset: letter.offset,
                source: letter.source.as_deref().map(name_of),
                time_ms: letter.time_ms,
                bytes: letter.payload.len(),
                payload: beginning(&letter.payload),
            });
        }
    }
}

/// Reads the dead letters, and prints what there is.
///
/// # Errors
/// When the configuration is not valid, or Kafka does not answer.
pub fn run(args: &Args, stop: &CancellationToken) -> Result<ExitCode, Error> {
    let Some(config) = args.which.config()? else { return Ok(ExitCode::SUCCESS) };
    let found = listed(&config.kafka, &args.which, stop)?;
    let topic = config.kafka.name(Topic::DeadLetters);
    print(&if args.json { json(topic, &found)? } else { text(topic, &found) })?;
    Ok(ExitCode::SUCCESS)
}

fn listed(
    kafka: &Kafka,
    which: &Which,
    stop: &CancellationToken,
) -> Result<ByReason<OfReason>, Error> {
    let mut found = ByReason::<OfReason>::new();
    letters::read(kafka, which, stop, |letter| {
        found.entry(letter.reason).or_default().add(&letter);
        Ok(())
    })?;
    Ok(found)
}

fn text(topic: &str, found: &ByReason<OfReason>) -> String {
    if found.is_empty() {
        return format!("{topic} has no such dead letters\n");
    }
    let mut text = String::new();
    for (reason, of) in found {
        let times = of.times.map_or(String::new(), |(oldest, newest)| {
            format!(", {} to {} UTC", utc(oldest), utc(newest))
        });
        text += &format!(
            "{}: {}, {}{times}\n",
            letters::name(*reason),
            grouped(of.count),
            units::bytes(of.payload_bytes)
        );
        for one in &of.examples {
            text += &format!(
                "  {topic}/{} offset {}, from {}, {}\n    {}\n",
                one.partition,
                one.offset,
                one.source.as_deref().unwrap_or("an unknown source"),
                units::bytes(one.bytes as u64),
                one.payload,
            );
        }
    }
    text
}

fn json(topic: &str, found: &ByReason<OfReason>) -> Result<String, Error> {
    let reasons = found.iter().map(|(reason, of)| {
        let examples = of.examples.iter().map(|one| {
            json!({
                "partition": one.partition, "offset": one.offset, "source": one.source,
                "time_ms": one.time_ms, "bytes": one.bytes, "payload": one.payload,
            })
        });
        json!({
            "reason": letters::name(*reason), "count": of.count, "payload_bytes": of.payload_bytes,
            "oldest_ms": of.times.map(|(oldest, _)| oldest), "newest_ms": of.times.map(|(_, newest)| newest),
            "examples": examples.collect::<Vec<_>>(),
        })
    });
    let all = json!({ "topic": topic, "reasons": reasons.collect::<Vec<_>>() });
    Ok(serde_json::to_string(&all)? + "\n")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::event::Reason;

    use super::*;
    use crate::text::steers;

    fn letter(offset: i64, reason: Option<Reason>, payload: &'static str) -> Letter {
        Letter {
            partition: 0,
            offset,
            reason,
            source: Some("feed\x1b".to_owned()),
            time_ms: Some(1_000 * offset),
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    #[test]
    fn dead_letters_are_listed_by_reason_with_counts_and_the_first_of_them() {
        let mut found = ByReason::<OfReason>::new();
        for offset in 0..5 {
            let (reason, payload) =
                if offset == 3 { (None, "\x1b[2J") } else { (Some(Reason::NotJson), "<html>") };
            found.entry(reason).or_default().add(&letter(offset, reason, payload));
        }
        let of = &found[&Some(Reason::NotJson)];
        assert_eq!((of.count, of.payload_bytes, of.times), (4, 24, Some((0, 4_000))));
        let offsets: Vec<_> = of.examples.iter().map(|one| one.offset).collect();
        assert_eq!(offsets, [0, 1, 2]);
        let shown = text("dlq", &found);
        assert!(shown.contains("not_json: 4, 24 B") && shown.contains("unknown: 1"), "{shown}");
        assert!(!shown.chars().any(|letter| letter != '\n' && steers(letter)), "{shown:?}");
        let json: serde_json::Value = serde_json::from_str(&json("dlq", &found).unwrap()).unwrap();
        assert_eq!(json["reasons"][1]["examples"][0]["payload"], "<html>");
    }
}
