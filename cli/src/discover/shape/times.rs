//! The values of one path, read as times: whether they can be, in which unit, and how they go on from one to the next.

use common::event::Value;
use common::event::time::{Unit, milliseconds};

/// 2000-01-01 in milliseconds since 1970: what is earlier is not taken for the time of an event.
const FIRST_MS: f64 = 946_684_800_000.0;
/// 2100-01-01 likewise.
const LAST_MS: f64 = 4_102_444_800_000.0;
/// A clock may be wrong by as much as `[event] max_future` allows by default.
const AHEAD_MS: i64 = 86_400_000;
/// What is this close to the time of receipt is of the present.
const NEAR_MS: i64 = 600_000;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Times {
    track: Option<Track>,
    /// Values that are no times, or before the first one that is.
    misfits: u64,
}

/// The values that are times.
#[derive(Debug, Clone)]
pub struct Track {
    /// The unit, the same of all.
    pub unit: Unit,
    /// How many there are.
    pub fits: u64,
    /// The earliest, in milliseconds since 1970.
    pub least_ms: i64,
    /// The latest.
    pub greatest_ms: i64,
    /// How many are more than a day later than they were received.
    pub ahead: u64,
    /// How many are within ten minutes of their receipt.
    pub near: u64,
    /// How many are not earlier than the one before.
    forward: u64,
    /// How far each is from the one before, in microseconds: how many are at least 2^n and less than 2^(n+1).
    steps: [u32; 64],
    last_us: f64,
}

impl Times {
    /// What is known of those that are times, and the share of them among all values.
    pub fn track(&self) -> Option<(&Track, f64)> {
        let track = self.track.as_ref()?;
        Some((track, track.fits as f64 / (track.fits + self.misfits) as f64))
    }

    pub(super) fn text(&mut self, text: &str, now_ms: i64) {
        // Any other string is not worth reading: at least `2015-09-12T00:49:12Z`.
        let plausible = (20..=40).contains(&text.len()) && text.as_bytes().get(4) == Some(&b'-');
        let value = Value::Text(text.into());
        let time_ms = plausible.then(|| milliseconds(&value, Unit::Rfc3339).ok()).flatten();
        self.take(time_ms.map(|ms| (Unit::Rfc3339, ms, ms as f64 * 1e3)), now_ms);
    }

    pub(super) fn number(&mut self, number: &str, now_ms: i64) {
        let found = number.parse::<f64>().ok().and_then(|value| {
            let per_ms = |unit| match unit {
                Unit::S => 1e-3,
                Unit::Us => 1e3,
                Unit::Ns => 1e6,
                Unit::Ms | Unit::Rfc3339 => 1.0,
            };
            let mut units = [Unit::S, Unit::Ms, Unit::Us, Unit::Ns].into_iter();
            let fits = |&unit: &Unit| (FIRST_MS..LAST_MS).contains(&(value / per_ms(unit)));
            let unit = units.find(fits)?;
            let ms = milliseconds(&Value::Number(number), unit).ok()?;
            Some((unit, ms, value / per_ms(unit) * 1e3))
        });
        self.take(found, now_ms);
    }

    fn take(&mut self, found: Option<(Unit, i64, f64)>, now_ms: i64) {
        let Some((unit, ms, us)) = found.filter(|(_, ms, _)| *ms as f64 >= FIRST_MS) else {
            self.misfits += 1;
            return;
        };
        let track = self.track.get_or_insert_with(|| Track::new(unit, ms, us));
        if track.unit != unit {
            self.misfits += 1;
            return;
        }
        if track.fits > 0 {
            track.forward += u64::from(us >= track.last_us);
            let apart = (us - track.last_us).abs().max(1.0).log2() as usize;
            let step = &mut track.steps[apart.min(63)];
            *step = step.saturating_add(1);
        }
        track.fits += 1;
        track.last_us = us;
        track.least_ms = track.least_ms.min(ms);
        track.greatest_ms = track.greatest_ms.max(ms);
        track.ahead += u64::from(ms > now_ms.saturating_add(AHEAD_MS));
        track.near += u64::from(ms.abs_diff(now_ms) <= NEAR_MS.unsigned_abs());
    }

    pub(super) fn absorb(&mut self, other: &Self) {
        self.misfits += other.misfits;
        match (&mut self.track, &other.track) {
            (Some(mine), Some(theirs)) if mine.unit == theirs.unit => mine.absorb(theirs),
            (Some(_), Some(theirs)) => self.misfits += theirs.fits,
            (mine @ None, theirs) => mine.clone_from(theirs),
            (Some(_), None) => {}
        }
    }
}

impl Track {
    const fn new(unit: Unit, ms: i64, us: f64) -> Self {
        Self {
            unit,
            fits: 0,
            least_ms: ms,
            greatest_ms: ms,
            ahead: 0,
            near: 0,
            forward: 0,
            steps: [0; 64],
            last_us: us,
        }
    }

    /// The share of steps that do not go back, from 0 to 1; 1 if there is no step.
    pub fn forward(&self) -> f64 {
        let steps = self.fits.saturating_sub(1);
        if steps == 0 { 1.0 } else { self.forward as f64 / steps as f64 }
    }

    /// How far it is from one to the next at most in half of the steps, in seconds, rounded up to a power of 2 of microseconds.
    pub fn step_s(&self) -> f64 {
        let all: u64 = self.steps.iter().map(|&steps| u64::from(steps)).sum();
        let mut below = 0;
        for (exponent, &steps) in self.steps.iter().enumerate() {
            below += u64::from(steps);
            if below * 2 >= all {
                return (exponent as f64 + 1.0).exp2() / 1e6;
            }
        }
        0.0
    }

    fn absorb(&mut self, other: &Self) {
        self.fits += other.fits;
        self.least_ms = self.least_ms.min(other.least_ms);
        self.greatest_ms = self.greatest_ms.max(other.greatest_ms);
        self.ahead += other.ahead;
        self.near += other.near;
        self.forward += other.forward;
        for (mine, theirs) in self.steps.iter_mut().zip(other.steps) {
            *mine = mine.saturating_add(theirs);
        }
    }
}
