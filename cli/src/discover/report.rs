//! What was found, for people: first the proposals with their reasons, then every path. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::propose::{Choice, Proposal};
use super::shape::{Path, Shape};
use crate::text::{cut, grouped, padded, printable, width};
use crate::units;

mod json;
mod table;

pub use json::json;

#[cfg(test)]
mod tests;

/// The narrowest output.
const NARROWEST: usize = 40;
/// How many items and values are shown with their reasons.
const SHOWN: usize = 4;

/// The report, in lines of at most `columns` columns (40 at least).
pub fn report(shape: &Shape, proposal: &Proposal, took: Duration, columns: usize) -> String {
    let columns = columns.max(NARROWEST);
    let mut text = summary(shape, took);
    text.push('\n');
    proposals(proposal, columns, &mut text);
    text.push('\n');
    let paths: Vec<Path<'_>> = shape.paths();
    text += &table::table(&paths, columns);
    if shape.left_out() > 0 {
        let _ = writeln!(
            text,
            "{} values are not in the table: there are too many paths, or they are too deep or have too long names",
            grouped(shape.left_out())
        );
    }
    // Only what is longer than its line is changed.
    text.lines().map(|line| cut(line, columns) + "\n").collect()
}

/// How many events came, and what came besides.
fn summary(shape: &Shape, took: Duration) -> String {
    let events = shape.events();
    let seconds = took.as_secs_f64();
    let mut text = format!("{} event{}", grouped(events), if events == 1 { "" } else { "s" });
    if seconds >= 1.0 {
        let _ = write!(text, " in {seconds:.0} s, {:.1} a second", events as f64 / seconds);
    }
    let mean = shape.bytes() / events.max(1);
    let _ = writeln!(text, ", {} each, {} paths", units::bytes(mean), shape.width());
    text + &refused(shape)
}

/// Which messages are no events; empty if all are.
pub fn refused(shape: &Shape) -> String {
    let mut text = String::new();
    for (reason, &count) in shape.refused() {
        let is = if count == 1 { "message is" } else { "messages are" };
        let _ =
            writeln!(text, "{} {is} no event, and would be dead letters: {reason}", grouped(count));
    }
    text
}

fn proposals(proposal: &Proposal, columns: usize, text: &mut String) {
    let mut rows: Vec<(&str, String, String)> = Vec::new();
    if let Some(id) = &proposal.identity {
        let fields =
            if id.fields.is_empty() { "the bytes".to_owned() } else { id.fields.join(" + ") };
        rows.push(("id", fields, id.why.clone()));
        if let (true, Some(key)) = (id.complete, id.fields.first()) {
            let why = "events with the same one keep their order".to_owned();
            rows.push(("key", key.clone(), why));
        }
    }
    match &proposal.time {
        Some(time) => {
            let path = format!("{} ({})", time.path, time.unit.name());
            rows.push(("time", path, time.why.clone()));
        }
        None => rows.push((
            "time",
            "none".to_owned(),
            "nothing in the events goes on like a clock: only windows since the start".to_owned(),
        )),
    }
    let mut list = |title: &'static str, choices: &[Choice]| {
        for (at, choice) in choices.iter().take(SHOWN).enumerate() {
            let title = if at == 0 { title } else { "" };
            rows.push((title, choice.path.clone(), choice.why.clone()));
        }
    };
    list("rank", &proposal.items);
    list("average", &proposal.values);
    // Reasons stand beside short paths, and below long ones.
    let widest = rows.iter().map(|(_, path, _)| width(path)).max().unwrap_or_default();
    let beside = 9 + widest + 2 + 50 <= columns;
    for (title, path, why) in rows {
        let path = printable(&path);
        if beside {
            let indent = 9 + widest + 2;
            let mut lines = wrapped(&why, columns - indent).into_iter();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(text, "{title:<9}{}{first}", padded(&path, widest + 2));
            lines.for_each(|line| {
                let _ = writeln!(text, "{:indent$}{line}", "");
            });
        } else {
            let _ = writeln!(text, "{title:<9}{path}");
            for line in wrapped(&why, columns - 11) {
                let _ = writeln!(text, "{:11}{line}", "");
            }
        }
    }
}

/// The text in lines of at most `room` columns, as far as its words allow.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && width(line) + 1 + width(word) > room {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
