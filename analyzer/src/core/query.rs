//! Queries: each names the items inside an event that are counted, and the window over which they are counted.

use std::time::Duration;

use common::config::duration;
use common::event::Pointer;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The most items that a result may list.
pub const MAX_N: usize = 1_000;
/// The most counters that a query may keep for each partition and pane.
pub const MAX_CAPACITY: usize = 1_000_000;
/// The most slides that a window may keep, skew and lateness included. Each has a summary of its own.
pub const MAX_SLIDES: i64 = 10_000;
/// The most steps that an item pointer may have.
pub const MAX_STEPS: usize = 32;

/// A query: a standing question about the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// A unique name: 1 to 64 characters of `a-z 0-9 _ -`, because it is a Kafka key and a part of URLs.
    pub name: String,
    /// What is computed.
    #[serde(default)]
    pub kind: Kind,
    /// Where the items of an event are. Strings and numbers count; other types are skipped.
    pub item: Pointer,
    /// The span of event time that a result covers.
    #[serde(default)]
    pub window: Window,
    /// How many items a published result lists, 1 to [`MAX_N`].
    #[serde(default = "default_n")]
    pub n: usize,
    /// How many counters are kept for each partition and pane, from `n` to [`MAX_CAPACITY`]; the top-level
    /// `capacity` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<usize>,
}

/// What a query computes. An unknown kind is refused with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The most frequent items.
    #[default]
    Top,
}

/// The span of event time that a result covers. In TOML
/// `window = { kind = "sliding", size = "30m", slide = "5s", skew = "0s", lateness = "0s" }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Window {
    /// Everything since the start of the log.
    #[default]
    Running,
    /// The last `size` of event time. The window moves in steps of `slide`, which are aligned to multiples of it
    /// since 1970.
    Sliding(Sliding),
}

/// A window that moves with event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sliding {
    /// Its length, a multiple of `slide`.
    #[serde(with = "duration")]
    pub size: Duration,
    /// Its step.
    #[serde(with = "duration")]
    pub slide: Duration,
    /// How far the window ends before the newest event. Events that are out of order by at most this much are
    /// never late.
    #[serde(with = "duration", default)]
    pub skew: Duration,
    /// The allowed lateness: how long a slide still accepts mentions after the window has left it; rounded up to
    /// whole slides.
    #[serde(with = "duration", default)]
    pub lateness: Duration,
}

fn default_n() -> usize {
    50
}

// === impl Query ===

impl Query {
    /// The shipped queries: `topics` and `countries` since the start, `topics_30m` sliding by 5 s.
    pub fn defaults() -> Vec<Self> {
        let topics = "/group/group_topics/*/topic_name";
        let half_hour = Sliding::new(Duration::from_secs(1_800), Duration::from_secs(5));
        vec![
            Self::top("topics", topics, Window::Running),
            Self::top("topics_30m", topics, Window::Sliding(half_hour)),
            Self::top("countries", "/group/group_country", Window::Running),
        ]
    }

    fn top(name: &str, item: &str, window: Window) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the pointers are written here, and a test reads all of them"
        )]
        let item = item.parse().expect("the pointers of the shipped queries are valid");
        Self {
            name: name.to_owned(),
            kind: Kind::Top,
            item,
            window,
            n: default_n(),
            capacity: None,
        }
    }

    /// What is wrong with the query by itself, one line for each fault: where, what, and what to do. Empty if
    /// nothing is wrong.
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
        if let Window::Sliding(window) = self.window {
            window.problems().into_iter().for_each(|problem| report("window", problem));
        }
        problems
    }
}

// === impl Sliding ===

impl Sliding {
    /// A window without skew and lateness.
    pub fn new(size: Duration, slide: Duration) -> Self {
        Self { size, slide, skew: Duration::ZERO, lateness: Duration::ZERO }
    }

    /// Its length in milliseconds.
    pub fn size_ms(&self) -> i64 {
        milliseconds(self.size)
    }

    /// Its step in milliseconds.
    pub fn slide_ms(&self) -> i64 {
        milliseconds(self.slide)
    }

    /// How far the window ends before the newest event, in milliseconds.
    pub fn skew_ms(&self) -> i64 {
        milliseconds(self.skew)
    }

    /// How long a slide still accepts mentions after the window has left it, in milliseconds.
    pub fn lateness_ms(&self) -> i64 {
        milliseconds(self.lateness)
    }

    fn problems(&self) -> Vec<String> {
        let Self { size, slide, skew, lateness } = *self;
        let mut problems = Vec::new();
        for (name, length) in
            [("size", size), ("slide", slide), ("skew", skew), ("lateness", lateness)]
        {
            if length > MAX_DURATION || length.subsec_nanos() % 1_000_000 != 0 {
                problems.push(format!(
                    "{name} is {}; set it to whole milliseconds, at most {}",
                    duration::text(length),
                    duration::text(MAX_DURATION)
                ));
            }
        }
        if !problems.is_empty() {
            return problems;
        }
        let (size_ms, slide_ms) = (self.size_ms(), self.slide_ms());
        if slide_ms == 0 || size_ms == 0 || size_ms % slide_ms != 0 {
            problems.push(format!(
                "size {} is not a multiple of slide {}; choose size = slide times a whole number",
                duration::text(size),
                duration::text(slide)
            ));
            return problems;
        }
        let slides = (size_ms + self.skew_ms() + self.lateness_ms()) / slide_ms;
        if slides > MAX_SLIDES {
            problems.push(format!(
                "has {slides} slides, with skew and lateness; raise slide until there are at most {MAX_SLIDES}"
            ));
        }
        problems
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// 100 years. With this bound the arithmetic of windows does not overflow 64 bits.
const MAX_DURATION: Duration = Duration::from_secs(100 * 366 * 86_400);
