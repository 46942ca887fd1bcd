//! Events that are sent to the collector: what it has acknowledged is there, whatever happens to it.

use pipeline_tests::{collector::Collector, sandbox::scratch, times};
use rand::RngExt as _;

#[test]
fn what_was_acknowledged_is_in_kafka_whenever_the_collector_is_killed() {
    let (_directory, path) = scratch();
    let mut collector = Collector::start(&path.join("log"), &[]);
    let kills = if times() > 1 { 1_000 } else { 20 };
    let mut random = rand::rng();
    for kill in 1..=kills {
        collector.pushing().await_more(random.random_range(1..500));
        let unanswered = collector.pushing().so_far().unanswered;
        collector.kill();
        collector.start_again();
        collector.pushing().await_more(1);
        assert!(collector.pushing().so_far().unanswered > unanswered, "kill {kill} has bitten");
    }
    let pushed = collector.await_all_in_kafka();
    assert_eq!(pushed.refused, 0);
}
