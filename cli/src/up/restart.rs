//! When a process that ended is started again: what a pod's restart policy would do, with one
//! difference. A process that fails again and again without ever becoming ready is not waited for;
//! whoever sits in front of it is told why.
//!
//! What ended from outside (`kill -9`, the memory killer) says nothing about the process itself and is
//! restarted for ever. Pure: times are arguments.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// Failures in a row, none of them ready, after which a process is given up.
pub const MAX_FAILURES: u32 = 5;

/// A life this long shows that a failure is not the start's.
const STEADY: Duration = Duration::from_secs(5);
/// A process killed sooner than this after its start waits as long before the next.
const BREATH: Duration = Duration::from_millis(500);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// `EX_USAGE` and `EX_UNAVAILABLE` of sysexits: bad configuration, something is not installed.
const HOPELESS: [i32; 2] = [64, 69];

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was told to: a signal from outside, or exit code 0.
    Outside,
    /// By a failure of its own.
    Failed,
    /// By a failure that the next start would meet again.
    Hopeless,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this long.
    Restart(Duration),
    /// Tell the user.
    GiveUp,
}

/// One life of a process.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// How it ended.
    pub exit: Exit,
    /// How long it lasted.
    pub lasted: Duration,
    /// Whether it ever became ready.
    pub ready: bool,
    /// Whether something that it needs was down meanwhile, so that its failure is not its own.
    pub excused: bool,
}

/// The history of a process, as far as it matters.
#[derive(Debug, Default)]
pub struct Policy {
    /// Failures since it was last ready, less the excused ones.
    failures: u32,
    /// Failures in a row that came soon after the start.
    early: u32,
}

impl Exit {
    /// Reads an exit status.
    pub fn of(status: ExitStatus) -> Self {
        // What a process does to itself: it aborted, or broke the machine's rules.
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

/// At once the first time, then doubling.
fn delay(attempt: u32) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        n => FIRST_DELAY.saturating_mul(1 << (n - 2).min(10)).min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests;
