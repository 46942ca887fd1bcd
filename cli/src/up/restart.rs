//! When a process that has ended is started again: as by the restart policy of a pod, with one
//! difference. A process that fails again and again without ever becoming ready is given up, and the
//! user is told why.
//!
//! If a process was ended from outside (`kill -9`, the kernel's out-of-memory killer), that says nothing about the
//! process itself, and it is always restarted. Pure: times are arguments.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// After this many failures in a row without having been ready, a process is given up.
pub const MAX_FAILURES: u32 = 5;

/// A process that ran at least this long did not fail because of its start.
const STEADY: Duration = Duration::from_secs(5);
/// A process that is killed sooner than this after its start is started again only after this delay.
const BREATH: Duration = Duration::from_millis(500);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// `EX_USAGE` and `EX_UNAVAILABLE` of sysexits: the configuration is not valid, or something is not installed.
const HOPELESS: [i32; 2] = [64, 69];

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By a signal from outside, or with exit code 0.
    Outside,
    /// By a failure of its own.
    Failed,
    /// By a failure that would happen again at the next start.
    Hopeless,
}

/// What to do after a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this long.
    Restart(Duration),
    /// Tell the user.
    GiveUp,
}

/// One run of a process, from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// How it ended.
    pub exit: Exit,
    /// How long it lasted.
    pub lasted: Duration,
    /// Whether it ever became ready.
    pub ready: bool,
    /// Whether something that it needs was down meanwhile, so that its failure does not count.
    pub excused: bool,
}

/// The history of a process, as far as it matters.
#[derive(Debug, Default)]
pub struct Policy {
    /// How many failures there were since it was last ready, without the excused ones.
    failures: u32,
    /// How many failures in a row came soon after the start.
    early: u32,
}

impl Exit {
    /// Reads an exit status.
    pub fn of(status: ExitStatus) -> Self {
        // Signals that a process causes itself, by an abort or a forbidden operation.
        const OWN: [i32; 7] = [4, 5, 6, 7, 8, 11, 31]; // ILL TRAP ABRT BUS FPE SEGV SYS
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Outside,
            (Some(code), _) if HOPELESS.contains(&code) => Self::Hopeless,
            (_, Some(signal)) if !OWN.contains(&signal) => Self::Outside,
            _ => Self::Failed,
        }
    }
}

impl Policy {
    /// What to do after `life`.
    pub fn after(&mut self, life: Life) -> Verdict {
        if life.ready {
            self.failures = 0;
        }
        match life.exit {
            Exit::Hopeless => Verdict::GiveUp,
            Exit::Outside if life.lasted < BREATH => Verdict::Restart(BREATH),
            Exit::Outside => Verdict::Restart(Duration::ZERO),
            Exit::Failed => {
                if !life.ready && !life.excused {
                    self.failures += 1;
                }
                if self.failures >= MAX_FAILURES {
                    return Verdict::GiveUp;
                }
                self.early = if life.lasted < STEADY { self.early.saturating_add(1) } else { 1 };
                Verdict::Restart(delay(self.early))
            }
        }
    }
}

/// No delay after the first failure, then one that doubles.
fn delay(attempt: u32) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        n => FIRST_DELAY.saturating_mul(1 << (n - 2).min(10)).min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests;
