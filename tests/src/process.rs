//! Processes as `/proc` shows them. A sandbox finds its own by a marker in their environment, which `up` passes on to
//! everything that it starts. So orphans are found too, and processes of others never are.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

/// The environment variable whose value marks the processes of one sandbox.
pub const MARKER: &str = "MILLRACE_SANDBOX";

/// A process that ran when it was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// The program that it runs: `collector`, `analyzer`, `access-api`, `millrace`, `java`.
    pub name: String,
}

/// All live processes whose environment has the marker with this value.
pub fn marked(marker: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let wanted = format!("{MARKER}={marker}");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            read(*pid, "environ").is_some_and(|all| all.split('\0').any(|one| one == wanted))
        })
        .filter_map(|pid| Some(Process { pid, name: program(pid)? }))
        .collect()
}

impl Process {
    /// Sends a signal. It is not an error if the process has just ended.
    pub fn signal(&self, signal: Signal) {
        let _ = signal::kill(Pid::from_raw(self.pid), signal);
    }

    /// The environment it was started with.
    pub fn environment(&self) -> HashMap<String, String> {
        let all = read(self.pid, "environ").unwrap_or_default();
        all.split('\0')
            .filter_map(|one| one.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Its command line, the program included.
    pub fn arguments(&self) -> Vec<String> {
        read(self.pid, "cmdline").unwrap_or_default().split('\0').map(str::to_owned).collect()
    }

    /// Resident memory now, in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = read(self.pid, "status")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    }
}

/// CPU time of a process since its start, in user and kernel mode.
pub fn cpu(pid: i32) -> Option<Duration> {
    cpu_of(&read(pid, "stat")?)
}

/// CPU time of each thread of a process that lives, by the thread's name; threads of one name together.
pub fn cpu_by_thread(pid: i32) -> BTreeMap<String, Duration> {
    let mut all = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let thread = format!("task/{}", thread.file_name().to_string_lossy());
        let of = |what: &str| read(pid, &format!("{thread}/{what}"));
        if let (Some(name), Some(cpu)) = (of("comm"), of("stat").and_then(|stat| cpu_of(&stat))) {
            *all.entry(name.trim().to_owned()).or_default() += cpu;
        }
    }
    all
}

fn cpu_of(stat: &str) -> Option<Duration> {
    // The name, in brackets, may contain spaces, so fields are counted after it: 14 and 15 of proc_pid_stat(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // USER_HZ is 100 on every architecture this runs on: it is part of the kernel's interface.
    Some(Duration::from_millis(ticks * 10))
}

/// The name of the program's file. It is not the process's name, because that is the parent's until the program runs, and
/// a thread can change it.
fn program(pid: i32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_str()?;
    // The kernel adds this if the program was built again while it ran.
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

fn read(pid: i32, what: &str) -> Option<String> {
    let path: PathBuf = ["/proc", &pid.to_string(), what].iter().collect();
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}
