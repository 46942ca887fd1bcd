//! What the tiers cost: the real processes, on a real broker, beside a limit that is measured in the same run.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{process, within};

pub mod analyzer;
pub mod collector;

const PARTITIONS: i32 = 4;
const RUN: Duration = Duration::from_secs(600);

/// How much time a job took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU time of all threads, in user and kernel mode.
    pub cpu: Duration,
    /// Elapsed time.
    pub wall: Duration,
}

/// The process of a tier, which is killed when this is dropped.
struct Tier {
    child: Child,
    log: PathBuf,
}

// === impl Cost ===

impl Cost {
    /// RSVPs per CPU-second.
    pub fn per_cpu_second(&self, rsvps: u32) -> f64 {
        f64::from(rsvps) / self.cpu.as_secs_f64()
    }
}

// === impl Tier ===

impl Tier {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("starting a tier");
        Self { child, log }
    }

    fn assert_running(&mut self) {
        assert!(
            self.child.try_wait().expect("waiting for a child").is_none(),
            "the tier has ended: {}",
            std::fs::read_to_string(&self.log).unwrap_or_default()
        );
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn cpu(&self) -> Duration {
        process::cpu(self.pid()).expect("the tier's CPU time")
    }

    fn stop(mut self) {
        process::Process { pid: self.pid(), name: String::new() }.signal(Signal::SIGTERM);
        within(RUN, "the tier stops", || self.child.try_wait().expect("waiting for a child"));
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
