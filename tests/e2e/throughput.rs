//! The bench, small: that its answer is the truth. Its figures are for `tests/bench` alone.

#[test]
fn the_bench_counts_right() {
    let figures = pipeline_tests::throughput::measure(20_000);
    assert!(figures.mean_bytes > 500, "lifelike RSVPs: {} bytes", figures.mean_bytes);
}
