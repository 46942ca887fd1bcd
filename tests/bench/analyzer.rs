//! Measures how many RSVPs per CPU-second the analyzer counts, compared with a poll-and-drop loop on the same topic in
//! the same run.
//!
//! `cargo bench --profile release -p pipeline-tests` (the profile that everything else is built with); with
//! `-- 100000` it takes 100,000 RSVPs instead of a million.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use pipeline_tests::throughput::{Cost, analyzer::measure};

fn main() {
    // Arguments that are not numbers are skipped, because Cargo adds flags of its own.
    let rsvps =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let figures = measure(rsvps);
    println!(
        "{} RSVPs of {} bytes, 4 partitions, lz4, Apache Kafka; the answer is exact",
        figures.rsvps, figures.mean_bytes
    );
    println!();
    println!("{:<16}{:>18}{:>10}{:>10}", "", "per CPU-second", "CPU s", "wall s");
    let row = |name: &str, cost: &Cost| {
        println!(
            "{name:<16}{:>18.0}{:>10.2}{:>10.2}",
            cost.per_cpu_second(rsvps),
            cost.cpu.as_secs_f64(),
            cost.wall.as_secs_f64()
        );
    };
    row("shipped queries", &figures.analyzer);
    row("topics alone", &figures.topics_alone);
    row("poll and drop", &figures.drop);
    println!();
    let drop = figures.drop.per_cpu_second(rsvps);
    for (name, cost) in
        [("shipped queries", &figures.analyzer), ("topics alone", &figures.topics_alone)]
    {
        println!("{name} / poll and drop: {:.1} %", cost.per_cpu_second(rsvps) / drop * 100.0);
    }
}
