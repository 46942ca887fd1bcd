//! Runs a small bench to check that its answer is exact. Its figures only matter in `tests/bench`.

#[test]
fn the_bench_counts_right() {
    let figures = pipeline_tests::throughput::analyzer::measure(20_000);
    assert!(figures.mean_bytes > 500, "lifelike RSVPs: {} bytes", figures.mean_bytes);
}
