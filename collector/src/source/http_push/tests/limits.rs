//! What is bounded, and what a stop does.

use tokio::task::JoinSet;

use super::*;
use crate::config::Common;

#[tokio::test]
async fn too_large_bodies_and_too_many_events_are_refused() {
    let section = Section { max_body_bytes: 1000, max_events: 10, ..Section::default() };
    let bench = Bench::new(section);
    assert_eq!(bench.post("", " ".repeat(1001)).await.status, 413);
    let chunk = " ".repeat(0x100);
    let endless = format!(
        "POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("100\r\n{chunk}\r\n").repeat(20)
    );
    let answer = bench.ask(endless).await;
    assert_eq!(
        (answer.status, &answer.body["reason"]),
        (413, &json!("too_large")),
        "it never ends"
    );
    let answer = bench.post("", format!("[{}7]", "7,".repeat(10))).await;
    assert_eq!((answer.status, &answer.body["reason"]), (413, &json!("too_many_events")));
    assert_eq!(bench.end().await, Vec::<String>::new());
}

/// The beginning of a request whose body never comes to its end.
fn begun(headers: &str, bytes: usize) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        8 << 20
    );
    [head.as_bytes(), &vec![b' '; bytes]].concat()
}

/// Begins so many requests, and waits until the first of them is answered. The others go on while what is returned lives.
async fn first_answer(bench: &Bench, count: usize, request: &[u8]) -> (Answer, JoinSet<Answer>) {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let (mut stream, request) = (bench.connect().await, request.to_owned());
        asked.spawn(async move {
            stream.write_all(&request).await.unwrap();
            Answer::read(&mut stream).await
        });
    }
    (asked.join_next().await.unwrap().unwrap(), asked)
}

#[tokio::test]
async fn bodies_that_do_not_come_to_their_end_keep_nobody_waiting() {
    let bench = Bench::new(Section::default());
    let (answer, _others) = first_answer(&bench, 9, &begun("", 15 << 19)).await;
    assert_eq!((answer.status, &answer.body["reason"]), (503, &json!("unavailable")));
    let asked = Instant::now();
    assert_eq!(bench.post("", rsvp(1)).await.status, 202);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn strangers_who_may_be_right_leave_memory_to_those_who_have_a_token() {
    let folder = tempfile::TempDir::new().unwrap();
    let [token_file, secret_file] = ["token", "secret"].map(|name| folder.path().join(name));
    std::fs::write(&token_file, "t0ken").unwrap();
    std::fs::write(&secret_file, "s3cret").unwrap();
    let bench = Bench::new(Section { token_file, secret_file, ..Section::default() });
    let signature = format!("X-Hub-Signature-256: sha256={}\r\n", "0".repeat(64));
    let most = (8 << 20) - 1;
    let (answer, _others) = first_answer(&bench, 5, &begun(&signature, most)).await;
    assert_eq!((answer.status, &answer.body["reason"]), (503, &json!("unavailable")));
    let large = format!("{}{}", " ".repeat(most - 1000), rsvp(1));
    let answer = bench.post("Authorization: Bearer t0ken\r\n", large).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_not_told_so_when_its_body_is_too_large() {
    let bench = Bench::new(Section { max_body_bytes: 1000, ..Section::default() });
    let headers = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let request = post(headers, " ".repeat(1001));
    let mut stream = bench.connect().await;
    stream.write_all(&request[..request.len() - 1001]).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 413);
}

#[tokio::test]
async fn a_stop_answers_also_a_request_whose_body_does_not_come() {
    let bench = Bench::new(Section::default());
    let mut stream = bench.connect().await;
    let headers = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let request = post(headers, rsvp(1));
    stream.write_all(&request[..request.len() - 1]).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 100, "it is in hand");
    bench.stop.cancel();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, &answer.body["reason"]), (503, &json!("unavailable")));
    assert_eq!(bench.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_event_that_is_too_large_is_one_of_the_bad_ones() {
    let mut section = Section::default();
    section.common.max_event_bytes = 100;
    let bench = Bench::new(section);
    let large = format!(r#"{{"rsvp_id":1,"response":"{}"}}"#, "x".repeat(100));
    let answer = bench.post("", format!("[{large},{}]", rsvp(2))).await;
    assert_eq!((answer.status, &answer.body["bad"][0]["reason"]), (202, &json!("too_large")));
    assert_eq!(bench.end().await, [large, rsvp(2)]);
}

#[tokio::test]
async fn a_client_that_does_not_go_on_is_cut_off() {
    let section = Section { header_timeout_ms: 50, body_timeout_ms: 50, ..Section::default() };
    let bench = Bench::new(section);
    let mut silent = bench.connect().await;
    let mut half = bench.connect().await;
    half.write_all(b"POST /v1/events HT").await.unwrap();
    for stream in [&mut silent, &mut half] {
        // Some versions of hyper tell it before the end.
        let mut rest = Vec::new();
        let _end = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{rest:?}");
    }
    let request = post("Content-Type: application/json\r\n", rsvp(1));
    let answer = bench.ask(&request[..request.len() - 1]).await;
    assert_eq!((answer.status, &answer.body["reason"]), (408, &json!("body_timeout")));
    assert_eq!(bench.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_made_safe_in_time_is_given_back_and_not_taken_later() {
    let bench = Bench::new(Section { accept_timeout_ms: 50, ..Section::default() });
    bench.gate.send_replace(Gate::Shut);
    // The queue has room for some of the first, and none of the second.
    let many: Vec<_> = (0..2000).map(rsvp).collect();
    for body in [format!("[{}]", many.join(",")), rsvp(1)] {
        let answer = bench.post("", body).await;
        assert_eq!((answer.status, &answer.body["reason"]), (503, &json!("unavailable")));
        assert!(answer.head.contains("retry-after: 5"), "{}", answer.head);
    }
    bench.gate.send_replace(Gate::Logged);
    assert_eq!(bench.post("", rsvp(7)).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(7)]);
}

#[tokio::test]
async fn a_request_whose_fsync_takes_too_long_is_given_back_too() {
    let bench = Bench::new(Section { accept_timeout_ms: 50, ..Section::default() });
    bench.gate.send_replace(Gate::Taken);
    assert_eq!(bench.post("", rsvp(1)).await.status, 503);
    assert_eq!(bench.taken(), [rsvp(1)], "its events may still come");
    bench.end().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_are_told_so() {
    let bench = Bench::new(Section { max_connections: 2, ..Section::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = bench.connect().await;
        stream.write_all(&post("Content-Type: application/json\r\n", rsvp(1))).await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, 202);
        held.push(stream);
    }
    let answer = bench.ask(post("Content-Type: application/json\r\n", rsvp(2))).await;
    assert_eq!((answer.status, &answer.body["reason"]), (503, &json!("max_connections")));
    assert!(answer.head.contains("retry-after: 5"));
    assert_eq!(bench.metrics.connections_refused.get(), 1);
    drop(held);
    while bench.ask(post("Content-Type: application/json\r\n", rsvp(3))).await.status != 202 {
        tokio::task::yield_now().await;
    }
    bench.end().await;
}

#[tokio::test]
async fn a_source_that_is_sent_too_much_answers_429_until_the_rate_is_kept_again() {
    let bench = Bench::new(Section {
        common: Common { rate_limit: Some(5), ..Common::default() },
        ..Section::default()
    });
    let many: Vec<_> = (0..10).map(rsvp).collect();
    assert_eq!(bench.post("", format!("[{}]", many.join(","))).await.status, 202);
    let answer = bench.post("", rsvp(10)).await;
    assert_eq!((answer.status, &answer.body["reason"]), (429, &json!("rate_limit")));
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    assert_eq!(bench.end().await, many);
}

#[tokio::test]
async fn a_stop_answers_what_is_in_hand_and_takes_nothing_more() {
    let bench = Bench::new(Section::default());
    let mut idle = bench.connect().await;
    idle.write_all(&post("Content-Type: application/json\r\n", rsvp(1))).await.unwrap();
    assert_eq!(Answer::read(&mut idle).await.status, 202);
    bench.gate.send_replace(Gate::Taken);
    let mut in_hand = bench.connect().await;
    in_hand.write_all(&post("Content-Type: application/json\r\n", rsvp(2))).await.unwrap();
    let mut in_body = bench.connect().await;
    // This one is told when its body is waited for.
    let request = post("Content-Type: application/json\r\nExpect: 100-continue\r\n", rsvp(3));
    let (sent, rest) = request.split_at(request.len() - rsvp(3).len());
    in_body.write_all(sent).await.unwrap();
    assert_eq!(Answer::read(&mut in_body).await.status, 100);
    while bench.taken().len() < 2 {
        tokio::task::yield_now().await;
    }
    bench.stop.cancel();
    let mut nothing = [0; 9];
    assert_eq!(idle.read(&mut nothing).await.unwrap(), 0, "without a request it just ends");
    while TcpStream::connect(bench.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    in_body.write_all(rest).await.unwrap();
    while bench.taken().len() < 3 {
        tokio::task::yield_now().await;
    }
    bench.gate.send_replace(Gate::Logged);
    for stream in [&mut in_hand, &mut in_body] {
        assert_eq!(Answer::read(stream).await.status, 202);
        assert_eq!(stream.read(&mut nothing).await.unwrap(), 0, "the connection ends after it");
    }
    assert_eq!(bench.end().await, [rsvp(1), rsvp(2), rsvp(3)]);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_kafka() {
    let bench = Bench::new(Section::default());
    let mut waiting = bench.connect().await;
    let headers = "Content-Type: application/json\r\nPrefer: respond-sync, wait=60\r\n";
    waiting.write_all(&post(headers, rsvp(1))).await.unwrap();
    while bench.taken().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.stop.cancel();
    let answer = Answer::read(&mut waiting).await;
    assert_eq!((answer.status, answer.body.get("state")), (202, None));
    bench.end().await;
}

#[tokio::test]
async fn a_server_whose_pipeline_is_gone_ends() {
    let bench = Bench::new(Section::default());
    assert_eq!(bench.post("", rsvp(1)).await.status, 202);
    drop(bench.gate);
    assert_eq!(bench.server.await.unwrap(), End::Closed);
}
