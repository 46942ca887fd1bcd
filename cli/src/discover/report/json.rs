//! What was found, for programs.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::discover::propose::{Choice, Proposal};
use crate::discover::shape::{Example, Path, Shape};
use crate::text::steers;

/// How many examples a path has.
const EXAMPLES: usize = 3;

#[derive(Serialize)]
struct Report<'a> {
    events: u64,
    id: &'a [String],
    key: Option<&'a str>,
    time: Option<Time<'a>>,
    items: Vec<&'a str>,
    values: Vec<&'a str>,
    paths: Vec<PathOf<'a>>,
}

#[derive(Serialize)]
struct Time<'a> {
    path: &'a str,
    unit: &'static str,
}

#[derive(Serialize)]
struct PathOf<'a> {
    path: &'a str,
    types: Vec<&'static str>,
    share: f64,
    distinct: u64,
    examples: Vec<Box<RawValue>>,
}

/// One line of JSON; docs/discover.md describes it.
///
/// # Errors
/// Never in practice: all of it can be written as JSON.
pub fn json(shape: &Shape, proposal: &Proposal) -> serde_json::Result<String> {
    let paths = shape.paths();
    let id = proposal.identity.as_ref().map(|id| id.fields.as_slice()).unwrap_or_default();
    let list = |choices: &'_ [Choice]| -> Vec<String> {
        choices.iter().map(|choice| choice.path.clone()).collect()
    };
    let (items, values) = (list(&proposal.items), list(&proposal.values));
    let report = Report {
        events: shape.events(),
        id,
        key: id.first().map(String::as_str),
        time: proposal.time.as_ref().map(|time| Time { path: &time.path, unit: time.unit.name() }),
        items: items.iter().map(String::as_str).collect(),
        values: values.iter().map(String::as_str).collect(),
        paths: paths.iter().map(path).collect::<Result<_, _>>()?,
    };
    Ok(escaped(&serde_json::to_string(&report)?) + "\n")
}

fn path<'a>(path: &'a Path<'_>) -> serde_json::Result<PathOf<'a>> {
    let node = path.node;
    let values = node.values();
    let examples = values.into_iter().flat_map(|values| values.examples().take(EXAMPLES));
    Ok(PathOf {
        path: &path.pointer,
        types: node.kinds().into_iter().map(|kind| kind.name()).collect(),
        // Not 1 if it is missing in a single event.
        share: (path.share * 1e4).floor() / 1e4,
        distinct: values.map_or(0, |values| values.different()),
        examples: examples.map(example).collect::<Result<_, _>>()?,
    })
}

/// As it was written, if it is a number that was not cut.
fn example(example: &Example) -> serde_json::Result<Box<RawValue>> {
    let text = example.text.to_string();
    if example.is_text || text.ends_with('…') {
        return RawValue::from_string(serde_json::to_string(&text)?);
    }
    RawValue::from_string(text)
}

/// The output may be a terminal: characters that could steer it are only in strings, where JSON has an escape for them.
fn escaped(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut units = [0; 2];
    for letter in json.chars() {
        if steers(letter) {
            for unit in letter.encode_utf16(&mut units) {
                safe += &format!("\\u{unit:04x}");
            }
        } else {
            safe.push(letter);
        }
    }
    safe
}
