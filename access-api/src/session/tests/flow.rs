//! Clients that are slow, and clients that acknowledge.

use super::*;

#[tokio::test]
async fn a_client_that_falls_behind_is_warned_twice_and_then_gets_the_newest_only() {
    let mut api = Api::start(&small_ring());
    let mut slow = api.connect_narrow().await;
    let mut good = api.connect().await;
    api.publish("topics");
    for client in [&mut slow, &mut good] {
        client.subscribe(["topics"], None).await;
        assert_eq!(client.brief().await, "snapshot topics 0");
    }
    let mut last = 0;
    while last < 100 {
        last = api.publish_sized("topics", BIG);
        let (seqs, skipped) = account(&read_until(&mut good, last).await);
        assert_eq!((seqs, skipped), (vec![last], 0), "a slow client harms nobody");
    }
    eventually("the warning", || {
        api.metrics.warnings.with_label_values(&["stall_warning"]).get() > 0
    })
    .await;
    let frames = read_until(&mut slow, last).await;
    assert!(place(&frames, "slow_down") < place(&frames, "stall_warning"));
    let (seqs, skipped) = account(&frames);
    assert!(skipped > 0);
    assert_eq!(seqs.len() as u64 + skipped, last, "what was not sent was told");
    assert_eq!(api.metrics.results_skipped.get(), skipped);
    // Then it counts as keeping up again.
    let next = api.publish("topics");
    assert_eq!(slow.brief().await, format!("result topics {next}"));
    drop((slow, good));
    api.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_a_reason_and_a_cursor_after_two_warnings() {
    let mut config = Config::default();
    config.limits.write_deadline_ms = 200;
    config.limits.close_grace_ms = 60_000;
    let mut api = Api::start(&config);
    let mut stalled = api.connect_narrow().await;
    let mut good = api.connect().await;
    api.publish("topics");
    for client in [&mut stalled, &mut good] {
        client.subscribe(["topics"], None).await;
        assert_eq!(client.brief().await, "snapshot topics 0");
    }
    // So few results that the ring does not matter: the write deadline does.
    let mut last = 0;
    for _ in 0..20 {
        last = api.publish_sized("topics", BIG);
        read_until(&mut good, last).await;
    }
    eventually("the end", || api.metrics.disconnects.with_label_values(&["stalled"]).get() == 1)
        .await;
    let (frames, close) = stalled.rest().await;
    let (slow_down, warning, bye) =
        (place(&frames, "slow_down"), place(&frames, "stall_warning"), place(&frames, "bye"));
    assert!(slow_down < warning && warning < bye && bye == frames.len() - 1);
    let ServerFrame::Bye(bye) = frames[bye] else { unreachable!() };
    assert_eq!(bye.reason, ByeReason::Stalled);
    assert!(bye.retry_ms <= config.limits.retry_ms);
    let resume = bye.cursor.unwrap();
    let close = close.unwrap();
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (4008, format!("stalled {resume}").as_str())
    );
    // Resuming from the cursor gives exactly what was not sent.
    let (seqs, _) = account(&frames);
    assert_eq!(seqs.last().copied().unwrap_or(0), resume.seq);
    let mut back = api.connect().await;
    back.subscribe(["topics"], Some(resume)).await;
    let (seqs, skipped) = account(&read_until(&mut back, last).await);
    assert_eq!((seqs, skipped), ((resume.seq + 1..=last).collect(), 0));
    // Other clients were not affected.
    let next = api.publish("topics");
    assert_eq!(good.brief().await, format!("result topics {next}"));
    drop((stalled, good, back));
    api.stop().await;
}

#[tokio::test]
async fn a_client_that_acknowledges_gets_no_more_than_it_acknowledges() {
    let mut api = Api::start(&small_ring());
    let mut client = api.connect().await;
    api.publish("topics");
    client.subscribe(["topics"], None).await;
    let first = client.frame().await.cursor().unwrap();
    client.ack(first).await;
    // The answer to a frame that cannot be read shows that the server has read the ack before it.
    client.say("?").await;
    assert_eq!(client.brief().await, "error BadFrame");
    // It reads everything, as a browser does, but acknowledges nothing, as a frozen page does.
    let mut frames = Vec::new();
    let mut last = 0;
    while last < 40 {
        last = api.publish("topics");
        if !frames.iter().any(|frame| matches!(frame, ServerFrame::StallWarning(_))) {
            frames.push(client.frame().await);
        }
    }
    assert!(place(&frames, "slow_down") < place(&frames, "stall_warning"));
    let sent = frames.iter().filter_map(ServerFrame::cursor).next_back().unwrap();
    assert!(sent.seq < 13, "60 % of the ring of 20 is 12: {}", sent.seq);
    client.ack(sent).await;
    frames.extend(read_until(&mut client, last).await);
    let (seqs, skipped) = account(&frames);
    assert_eq!(seqs.len() as u64 + skipped, last);
    assert!(skipped > 20);
    drop(client);
    api.stop().await;
}
