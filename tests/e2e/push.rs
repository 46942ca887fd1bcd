//! Events that are sent to the collector: what it has acknowledged is there, whatever happens to it.

use pipeline_tests::{
    Sandbox,
    numbered::await_in_kafka,
    pushing::{self, Pushing},
    sandbox::scratch,
};

#[test]
fn what_was_acknowledged_is_in_kafka_whenever_the_collector_is_killed() {
    let (_directory, path) = scratch();
    let (file, address) = pushing::configuration(&path);
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let pushing = Pushing::start(address, 4);
    for _ in 0..5 {
        pushing.await_more(2_000);
        sandbox.kill9("collector");
    }
    pushing.await_more(2_000);
    let pushed = pushing.end();
    assert!(pushed.unanswered > 0, "a kill has bitten");
    assert_eq!(pushed.refused, 0);
    await_in_kafka(&mut sandbox, |found| {
        pushed.acknowledged.iter().all(|one| found.contains_key(one))
    });
    sandbox.stop();
}
