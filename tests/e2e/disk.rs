//! A disk that loses what was not synced, that is full, or that fails: nothing that was acknowledged is lost, and the collector
//! goes on by itself.

use std::ops::{Deref, DerefMut};

use pipeline_tests::{collector::Collector, disk::Disk, skip, times};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const MIB: u64 = 1 << 20;
/// A log whose files are small, so that there are several.
const SMALL: [&str; 2] = ["log.write_buffer_bytes=4000000", "log.write_ahead_bytes=8000000"];

/// A collector whose log is on a disk of its own. It ends before the disk is unmounted.
struct Setup {
    collector: Collector,
    disk: Disk,
}

impl Setup {
    /// `None` if this machine mounts no such disk.
    fn start(capacity: u64, settings: &[&str]) -> Option<Self> {
        match Disk::mount(capacity) {
            Ok(disk) => {
                let collector = Collector::start(&disk.path().join("log"), settings);
                Some(Self { collector, disk })
            }
            Err(error) => {
                skip(&format!("faults of a disk: FUSE cannot be used: {error}"));
                None
            }
        }
    }
}

impl Deref for Setup {
    type Target = Collector;

    fn deref(&self) -> &Collector {
        &self.collector
    }
}

impl DerefMut for Setup {
    fn deref_mut(&mut self) -> &mut Collector {
        &mut self.collector
    }
}

#[test]
fn after_a_power_cut_all_that_was_acknowledged_is_there() {
    let Some(mut setup) = Setup::start(1024 * MIB, &SMALL) else { return };
    let seed = rand::random();
    eprintln!("the seed is {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cuts = 20 * times();
    let mut lost = 0;
    for cut in 0..cuts {
        if cut == cuts / 2 {
            // From now on nothing but the log has what is acknowledged.
            setup.kafka.kill();
        }
        setup.pushing().await_more(random.random_range(1..1_000));
        setup.kill();
        lost += setup.disk.cut_power(|below| random.random_range(0..below));
        setup.start_again();
    }
    setup.pushing().await_more(1);
    setup.kafka.start_again();
    setup.await_all_in_kafka();
    assert!(lost > 0, "a cut has bitten");
}

#[test]
fn a_disk_that_somebody_else_has_filled_is_waited_for() {
    let Some(mut setup) = Setup::start(1024 * MIB, &[]) else { return };
    setup.kafka.kill();
    setup.pushing().await_more(2_000);
    setup.disk.leave_free(0);
    setup.await_stop();
    setup.disk.leave_free(1024 * MIB);
    setup.pushing().await_more(2_000);
    setup.kafka.start_again();
    setup.await_all_in_kafka();
}

#[test]
fn a_log_that_has_filled_its_disk_is_emptied_into_kafka_also_after_a_restart() {
    let settings = [&["log.max_bytes=1000000000"], &SMALL[..]].concat();
    let Some(mut setup) = Setup::start(48 * MIB, &settings) else { return };
    setup.kafka.kill();
    setup.await_stop();
    setup.kill();
    setup.start_again();
    setup.kafka.start_again();
    setup.pushing().await_more(2_000);
    setup.await_all_in_kafka();
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing_that_was_acknowledged() {
    let Some(mut setup) = Setup::start(1024 * MIB, &[]) else { return };
    setup.kafka.kill();
    for _ in 0..3 {
        setup.pushing().await_more(1_000);
        setup.disk.set_broken(true);
        setup.await_stop();
        setup.disk.set_broken(false);
    }
    setup.pushing().await_more(1_000);
    setup.kafka.start_again();
    setup.await_all_in_kafka();
}
