//! What a person should be told about events that are set aside, or queries that find nothing: as data. Who
//! says it, and how often, is not decided here.
//!
//! Nothing of this is state: it starts anew with the process, and no result depends on it.

use std::fmt;
use std::ops::Range;

use common::event::Pointer;
use common::event::time::Unit;

use crate::core::decode::Time;
use crate::core::plan::Plan;

#[cfg(test)]
mod tests;

/// A query that has found nothing in so many events is mentioned, once.
pub const UNMATCHED_AFTER: u64 = 10_000;

/// Times of events that people look at, 1990 to 2100: others may be in another unit than was said.
const PLAUSIBLE_MS: Range<i64> = 631_152_000_000..4_102_444_800_000;

/// The fewest times by which a unit is judged.
const FEWEST_TIMES: u64 = 10;

/// The longest example, in characters.
const LONGEST_EXAMPLE: usize = 60;

/// What has been noticed since it was last told.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    untimed: Sample,
    ahead: Sample,
    /// Events that have a number or text where the time should be.
    timed: u64,
    /// Times that are plausible once multiplied by ten to the power of [`POWERS`].
    scaled: [Sample; POWERS.len()],
    /// Events counted, and which queries found an item in any, since the beginning.
    events: u64,
    matched: Vec<bool>,
    told: Vec<bool>,
}

const POWERS: [i32; 4] = [3, 6, -3, -6];

/// Some events, and how one of them has it.
#[derive(Debug, Clone, Default)]
struct Sample {
    events: u64,
    example: String,
}

/// Something to tell; its text is a sentence.
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
    /// Nearly all times are of another unit.
    Unit {
        /// How many times are.
        events: u64,
        /// Of so many.
        of: u64,
        /// Where the time is.
        path: Pointer,
        /// What one of them has there.
        example: String,
        /// They are right when multiplied by ten to this power.
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
        /// Where it looks.
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
    /// A distinct event was counted; `is_ahead` if it was set aside for its time.
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

    /// A time that is beyond what a time can be, in the unit that was said.
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

    /// A query, by its place in the plan, found an item.
    #[inline]
    pub(crate) fn matched(&mut self, query: usize) {
        if self.matched.len() <= query {
            self.matched.resize(query + 1, false);
        }
        self.matched[query] = true;
    }

    /// Takes over what another has noticed.
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

    /// What there is to tell now; none of it is told again.
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

/// The power of ten that makes milliseconds of a unit; `None` if it is no number.
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
