//! Synthetic RSVPs with the properties that were measured on three recordings of Meetup's feed.
//!
//! A line is a pure function of the options, the pace and its position. At some positions the RSVP of an earlier
//! position is repeated (which may be a repeat itself), at the others there is a new one. So any line can
//! be generated at any time, and the memory does not grow with the feed.
//!
//! | share | what |
//! |---|---|
//! | 20 % of lines ([`SyntheticOptions::redelivery`]) | an `rsvp_id` that was there before, a median of 9 and up to 1,714 lines earlier |
//! | 75 % of those | the same time, with its `mtime` rounded to the second |
//! | 9 % of those | a change of mind: the other `response`, a new `mtime` |
//! | 0.6 % of new RSVPs | more than a day late, up to five months |
//! | 15 % of RSVPs | no `venue` |

use std::fmt::Write;

use common::clock::Clock;

use super::line::Line;
use super::{Error, Pace};

mod dice;
#[cfg(test)]
mod tests;
mod words;
mod world;

use dice::Dice;
use world::World;

/// Above this share, chains of repeats would be too long to follow.
const MAX_REDELIVERY: f64 = 0.95;

/// The events of a feed without a rate are a microsecond apart. No reader is faster than that, so that no event is dated
/// in the future.
const MAX_PACE_PER_SECOND: f64 = 1e6;

/// Ids begin at the start in microseconds, so that a feed that is started again uses new ids, if the one before was not
/// faster than [`MAX_PACE_PER_SECOND`].
const IDS_PER_MS: u64 = 1_000;

/// The year 2255. Every id from such a start is below 2^53, up to which a double holds every integer.
const LATEST_START_MS: i64 = 9_000_000_000_000;

/// Independent streams of random choices.
const REPEAT: u64 = 2;
const RSVP: u64 = 3;

/// The distribution of the distance between a repeat and the line that it repeats, in lines: pairs of a share of all
/// repeats and the largest distance among this share.
const DISTANCES: [(f64, f64); 9] = [
    (0.0, 1.0),
    (0.05, 2.0),
    (0.1, 3.0),
    (0.25, 5.0),
    (0.5, 9.0),
    (0.75, 22.0),
    (0.9, 79.0),
    (0.97, 200.0),
    (1.0, 1_714.0),
];

const DAY_MS: f64 = 86_400_000.0;
const OLDEST_DAYS: f64 = 150.0;

/// The options of a synthetic feed.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticOptions {
    /// The same seed gives the same bytes (with the same start, pace and redelivery).
    pub seed: u64,
    /// How many lines there are; `None` for a feed without end.
    pub events: Option<u64>,
    /// Share of lines that repeat an earlier `rsvp_id`, from 0 to 0.95.
    pub redelivery: f64,
    /// Event time of the first line in milliseconds since 1970; now if `None`.
    pub start_ms: Option<i64>,
}

/// Generates lines.
#[derive(Debug)]
pub(super) struct Generator {
    seed: u64,
    events: Option<u64>,
    redelivery: f64,
    start_ms: i64,
    first_id: u64,
    ms_per_line: f64,
    world: World,
}

/// What a repeat changes of the line that it repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Only the precision of `mtime`.
    Rounded,
    /// Nothing.
    None,
    /// It has the other response, and is dated now.
    Mind,
    /// It has the same response, with another guest, and is dated now.
    Edit,
}

/// The parts of an RSVP that a repeat may change.
#[derive(Debug, Clone, Copy)]
struct Answer {
    yes: bool,
    guests: u64,
    mtime_ms: i64,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self { seed: 1, events: None, redelivery: 0.2, start_ms: None }
    }
}

impl SyntheticOptions {
    pub(super) fn check(self) -> Result<Self, Error> {
        if !(0.0..=MAX_REDELIVERY).contains(&self.redelivery) {
            return Err(Error::Redelivery { given: self.redelivery, max: MAX_REDELIVERY });
        }
        match self.start_ms {
            Some(given) if !(0..=LATEST_START_MS).contains(&given) => {
                Err(Error::Start { given, latest: LATEST_START_MS })
            }
            _ => Ok(self),
        }
    }
}

impl Generator {
    pub(super) fn new(options: &SyntheticOptions, pace: Pace) -> Self {
        let start_ms = options.start_ms.unwrap_or_else(|| Clock::default().now_ms());
        let per_second = match pace {
            Pace::Rate(rate) => rate,
            Pace::Max => MAX_PACE_PER_SECOND,
        };
        tracing::info!(seed = options.seed, start_ms, per_second, "synthetic events");
        Self {
            seed: options.seed,
            events: options.events,
            redelivery: options.redelivery,
            start_ms,
            first_id: u64::try_from(start_ms).unwrap_or(0).saturating_mul(IDS_PER_MS),
            ms_per_line: 1_000.0 / per_second,
            world: World::new(options.seed, start_ms),
        }
    }

    pub(super) const fn events(&self) -> Option<u64> {
        self.events
    }

    /// The line at `position` (from 0); `None` after the last one.
    pub(super) fn line(&self, position: u64) -> Option<Line> {
        if self.events.is_some_and(|events| position >= events) {
            return None;
        }
        let mut changes = Vec::new();
        let mut first = position;
        while let Some((earlier, change)) = self.repeated(first) {
            changes.push((first, change));
            first = earlier;
        }
        let mut dice = Dice::new(self.seed, RSVP, first);
        let mut answer = self.answer(&mut dice, first);
        for &(at, change) in changes.iter().rev() {
            self.apply(&mut answer, at, change);
        }
        let bytes = self.write(&mut dice, self.first_id + first, answer).into();
        Some(Line { bytes, mtime_ms: Some(answer.mtime_ms) })
    }

    /// The position of the line that the one at `position` repeats, if it is a repeat, and what it changes.
    fn repeated(&self, position: u64) -> Option<(u64, Change)> {
        let mut dice = Dice::new(self.seed, REPEAT, position);
        if position == 0 || !dice.chance(self.redelivery) {
            return None;
        }
        // Near the start the distance is limited by the position.
        let distance = (distance(dice.unit()) - 1) % position + 1;
        let change = match dice.below(100) {
            0..75 => Change::Rounded,
            75..84 => Change::Mind,
            84..88 => Change::Edit,
            _ => Change::None,
        };
        Some((position - distance, change))
    }

    fn answer(&self, dice: &mut Dice, position: u64) -> Answer {
        let late_ms = match dice.below(1_000) {
            0..6 => DAY_MS * OLDEST_DAYS.powf(dice.unit()),
            6..20 => dice.unit() * 60_000.0,
            _ => 0.0,
        };
        let guests = match dice.below(1_000) {
            0..930 => 0,
            930..972 => 1,
            972..995 => 2 + dice.below(3),
            _ => 5 + dice.below(54),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most five months")]
        let mtime_ms = self.at_ms(position) - late_ms as i64;
        Answer { yes: dice.chance(0.75), guests, mtime_ms }
    }

    fn apply(&self, answer: &mut Answer, position: u64, change: Change) {
        match change {
            Change::None => {}
            Change::Rounded => answer.mtime_ms = (answer.mtime_ms + 500).div_euclid(1_000) * 1_000,
            Change::Mind => {
                answer.yes = !answer.yes;
                answer.mtime_ms = self.at_ms(position);
            }
            Change::Edit => {
                answer.guests += 1;
                answer.mtime_ms = self.at_ms(position);
            }
        }
    }

    /// When the line at `position` is due, in milliseconds since 1970.
    fn at_ms(&self, position: u64) -> i64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "2^53 ms are never reached"
        )]
        let after = (position as f64 * self.ms_per_line) as i64;
        self.start_ms + after
    }

    fn write(&self, dice: &mut Dice, rsvp_id: u64, answer: Answer) -> String {
        let group = self.world.group(dice);
        let event = &group.events[dice.index(group.events.len())];
        let venue = &group.venues[dice.index(group.venues.len())];
        let order = usize::from(dice.chance(0.3));
        let (group, event) = (&group.json[order], &event[order]);
        let venue = if dice.chance(0.85) { Some(&venue[order]) } else { None };
        let member = member(dice, order);
        let response = if answer.yes { "yes" } else { "no" };
        let Answer { guests, mtime_ms, .. } = answer;

        let mut line = String::with_capacity(group.len() + event.len() + 600);
        // Writing to a string cannot fail.
        let _ = match (order, venue) {
            (0, None) => write!(
                line,
                r#"{{"response":"{response}",{member},"visibility":"public","event":{event},"guests":{guests},"mtime":{mtime_ms},"rsvp_id":{rsvp_id},"group":{group}}}"#
            ),
            (0, Some(venue)) => write!(
                line,
                r#"{{"response":"{response}",{member},"visibility":"public","event":{event},"guests":{guests},"mtime":{mtime_ms},"rsvp_id":{rsvp_id},"group":{group},"venue":{venue}}}"#
            ),
            (_, None) => write!(
                line,
                r#"{{{member},"response":"{response}","visibility":"public","event":{event},"mtime":{mtime_ms},"guests":{guests},"rsvp_id":{rsvp_id},"group":{group}}}"#
            ),
            (_, Some(venue)) => write!(
                line,
                r#"{{"venue":{venue},"visibility":"public","response":"{response}","guests":{guests},{member},"rsvp_id":{rsvp_id},"mtime":{mtime_ms},"event":{event},"group":{group}}}"#
            ),
        };
        line
    }
}

/// The member `member` of an RSVP. No name needs escaping.
fn member(dice: &mut Dice, order: usize) -> String {
    let foreign = dice.chance(0.02);
    let name = dice.pick(if foreign { &words::FOREIGN_MEMBERS } else { &words::MEMBERS });
    let id = 10_000 + dice.below(185_000_000);
    let more = if dice.chance(0.6) {
        let (folder, number) = (dice.below(4_096), 100_000_000 + dice.below(150_000_000));
        format!(
            r#""photo":"http:\/\/photos{}.meetupstatic.com\/photos\/member\/{folder:x}\/thumb_{number}.jpeg","#,
            folder % 4 + 1
        )
    } else {
        format!(r#""other_services":{{"twitter":{{"identifier":"@member{id}"}}}},"#)
    };
    if order == 0 {
        format!(r#""member":{{{more}"member_name":"{name}","member_id":{id}}}"#)
    } else {
        format!(r#""member":{{"member_id":{id},{more}"member_name":"{name}"}}"#)
    }
}

/// The distance at this share of all repeats. Between the measured shares it is interpolated on a logarithmic scale.
fn distance(share: f64) -> u64 {
    let above =
        DISTANCES.partition_point(|&(measured, _)| measured <= share).clamp(1, DISTANCES.len() - 1);
    let ((low, near), (high, far)) = (DISTANCES[above - 1], DISTANCES[above]);
    let between = near * (far / near).powf((share - low) / (high - low));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 1,714")]
    let lines = between.round() as u64;
    lines.max(1)
}
