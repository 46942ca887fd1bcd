//! Clients that come back with a cursor.

use super::*;

#[tokio::test]
async fn a_cursor_of_a_pod_that_has_read_more_is_waited_for() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    let mut client = api.connect().await;
    client.subscribe(["topics"], Some(cursor(1))).await;
    assert!(matches!(client.any().await.unwrap(), ServerFrame::Status(_)));
    api.publish("topics");
    api.publish("topics");
    assert_eq!(client.brief().await, "result topics 2");
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_gap_counts_the_clients_own_results() {
    let mut config = small_ring();
    config.ring.frames = 4;
    let mut api = Api::start(&config);
    for query in ["a", "b", "a", "b", "b", "b", "a", "b", "b"] {
        api.publish(query);
    }
    let mut client = api.connect().await;
    // After the cursor there were 2 and 6 of `a`, and 6 is sent.
    client.subscribe(["a"], Some(cursor(0))).await;
    let ServerFrame::Gap(gap) = client.frame().await else { panic!("no gap") };
    assert_eq!(gap.skipped, Some(1));
    assert_eq!(client.brief().await, "snapshot a 6");
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_thousand_clients_that_resume_after_a_restart_see_no_gap_and_no_old_result() {
    const CLIENTS: usize = 1000;
    // Each takes two descriptors.
    crate::descriptors::Caps::claim(&crate::limits::Limits::default());
    let mut config = Config::default();
    config.limits.idle_timeout_ms = 600_000;
    let mut before = Api::start(&config);
    for _ in 0..5 {
        before.publish("topics");
    }
    let last = cursor(4);
    before.stop().await;
    let mut api = Api::start(&config);
    api.hub.begin(crate::test_api::STREAM, 0);
    let stream = tokio::net::TcpStream::connect(api.address).await.unwrap();
    assert!(api.shake_hands(stream, api.request()).await.is_err(), "nothing is served yet");
    for _ in 0..5 {
        api.publish("topics");
    }
    api.hub.complete();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = api.connect().await;
        client.subscribe(["topics"], Some(last)).await;
        clients.push(client);
    }
    let next = api.publish("topics");
    for client in &mut clients {
        assert_eq!(client.brief().await, format!("result topics {next}"));
    }
    assert_eq!(api.metrics.resumes.with_label_values(&["resumed"]).get(), CLIENTS as u64);
    drop(clients);
    api.stop().await;
}
