//! A client that stops reading: what it is told, what the others notice of it, and how it comes back.

use pipeline_tests::{
    Sandbox,
    client::{Buffer, Client, Frame},
    eventually,
};

#[test]
fn a_client_that_stops_reading_is_warned_and_disconnected_and_comes_back_while_others_miss_nothing()
{
    let pipeline = Sandbox::builder()
        .rate(500)
        .environment("ACCESS_API__LIMITS__WRITE_DEADLINE_MS", "2000")
        .environment("ACCESS_API__LIMITS__SEND_BUFFER_BYTES", "4096");
    let mut sandbox = pipeline.start();
    sandbox.await_total("topics", 1_000);
    let server = sandbox.address().parse().expect("a socket address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let mut slow = runtime.block_on(Client::subscribe(server, &["topics"], None, Buffer::Small));
    let first = runtime.block_on(async {
        loop {
            if let Some(version) = slow.frame().await.expect("a frame").version() {
                break version;
            }
        }
    });
    let good = runtime.spawn(async move {
        let mut good = Client::subscribe(server, &["topics"], None, Buffer::Usual).await;
        let mut frames = Vec::new();
        while let Some(frame) = good.frame().await {
            frames.push(frame);
        }
        frames
    });

    eventually("the client that does not read is disconnected", || {
        let metrics = sandbox.metrics("access-api")?;
        (metrics.sum("millrace_access_api_disconnects_total{reason=\"stalled\"}") == 1.0)
            .then_some(())
    });
    // It reads again, while the server still waits for it to take its last frames.
    let rest = runtime.block_on(async {
        let mut rest = Vec::new();
        while let Some(frame) = slow.frame().await {
            rest.push(frame);
        }
        rest
    });
    let place = |wanted: &str| rest.iter().position(|frame| frame.kind() == wanted);
    let (warned, stalled, bye) = (place("slow_down"), place("stall_warning"), place("bye"));
    assert!(
        warned.is_some() && warned < stalled && stalled < bye,
        "{warned:?} {stalled:?} {bye:?}"
    );
    let last = rest.iter().filter_map(Frame::version).next_back().unwrap_or(first);

    let cursor = rest.last().and_then(Frame::cursor).expect("a bye says where to resume");
    let next = runtime.block_on(async {
        let queries = ["topics"];
        let mut back = Client::subscribe(server, &queries, Some(cursor), Buffer::Usual).await;
        loop {
            let frame = back.frame().await.expect("a frame");
            if frame.kind() != "status" {
                break frame;
            }
        }
    });
    assert_eq!(next.kind(), "result", "it goes on where it stopped: {next:?}");
    assert!(next.version() > Some(last));

    assert!(sandbox.stop().status.success());
    let frames = runtime.block_on(good).expect("the other client");
    let unwanted = ["slow_down", "stall_warning", "gap", "error"];
    assert!(!frames.iter().any(|frame| unwanted.contains(&frame.kind())), "{frames:?}");
    let versions: Vec<u64> = frames.iter().filter_map(Frame::version).collect();
    assert!(versions.len() > 10 && versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}
