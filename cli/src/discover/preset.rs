//! The preset: what was found as the file that `millrace up --preset` runs. Pure.

use std::fmt::Write as _;
use std::path::absolute;

use toml::Value;

use super::feed::{Framing, Options, Source, Target};
use super::propose::{Choice, Proposal};
use super::shape::{Kind, Path, Shape};
use super::watch::Watched;
use crate::text::printable;

#[cfg(test)]
mod tests;

/// How many paths get a query.
const QUERIES: usize = 4;
/// The longest name of a query or a source.
const MAX_NAME: usize = 40;

/// The text of the file; `None` if there is nothing to count.
pub fn preset(
    target: &Target,
    options: &Options,
    watched: &Watched,
    proposal: &Proposal,
) -> Option<String> {
    let items = items(proposal, &watched.shape)?;
    let mut text = format!(
        "# Made by `millrace discover` from {} events of {}.\n\n",
        watched.shape.events(),
        printable(&target.shown())
    );
    source(target, options, watched, &mut text);
    event(proposal, &mut text);
    queries(&items, proposal, &mut text);
    for choice in proposal.values.iter().take(QUERIES) {
        let _ = writeln!(
            text,
            "# Could be averaged: {} ({}).",
            printable(&choice.path),
            printable(&choice.why)
        );
    }
    Some(text)
}

/// What is counted: what could be ranked, else whatever is not different in each event.
fn items(proposal: &Proposal, shape: &Shape) -> Option<Vec<Choice>> {
    if !proposal.items.is_empty() {
        return Some(proposal.items.iter().take(QUERIES).cloned().collect());
    }
    let countable = |path: &Path<'_>| {
        let node = path.node;
        let scalars =
            node.of_kind(Kind::Text) + node.of_kind(Kind::Integer) + node.of_kind(Kind::Fraction);
        !path.in_map && scalars > 0
    };
    let paths: Vec<Path<'_>> = shape.paths().into_iter().filter(countable).collect();
    let repetition = |path: &Path<'_>| {
        let different = path.node.values().map_or(0, |values| values.different());
        path.share * (1.0 - different as f64 / path.node.seen().max(1) as f64)
    };
    let best = paths.iter().max_by(|a, b| repetition(a).total_cmp(&repetition(b)))?;
    let why = "nothing else could be ranked".to_owned();
    Some(vec![Choice { path: best.pointer.clone(), why }])
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn source(target: &Target, options: &Options, watched: &Watched, text: &mut String) {
    let (kind, framing) = match &watched.source {
        Some(Source::Websocket) => (
            "websocket",
            if watched.arrays > watched.singles { Framing::Array(None) } else { Framing::One },
        ),
        Some(Source::Sse) => (
            "sse",
            if watched.arrays > watched.singles { Framing::Array(None) } else { Framing::One },
        ),
        Some(Source::HttpStream(framing)) => ("http_stream", framing.clone()),
        Some(Source::LongPoll(framing)) => ("long_poll", framing.clone()),
        // Readers tell it before the first event, and without events there is no preset.
        None => return,
        Some(Source::Recording) => {
            if let Target::File(path) = target {
                let path = absolute(path).unwrap_or_else(|_| path.clone());
                let _ =
                    writeln!(text, "[preset]\nrecording = {}\n", quoted(&path.to_string_lossy()));
            }
            return;
        }
    };
    let (Target::Websocket(url) | Target::Http(url)) = target else { return };
    let _ = writeln!(text, "[source.{}]", name(url.host_str().unwrap_or_default(), "feed"));
    let _ = writeln!(text, "kind = {}\nurl = {}", quoted(kind), quoted(url.as_str()));
    if !options.headers.is_empty() {
        let headers = options.headers.iter();
        let headers: toml::Table = headers
            .map(|header| (header.name.clone(), Value::String(header.value.clone())))
            .collect();
        let _ = writeln!(text, "headers = {}", Value::Table(headers));
    }
    if !options.first_messages.is_empty() {
        let texts = options.first_messages.iter().cloned().map(Value::String).collect();
        let _ = writeln!(text, "first_message = {}", Value::Array(texts));
    }
    if !options.ca_file.as_os_str().is_empty() {
        let path = absolute(&options.ca_file).unwrap_or_else(|_| options.ca_file.clone());
        let _ = writeln!(text, "ca_file = {}", quoted(&path.to_string_lossy()));
    }
    let default = match kind {
        "http_stream" => Framing::Lines,
        "long_poll" => Framing::Array(None),
        _ => Framing::One,
    };
    if framing != default {
        let written = match framing {
            Framing::One => quoted("one"),
            Framing::Lines => quoted("lines"),
            Framing::Concatenated => quoted("concatenated"),
            Framing::Array(None) => quoted("array"),
            Framing::Array(Some(place)) => format!("{{ array = {} }}", quoted(&place)),
        };
        let _ = writeln!(text, "framing = {written}");
    }
    // Types whose data are no events would be dead letters.
    if kind == "sse"
        && !watched.has_more_types
        && watched.types.values().any(|(events, _)| *events == 0)
    {
        let good = watched.types.iter().filter(|(_, (events, _))| *events > 0);
        let good: Vec<Value> = good.map(|(name, _)| Value::String(name.to_string())).collect();
        let _ = writeln!(text, "events = {}", Value::Array(good));
    }
    text.push('\n');
}

fn event(proposal: &Proposal, text: &mut String) {
    text.push_str("[event]\n");
    let fields = proposal.identity.as_ref().filter(|id| id.complete).map(|id| id.fields.as_slice());
    if let Some(id) = &proposal.identity {
        let _ = writeln!(text, "# {}", printable(&id.why));
    }
    match fields {
        Some([only]) => {
            let _ = writeln!(text, "id = {}", quoted(only));
        }
        Some(fields @ [key, ..]) => {
            let fields = fields.iter().cloned().map(Value::String).collect();
            let _ = writeln!(text, "id = {}\nkey = {}", Value::Array(fields), quoted(key));
        }
        Some([]) | None => text.push_str("id = \"payload\"\n"),
    }
    if let Some(time) = &proposal.time {
        let _ = writeln!(
            text,
            "# {}\ntime = {{ path = {}, unit = {} }}",
            printable(&time.why),
            quoted(&time.path),
            quoted(time.unit.name())
        );
    }
    text.push('\n');
}

fn queries(items: &[Choice], proposal: &Proposal, text: &mut String) {
    let mut names: Vec<String> = Vec::new();
    for (at, choice) in items.iter().enumerate() {
        let mut own = name(last_steps(&choice.path, 1), "items");
        if names.contains(&own) {
            own = name(last_steps(&choice.path, 2), "items");
        }
        while names.contains(&own) {
            own = format!("{own}_{}", at + 1);
        }
        names.extend([own.clone(), format!("{own}_10m")]);
        let _ = writeln!(
            text,
            "[[query]]\n# {}\nname = {}\nitem = {}\n",
            printable(&choice.why),
            quoted(&own),
            quoted(&choice.path)
        );
        if at == 0 && proposal.time.is_some() {
            let _ = writeln!(
                text,
                "[[query]]\nname = {}\nitem = {}\nwindow = {{ kind = \"sliding\", size = \"10m\", slide = \"5s\", skew = \"2s\", lateness = \"1m\" }}\n",
                quoted(&format!("{own}_10m")),
                quoted(&choice.path)
            );
        }
    }
}

/// The last named steps of a path.
fn last_steps(path: &str, steps: usize) -> &str {
    let mut rest = path.trim_end_matches("/*");
    let end = rest.len();
    for _ in 0..steps {
        let Some(at) = rest.rfind('/') else { break };
        rest = &path[..at];
        while let Some(shorter) = rest.strip_suffix("/*") {
            rest = shorter;
        }
    }
    &path[rest.len()..end]
}

/// A name of a query or a source from any text: `a–z`, `0–9` and `_`.
fn name(text: &str, otherwise: &str) -> String {
    let mut name = String::new();
    for letter in text.chars() {
        let plain = letter.to_ascii_lowercase();
        if plain.is_ascii_alphanumeric() {
            if letter.is_ascii_uppercase() && name.ends_with(|c: char| c.is_ascii_lowercase()) {
                name.push('_');
            }
            name.push(plain);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    name.truncate(MAX_NAME);
    let name = name.trim_end_matches('_');
    if name.is_empty() { otherwise.to_owned() } else { name.to_owned() }
}
