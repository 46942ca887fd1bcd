//! What is asked of the stream: a query names an item inside each event, and the window it is
//! counted over.

use common::event::Pointer;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The most items that a result may list.
pub const MAX_N: usize = 1_000;
/// The most counters that a query may keep per partition and window.
pub const MAX_CAPACITY: usize = 1_000_000;
/// The most slides that a window may consist of; each is a summary of its own.
pub const MAX_SLIDES: u64 = 10_000;
/// The deepest item pointer.
pub const MAX_STEPS: usize = 32;

/// A standing question about the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Unique; 1 to 64 of `a-z 0-9 _ -`, because it is a Kafka key and a part of URLs.
    pub name: String,
    /// What is computed.
    #[serde(default)]
    pub kind: Kind,
    /// Where the items of an event are. Only JSON strings count; other types are skipped.
    pub item: Pointer,
    /// The stretch of event time that a result covers.
    #[serde(default)]
    pub window: Window,
    /// Items in a published result, 1 to [`MAX_N`].
    #[serde(default = "default_n")]
    pub n: usize,
    /// Counters kept per partition and window; the top-level `capacity` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<usize>,
}

/// What a query computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The most frequent items.
    #[default]
    Top,
}

/// The stretch of event time that a result covers. In TOML
/// `window = { kind = "sliding", size_ms = 1800000, slide_ms = 5000 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Window {
    /// Everything since the start of the log.
    #[default]
    Running,
    /// The last `size_ms`, moved on by `slide_ms` and aligned to multiples of it since 1970.
    Sliding {
        /// Length in milliseconds; a multiple of `slide_ms`.
        size_ms: u64,
        /// Step in milliseconds.
        slide_ms: u64,
    },
}

fn default_n() -> usize {
    50
}

// === impl Query ===

impl Query {
    /// The shipped queries: `topics` and `countries` since the start, `topics_30m` sliding by 5 s.
    pub fn defaults() -> Vec<Self> {
        let topics = "/group/group_topics/*/topic_name";
        let half_hour = Window::Sliding { size_ms: 1_800_000, slide_ms: 5_000 };
        vec![
            Self::top("topics", topics, Window::Running),
            Self::top("topics_30m", topics, half_hour),
            Self::top("countries", "/group/group_country", Window::Running),
        ]
    }

    fn top(name: &str, item: &str, window: Window) -> Self {
        #[expect(clippy::expect_used, reason = "written here, and a test reads all of them")]
        let item = item.parse().expect("a shipped query's pointer is one");
        Self {
            name: name.to_owned(),
            kind: Kind::Top,
            item,
            window,
            n: default_n(),
            capacity: None,
        }
    }

    /// What is wrong with the query alone, a line each: where, what, and what to do. Empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut report = |key: &str, problem: String| {
            problems.push(format!("query '{}': {key}: {problem}", self.name))
        };
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(legal) {
            report(
                "name",
                "must be 1 to 64 characters of a-z, 0-9, _ and -; choose such a name".to_owned(),
            );
        }
        if self.item.steps().len() > MAX_STEPS {
            report(
                "item",
                format!("has {} steps; use at most {MAX_STEPS}", self.item.steps().len()),
            );
        }
        if self.n == 0 || self.n > MAX_N {
            report("n", format!("is {}; set it between 1 and {MAX_N}", self.n));
        }
        match self.capacity {
            Some(capacity) if capacity < self.n => {
                report(
                    "capacity",
                    format!("is {capacity}, less than n; set it to at least {}", self.n),
                );
            }
            Some(capacity) if capacity > MAX_CAPACITY => {
                report("capacity", format!("is {capacity}; set it to at most {MAX_CAPACITY}"));
            }
            Some(_) | None => {}
        }
        if let Window::Sliding { size_ms, slide_ms } = self.window {
            if slide_ms == 0 || size_ms == 0 || size_ms % slide_ms != 0 {
                report(
                    "window",
                    format!(
                        "size_ms {size_ms} is no multiple of slide_ms {slide_ms}; choose size_ms = slide_ms times a whole number"
                    ),
                );
            } else if size_ms / slide_ms > MAX_SLIDES {
                report(
                    "window",
                    format!(
                        "has {} slides; raise slide_ms until there are at most {MAX_SLIDES}",
                        size_ms / slide_ms
                    ),
                );
            } else if size_ms > MAX_WINDOW_MS {
                report(
                    "window",
                    format!("size_ms is {size_ms}; set it to at most {MAX_WINDOW_MS} (100 years)"),
                );
            }
        }
        problems
    }
}

/// Keeps window arithmetic far from the ends of 64 bits.
const MAX_WINDOW_MS: u64 = 100 * 366 * 86_400_000;
