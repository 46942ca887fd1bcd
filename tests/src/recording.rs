//! Recordings: those beside the project, those that the simulator makes, and recordings rewritten in another style.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Read, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::read::MultiGzDecoder;
use futures_util::StreamExt as _;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_tungstenite::connect_async;

use crate::{binaries, eventually, free_port, oracle::Answer, skip};

/// A recording beside the project. If it is not there, as in a fresh clone, reports the test as skipped.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("what needs the recording ../shared/data/{name}: it is not there"));
    None
}

/// The lines of a recording, plain or compressed, without their line ends.
pub fn lines(path: &Path) -> Vec<Vec<u8>> {
    each_line(path).collect()
}

/// The same lines one after another, for a recording that does not fit into memory.
pub fn each_line(path: &Path) -> impl Iterator<Item = Vec<u8>> {
    let file = File::open(path).expect("opening a recording");
    let reader: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    BufReader::new(reader).split(b'\n').map(|line| line.expect("reading a recording"))
}

/// Makes a recording of this many lines with `millrace simulate`, and returns the simulator's own count of the topics.
pub fn synthesize(path: &Path, lines: u32, seed: u64) -> Answer {
    let truth = path.with_extension("truth");
    let port = free_port();
    let mut simulator = Command::new(binaries().join("millrace"))
        .args(["simulate", "--max", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--events", &lines.to_string(), "--seed", &seed.to_string()])
        .arg("--truth")
        .arg(&truth)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting the simulator");
    let runtime = Runtime::new().expect("a runtime");
    let feed = format!("ws://127.0.0.1:{port}/2/rsvps");
    let mut file = BufWriter::new(File::create(path).expect("making a recording"));
    let (mut socket, _) =
        eventually("the simulator listens", || runtime.block_on(connect_async(&feed)).ok());
    let mut missing = lines;
    while missing > 0 {
        let message =
            runtime.block_on(socket.next()).expect("the feed goes on").expect("a message");
        if message.is_text() || message.is_binary() {
            file.write_all(&message.into_data())
                .and_then(|()| file.write_all(b"\n"))
                .expect("writing a recording");
            missing -= 1;
        }
    }
    file.flush().expect("writing a recording");
    signal::kill(Pid::from_raw(simulator.id().cast_signed()), Signal::SIGTERM)
        .expect("stopping the simulator");
    assert!(
        simulator.wait().expect("waiting for a child").success(),
        "the simulator stops as it is asked to"
    );
    let truth = std::fs::read(truth).expect("the truth");
    let (sent, answer) = simulated(&truth).expect("the truth is JSON");
    assert_eq!(sent, u64::from(lines), "lines sent");
    answer
}

/// Moves the event times of a synthetic recording apart, as if its feed had sent `rate` lines a second. Without this
/// they lie within a second, because it was made at full speed, and a feed that is asked for everything since an event time
/// sends the whole recording again.
pub fn spread(path: &Path, rate: u32) {
    const TIME: &[u8] = b"\"mtime\":";
    let mut moved: HashMap<Vec<u8>, i64> = HashMap::new();
    let spread = lines(path).into_iter().enumerate().map(|(at, line)| {
        let start = line.windows(TIME.len()).position(|part| part == TIME).expect("an event time");
        let (head, rest) = line.split_at(start + TIME.len());
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (time, tail) = rest.split_at(digits);
        let time: i64 = std::str::from_utf8(time).expect("digits").parse().expect("a time");
        // A copy of a line moves with it, because it is the same event.
        let by = *moved.entry(line.clone()).or_insert(at as i64 * 1_000 / i64::from(rate));
        [head, (time + by).to_string().as_bytes(), tail].concat()
    });
    let spread: Vec<_> = spread.collect();
    write(path, spread);
}

/// What `millrace simulate --truth` wrote: how many lines it sent, and its own count of the topics. `None` if this is
/// something else.
pub fn simulated(truth: &[u8]) -> Option<(u64, Answer)> {
    let truth: Truth = serde_json::from_slice(truth).ok()?;
    let counts = truth.topics.items.into_iter().map(|one| (one.item, one.count));
    Some((truth.sent, Answer::from_counts(counts.collect())))
}

#[derive(Deserialize)]
struct Truth {
    sent: u64,
    topics: Counts,
}

#[derive(Deserialize)]
struct Counts {
    items: Vec<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    item: String,
    count: u64,
}

/// Writes lines as a recording.
pub fn write<L: AsRef<[u8]>>(path: &Path, lines: impl IntoIterator<Item = L>) {
    let mut file = BufWriter::new(File::create(path).expect("making a recording"));
    for line in lines {
        file.write_all(line.as_ref())
            .and_then(|()| file.write_all(b"\n"))
            .expect("writing a recording");
    }
    file.flush().expect("writing a recording");
}

/// Lines that are not events, each with the reason for which it is refused.
pub fn bad_lines() -> Vec<(Vec<u8>, &'static str)> {
    let text = |line: &str, reason| (line.as_bytes().to_vec(), reason);
    vec![
        text("", "empty"),
        text(" \t ", "empty"),
        text("HTTP/1.1 200 OK", "not_json"),
        text(r#"{"rsvp_id":1,"response":"yes""#, "not_json"),
        text(r#"{"rsvp_id":1,"response":"yes"} x"#, "not_json"),
        text(r#"{"rsvp_id":1,"response":"yes",}"#, "not_json"),
        text("\0", "not_json"),
        text("{\"rsvp_id\":1,\"response\":\"y\0s\"}", "not_json"),
        text("null", "not_object"),
        text("[1,2,3]", "not_object"),
        text("\"text\"", "not_object"),
        text("17", "not_object"),
        (b"{\"rsvp_id\":1,\"response\":\"\xff\"}".to_vec(), "invalid_utf8"),
        (b"\xc3\x28".to_vec(), "invalid_utf8"),
        text(&deep(100_000), "too_deep"),
        text(r#"{"rsvp_id":1,"rsvp_id":2,"response":"yes"}"#, "duplicate_key"),
        text(r#"{"rsvp_id":1,"response":"yes","group":{"a":1,"\u0061":2}}"#, "duplicate_key"),
        text("{}", "missing_id"),
        text(r#"{"response":"yes"}"#, "missing_id"),
        text(r#"{"rsvp_id":1}"#, "missing_id"),
        text(r#"{"rsvp_id":[1],"response":"yes"}"#, "bad_id"),
        text(r#"{"rsvp_id":1.5,"response":"yes"}"#, "bad_id"),
        text(r#"{"rsvp_id":null,"response":"yes"}"#, "bad_id"),
        text(r#"{"rsvp_id":{},"response":"yes"}"#, "bad_id"),
        text(r#"{"rsvp_id":1,"response":true}"#, "bad_id"),
    ]
}

/// An object with arrays in it to this depth.
pub fn deep(depth: usize) -> String {
    format!(r#"{{"rsvp_id":1,"response":"yes","deep":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
}

/// Rewrites events in another style: keys in another order, white space, every kind of escape, a byte order mark,
/// carriage returns. It also renames some topics so that their names need escapes. The same seed gives the same text.
pub struct Scribe {
    state: u64,
}

impl Scribe {
    /// A scribe whose style depends on `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(2).wrapping_add(1) }
    }

    /// Rewrites a line; one that is not JSON stays as it is.
    pub fn write(&mut self, line: &[u8]) -> Vec<u8> {
        let Ok(mut document) = serde_json::from_slice::<Value>(line) else { return line.to_vec() };
        for topic in document
            .pointer_mut("/group/group_topics")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(Value::String(name)) = topic.get_mut("topic_name") {
                // Depends on the name only, so that a topic is renamed the same way in all lines.
                let odd = [
                    "\"quoted\"",
                    "back\\slash",
                    "tab\tnew\nline",
                    "\u{1f600}",
                    "\u{2028}",
                    "nul\u{0}",
                    "\u{7f}ü",
                    "a/b",
                    "日本",
                    "\u{feff}",
                ];
                let sum: usize = name.bytes().map(usize::from).sum();
                if let Some(suffix) = odd.get(sum % 23) {
                    name.push_str(suffix);
                }
            }
        }
        let mut text = String::new();
        if self.below(50) == 0 {
            text.push('\u{feff}');
        }
        self.value(&document, &mut text);
        if self.below(10) == 0 {
            text.push_str(" \r");
        }
        text.into_bytes()
    }

    fn value(&mut self, value: &Value, out: &mut String) {
        self.space(out);
        match value {
            Value::String(text) => self.string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.value(item, out);
                }
                out.push(']');
            }
            Value::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                for at in (1..entries.len()).rev() {
                    entries.swap(at, self.below(at + 1));
                }
                out.push('{');
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    self.string(key, out);
                    self.space(out);
                    out.push(':');
                    self.value(value, out);
                }
                out.push('}');
            }
            plain => out.push_str(&plain.to_string()),
        }
        self.space(out);
    }

    fn string(&mut self, text: &str, out: &mut String) {
        // The percentage of characters that are escaped: mostly none, sometimes a few or all.
        let escaped = [0, 0, 0, 10, 100][self.below(5)];
        out.push('"');
        for sign in text.chars() {
            let short = match sign {
                '"' => Some('"'),
                '\\' => Some('\\'),
                '/' => Some('/'),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                _ => None,
            };
            let required = sign < ' ' || sign == '"' || sign == '\\';
            match short {
                Some(letter) if required || self.below(2) == 0 => out.extend(['\\', letter]),
                _ if required || self.below(100) < escaped => {
                    for unit in sign.encode_utf16(&mut [0; 2]) {
                        let code = if self.below(2) == 0 {
                            format!("\\u{unit:04x}")
                        } else {
                            format!("\\u{unit:04X}")
                        };
                        out.push_str(&code);
                    }
                }
                _ => out.push(sign),
            }
        }
        out.push('"');
    }

    fn space(&mut self, out: &mut String) {
        if self.below(12) == 0 {
            out.push_str([" ", "\t", "  ", "\r"][self.below(4)]);
        }
    }

    /// A pseudo-random number below `limit`, by xorshift, so that it is the same on every machine and in every version.
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % limit
    }
}

#[cfg(test)]
mod tests;
