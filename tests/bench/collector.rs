//! Measures the collector from a WebSocket feed to Kafka, in each mode of its log: CPU time at full speed, beside what the
//! disk allows, and the latency at half of it.
//!
//! `cargo bench --profile release --workspace --bench collector`; with `-- 100000` it takes 100,000 messages instead of a
//! million.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use pipeline_tests::throughput::collector::{MODES, measure};

fn main() {
    // Arguments that are not numbers are skipped, because Cargo adds flags of its own.
    let messages =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let figures = measure(messages, 10);
    let bytes = figures.mean_bytes as f64 * f64::from(messages);
    println!("{messages} messages of {} bytes, 4 partitions, Apache Kafka", figures.mean_bytes);
    println!();
    println!("{:<14}{:>17}{:>17}{:>17}", "full speed", MODES[0], MODES[1], MODES[2]);
    let row = |name: &str, figure: &dyn Fn(usize) -> String| {
        println!("{name:<14}{:>17}{:>17}{:>17}", figure(0), figure(1), figure(2));
    };
    let modes = &figures.modes;
    let speed = |at: usize| f64::from(messages) / modes[at].flood.wall.as_secs_f64();
    row("messages/s", &|at| format!("{:.0}", speed(at)));
    row("CPU s/million", &|at| {
        format!("{:.2}", modes[at].flood.cpu.as_secs_f64() * 1e6 / f64::from(messages))
    });
    row("cores", &|at| {
        format!("{:.2}", modes[at].flood.cpu.as_secs_f64() / modes[at].flood.wall.as_secs_f64())
    });
    row("busiest", &|at| modes[at].busiest.0.clone());
    row("its cores", &|at| {
        format!("{:.2}", modes[at].busiest.1.as_secs_f64() / modes[at].flood.wall.as_secs_f64())
    });
    row("groups/s", &|at| {
        format!("{:.0}", modes[at].groups as f64 / modes[at].flood.wall.as_secs_f64())
    });
    row("of the disk", &|at| {
        let limit = modes[at].disk_limit;
        if limit == 0.0 {
            "-".to_owned()
        } else {
            ratio(bytes / modes[at].flood.wall.as_secs_f64(), limit)
        }
    });
    row("resident MiB", &|at| (modes[at].resident_kib / 1024).to_string());
    println!();
    println!("at {} messages/s", figures.half);
    row("median", &|at| format!("{:.2} ms", modes[at].median.as_secs_f64() * 1e3));
    row("p99", &|at| format!("{:.2} ms", modes[at].p99.as_secs_f64() * 1e3));
    let beyond = |at: usize| modes[at].median.as_secs_f64() - modes[2].median.as_secs_f64();
    println!();
    println!("hybrid beyond off / pessimistic beyond off: {}", ratio(beyond(0), beyond(1)));
}

fn ratio(part: f64, whole: f64) -> String {
    format!("{:.1} %", part / whole * 100.0)
}
