//! Collects what a person should be told about events without a usable time, and about queries that find
//! nothing. Other modules decide how and how often it is logged.
//!
//! This is not part of a partition's state: it starts empty with the process, and no result depends on it.

use std::fmt;
use std::ops::Range;

use common::event::Pointer;
use common::event::time::Unit;

use crate::core::decode::Time;
use crate::core::plan::Plan;

#[cfg(test)]
mod tests;

/// A query that has found nothing in this many events is reported, once.
pub const UNMATCHED_AFTER: u64 = 10_000;

/// The times that real events have, 1990 to 2100. A time outside this may be in another unit than configured.
const PLAUSIBLE_MS: Range<i64> = 631_152_000_000..4_102_444_800_000;

/// How many times are needed at least to judge the unit.
const FEWEST_TIMES: u64 = 10;

/// The longest example, in characters.
const LONGEST_EXAMPLE: usize = 60;

/// What was noticed since it was last taken.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    untimed: Sample,
    ahead: Sample,
    /// Events that have anything where the time should be.
    timed: u64,
    /// For each of [`POWERS`], the times that are plausible once multiplied by ten to that power.
    scaled: [Sample; POWERS.len()],
    /// How many events were counted, and which queries found an item in any of them, since the beginning.
    events: u64,
    matched: Vec<bool>,
    told: Vec<bool>,
}

const POWERS: [i32; 4] = [3, 6, -3, -6];

/// How many events there were, and the first one's time as an example.
#[derive(Debug, Clone, Default)]
struct Sample {
    events: u64,
    example: String,
}

/// Something that a person should be told; its `Display` text is a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Events without a readable time.
    Untimed {
        /// How many.
        events: u64,
        /// Where the time should be.
        path: Pointer,
        /// What one of them has there.
        example: String,
    },
    /// Events dated so far ahead that they were set aside.
    Ahead {
        /// How many.
        events: u64,
        /// Where the time is.
        path: Pointer,
        /// What one of them has there.
        example: String,
    },
    /// At least 90 % of the times seem to be of another unit.
    Unit {
        /// How many of them.
        events: u64,
        /// How many times there were altogether.
        of: u64,
        /// Where the time is.
        path: Pointer,
        /// What one of them has there.
        example: String,
        /// The times are plausible when multiplied by ten to this power.
        power: i32,
        /// The unit that they seem to have, if there is one.
        unit: Option<Unit>,
    },
    /// A query found no item in any event.
    Unmatched {
        /// How many events there were.
        events: u64,
        /// Its name.
        query: String,
        /// Where it looks for items.
        path: Pointer,
    },
}

// === impl Sample ===

impl Sample {
    fn add(&mut self, example: &str) {
        self.events += 1;
        if self.example.is_empty() {
            self.example = example.chars().take(LONGEST_EXAMPLE).collect();
        }
    }

    fn absorb(&mut self, other: Self) {
        self.events += other.events;
        if self.example.is_empty() {
            self.example = other.example;
        }
    }
}

// === impl Notices ===

impl Notices {
    /// Notes a distinct event that was counted. `is_ahead` says that it was set aside because of its time.
    #[inline]
    pub(crate) fn event(&mut self, time: Time<'_>, is_ahead: bool) {
        self.events += 1;
        match time {
            Time::At(time_ms, written) => {
                self.timed += 1;
                if is_ahead {
                    self.ahead.add(written);
                }
                if !PLAUSIBLE_MS.contains(&time_ms) {
                    self.implausible(time_ms as f64, written);
                }
            }
            Time::Missing => self.untimed.add("nothing"),
            Time::Unreadable(written, _) => {
                self.timed += 1;
                self.untimed.add(written);
            }
        }
    }

    /// Notes a number that is too large to be a time in the configured unit.
    #[cold]
    pub(crate) fn beyond(&mut self, written: &str, unit: Unit) {
        if let (Ok(number), Some(power)) = (written.parse::<f64>(), power_of(unit)) {
            self.implausible(number * 10_f64.powi(power), written);
        }
    }

    #[cold]
    fn implausible(&mut self, time_ms: f64, written: &str) {
        let is_plausible =
            |time_ms: f64| (PLAUSIBLE_MS.start as f64..PLAUSIBLE_MS.end as f64).contains(&time_ms);
        let scaled = POWERS.iter().zip(&mut self.scaled);
        for (&power, sample) in scaled {
            if is_plausible(time_ms * 10_f64.powi(power)) {
                sample.add(written);
            }
        }
    }

    /// Notes that a query found an item; `query` is its place in the plan.
    #[inline]
    pub(crate) fn matched(&mut self, query: usize) {
        if self.matched.len() <= query {
            self.matched.resize(query + 1, false);
        }
        self.matched[query] = true;
    }

    /// Moves what `other` has noticed into `self`.
    pub fn absorb(&mut self, other: &mut Self) {
        let Self { untimed, ahead, timed, scaled, events, matched, told: _ } =
            std::mem::take(other);
        self.untimed.absorb(untimed);
        self.ahead.absorb(ahead);
        self.timed += timed;
        self.scaled.iter_mut().zip(scaled).for_each(|(mine, theirs)| mine.absorb(theirs));
        self.events += events;
        for query in (0..matched.len()).filter(|&query| matched[query]) {
            self.matched(query);
        }
    }

    /// Returns what there is to tell now, and forgets it, so that it is not told again.
    pub fn take(&mut self, plan: &Plan) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(time) = &plan.settings().schema.time {
            let path = || time.path.clone();
            let of = std::mem::take(&mut self.timed);
            let scaled = std::mem::take(&mut self.scaled);
            for (power, Sample { events, example }) in POWERS.into_iter().zip(scaled) {
                if of >= FEWEST_TIMES && events * 10 >= of * 9 {
                    let unit = unit_of(power_of(time.unit), power);
                    notices.push(Notice::Unit { events, of, path: path(), example, power, unit });
                }
            }
            let Sample { events, example } = std::mem::take(&mut self.untimed);
            if events > 0 {
                notices.push(Notice::Untimed { events, path: path(), example });
            }
            let Sample { events, example } = std::mem::take(&mut self.ahead);
            if events > 0 {
                notices.push(Notice::Ahead { events, path: path(), example });
            }
        }
        if self.events >= UNMATCHED_AFTER {
            self.told.resize(plan.queries().len(), false);
            for (place, planned) in plan.queries().iter().enumerate() {
                let is_matched = self.matched.get(place).copied().unwrap_or(false);
                if !is_matched && !std::mem::replace(&mut self.told[place], true) {
                    notices.push(Notice::Unmatched {
                        events: self.events,
                        query: planned.query.name.clone(),
                        path: planned.query.item.clone(),
                    });
                }
            }
        }
        notices
    }
}

/// The power of ten that turns a number of this unit into milliseconds; `None` for a unit of strings.
const fn power_of(unit: Unit) -> Option<i32> {
    match unit {
        Unit::S => Some(3),
        Unit::Ms => Some(0),
        Unit::Us => Some(-3),
        Unit::Ns => Some(-6),
        Unit::Rfc3339 => None,
    }
}

fn unit_of(said: Option<i32>, power: i32) -> Option<Unit> {
    let right = said? + power;
    [Unit::S, Unit::Ms, Unit::Us, Unit::Ns].into_iter().find(|&unit| power_of(unit) == Some(right))
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untimed { events, path, example } => write!(
                f,
                "{events} events have no time that can be read at {path}, one of them has {example} there: only running \
                 windows count them; compare event.time with an event"
            ),
            Self::Ahead { events, path, example } => write!(
                f,
                "{events} events are dated so far ahead that only running windows count them until others confirm their \
                 time, one of them has {example} at {path}"
            ),
            Self::Unit { events, of, path, example, power, unit } => {
                let (factor, size) =
                    (10_u64.pow(power.unsigned_abs()), if *power < 0 { "large" } else { "small" });
                write!(
                    f,
                    "{events} of {of} times at {path} are {factor} times too {size}, one of them is {example}: they seem to be in \
                     another unit than event.time.unit says"
                )?;
                match unit {
                    Some(unit) => write!(f, "; set it to \"{}\"", unit.name()),
                    None => Ok(()),
                }
            }
            Self::Unmatched { events, query, path } => write!(
                f,
                "query '{query}' has found no item in {events} events: {path} names no text and no number in any of them; \
                 compare its item with an event"
            ),
        }
    }
}
