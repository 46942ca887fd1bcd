//! Decides when a client is warned, pinged, read from, and disconnected. Pure: time is an argument.
//!
//! **Invariants.** A client is disconnected for slowness only after `slow_down` and `stall_warning`. After
//! everything that is due at a time was done, [`Flow::deadline`] lies after that time, so that waiting for it
//! does not spin. In any span of time no more frames of a client are read than its rate allows for that span
//! and one second.

use std::time::Duration;

use common::protocol::ByeReason;
use tokio::time::Instant;

use super::ladder::Rung;
use crate::limits::Limits;

/// How many control frames may wait behind a blocked batch before the client is not read any more.
pub const CONTROLS: u8 = 16;

/// How a client keeps up.
#[derive(Debug, Clone)]
pub struct Flow {
    rung: Rung,
    /// Since when something that was written waits for the kernel to take it.
    blocked_since: Option<Instant>,
    /// How many control frames were written since the last complete flush.
    controls: u8,
    /// Since when the client has been behind, if it is.
    behind_since: Option<Instant>,
    heard: Instant,
    pinged: Instant,
    /// The time at which the frames read so far would be within the rate. It may be up to a second ahead.
    paid_until: Instant,
}

/// The warnings that have become due, and the percentage that made them due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Climb {
    /// How far behind the client is, 0 to 100.
    pub percent: u8,
    /// The rungs reached, in their order.
    pub rungs: &'static [Rung],
}

impl Flow {
    /// A client that has just connected.
    pub const fn new(now: Instant) -> Self {
        Self {
            rung: Rung::Flowing,
            blocked_since: None,
            controls: 0,
            behind_since: None,
            heard: now,
            pinged: now,
            paid_until: now,
        }
    }

    /// Something was written, which the kernel may not have taken yet.
    pub fn wrote(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// A control frame was written, or a pong that the library will write.
    pub fn wrote_control(&mut self, now: Instant) {
        self.controls = self.controls.saturating_add(1);
        self.wrote(now);
    }

    /// The kernel has taken everything that was written.
    pub const fn flushed(&mut self) {
        self.blocked_since = None;
        self.controls = 0;
    }

    /// A frame was read.
    pub fn heard(&mut self, now: Instant, limits: &Limits) {
        self.heard = now;
        let cost = Duration::from_secs(1) / limits.client_frames_per_second.max(1);
        self.paid_until = self.paid_until.max(now) + cost;
    }

    /// A ping is being written.
    pub const fn pinged(&mut self, now: Instant) {
        self.pinged = now;
    }

    /// Whether something that was written waits for the kernel to take it.
    pub const fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    /// Whether the client gets only the newest result of each query.
    pub fn is_stalled(&self) -> bool {
        self.rung == Rung::Stalled
    }

    /// Whether a frame may be read from the client now.
    pub fn may_read(&self, now: Instant) -> bool {
        self.controls < CONTROLS && now >= self.readable_at()
    }

    fn readable_at(&self) -> Instant {
        // The subtraction fails only for an instant within the first second that the clock can show.
        self.paid_until.checked_sub(Duration::from_secs(1)).unwrap_or(self.paid_until)
    }

    /// How long the client has been behind, in milliseconds.
    pub fn lag_ms(&self, now: Instant) -> u64 {
        let lag = self.behind_since.map_or(Duration::ZERO, |since| now - since);
        u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes note that the client is `behind` percent behind the ring's end or its own acknowledgements. The time
    /// for which a write has waited counts too, as a percentage of the write deadline. Returns the warnings due.
    pub fn observe(&mut self, now: Instant, behind: u8, limits: &Limits) -> Climb {
        let blocked =
            self.blocked_since.map_or(0, |since| percent_of(now - since, limits.write_deadline()));
        let percent = blocked.max(behind);
        match (percent, self.behind_since) {
            (0, _) => self.behind_since = None,
            (_, None) => self.behind_since = Some(now),
            (_, Some(_)) => {}
        }
        Climb { percent, rungs: self.rung.observe(percent) }
    }

    /// Why the client is to be disconnected now, if it is. To be called after [`observe`](Self::observe).
    pub fn overdue(&self, now: Instant, limits: &Limits) -> Option<ByeReason> {
        if now - self.heard >= limits.idle_timeout() {
            return Some(ByeReason::Idle);
        }
        let stalled = |since: Instant| now - since >= limits.write_deadline();
        self.blocked_since.is_some_and(stalled).then_some(ByeReason::Stalled)
    }

    /// Whether the client is to be pinged now.
    pub fn is_ping_due(&self, now: Instant, limits: &Limits) -> bool {
        !self.is_blocked() && now - self.heard.max(self.pinged) >= limits.ping_interval()
    }

    /// When to look again if nothing happens until then.
    pub fn deadline(&self, now: Instant, limits: &Limits) -> Instant {
        let next = self.blocked_since.map_or_else(
            || self.heard.max(self.pinged) + limits.ping_interval(),
            |since| since + limits.write_deadline() * self.rung.next_percent() / 100,
        );
        let readable_at = self.readable_at();
        let next = if readable_at > now { next.min(readable_at) } else { next };
        next.min(self.heard + limits.idle_timeout())
    }
}

fn percent_of(part: Duration, whole: Duration) -> u8 {
    u8::try_from((part.as_nanos() * 100 / whole.as_nanos().max(1)).min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests;
