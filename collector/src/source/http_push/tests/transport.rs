//! Requests as they are on the socket.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chunked(chunks: &[&str]) -> String {
    let head = "POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks: String =
        chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("{head}{chunks}0\r\n\r\n")
}

#[tokio::test]
async fn compressed_bodies_are_taken_and_bombs_are_not() {
    let bench = Bench::new(Section::default());
    let (body, bomb) = (rsvp(1).into_bytes(), vec![b' '; 64 << 20]);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    for (encoding, small, large) in
        [("gzip", gzip(&body), gzip(&bomb)), ("zstd", zstd(&body), zstd(&bomb))]
    {
        let header = format!("Content-Encoding: {encoding}\r\n");
        assert_eq!(bench.post(&header, small).await.status, 202);
        let answer = bench.post(&header, large).await;
        assert_eq!((answer.status, &answer.body["reason"]), (413, &json!("too_large")));
        let answer = bench.post(&header, "not compressed").await;
        assert_eq!((answer.status, &answer.body["reason"]), (400, &json!("content_encoding")));
    }
    assert_eq!(bench.end().await, [rsvp(1), rsvp(1)]);
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_bytewise() {
    let bench = Bench::new(Section::default());
    let event = rsvp(1);
    let (first, second) = event.split_at(9);
    assert_eq!(bench.ask(chunked(&[first, second])).await.status, 202);
    let mut stream = bench.connect().await;
    for byte in post("Content-Type: application/json\r\n", rsvp(2)) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(Answer::read(&mut stream).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(1), rsvp(2)]);
}

#[tokio::test]
async fn requests_that_follow_each_other_without_waiting_are_answered_in_their_order() {
    let bench = Bench::new(Section::default());
    let mut stream = bench.connect().await;
    let json = "Content-Type: application/json\r\n";
    let requests = [post(json, rsvp(1)), post(json, "{}"), post(json, rsvp(2))].concat();
    stream.write_all(&requests).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(Answer::read(&mut stream).await.status);
    }
    assert_eq!(statuses, [202, 422, 202]);
    assert_eq!(bench.end().await, [rsvp(1), rsvp(2)]);
}

#[tokio::test]
async fn an_old_client_and_one_that_closes_its_half_are_answered() {
    let bench = Bench::new(Section::default());
    let body = rsvp(1);
    let old = format!(
        "POST /v1/events HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = bench.connect().await;
    stream.write_all(old.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 202);
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0, "closed after the answer");

    bench.gate.send_replace(Gate::Taken);
    let mut stream = bench.connect().await;
    stream.write_all(&post("Content-Type: application/json\r\n", rsvp(2))).await.unwrap();
    stream.shutdown().await.unwrap();
    while bench.taken().len() < 2 {
        tokio::task::yield_now().await;
    }
    bench.gate.send_replace(Gate::Logged);
    assert_eq!(Answer::read(&mut stream).await.status, 202);
    bench.end().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on_or_why_not() {
    let bench = Bench::new(Section::default());
    let body = rsvp(1);
    let head = |content_type: &str| {
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
    };
    let mut stream = bench.connect().await;
    stream.write_all(head("application/json").as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 100);
    stream.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 202);
    assert_eq!(bench.ask(head("text/plain")).await.status, 415, "at once");
    bench.end().await;
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_taken() {
    let bench = Bench::new(Section::default());
    for request in [
        b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n".to_vec(),
        chunked(&[&rsvp(1)]).replace("0\r\n\r\n", "").into_bytes(),
    ] {
        let mut stream = bench.connect().await;
        stream.write_all(&request).await.unwrap();
        stream.write_all(rsvp(1).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // It is told, or the connection just ends.
        let _end = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "), "{rest:?}");
    }
    assert_eq!(bench.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_request_with_two_lengths_cannot_smuggle_a_second_one() {
    let bench = Bench::new(Section::default());
    let hidden = String::from_utf8(post("Content-Type: application/json\r\n", rsvp(66))).unwrap();
    let json = "POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
    let both = format!(
        "{json}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let two = format!(
        "{json}Content-Length: 2\r\nContent-Length: {}\r\n\r\n{{}}{hidden}",
        hidden.len() + 2
    );
    let other = format!("{json}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}");
    for request in [both, two, other] {
        let mut stream = bench.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        let _end = stream.read_to_end(&mut answers).await;
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{request}\n{answers}");
        assert!(answers.starts_with("HTTP/1.1 400 "), "{request}\n{answers}");
    }
    assert_eq!(bench.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_head_with_no_end_or_with_what_does_not_belong_there_is_refused() {
    let bench = Bench::new(Section::default());
    let head = "POST /v1/events HTTP/1.1\r\nHost: h\r\n";
    for request in [
        format!("{head}X: {}\r\n\r\n", "x".repeat(20_000)),
        format!("{head}{}\r\n", "X: x\r\n".repeat(100)),
        format!("{head}X : x\r\n\r\n"),
        format!("{head}X: a\r\n folded\r\n\r\n"),
        "POST /v1/events HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1} a TLS handshake\r\n\r\n".to_owned(),
    ] {
        let mut stream = bench.connect().await;
        let _cut_off = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{request} {answer}");
    }
    assert_eq!(bench.post("", rsvp(1)).await.status, 202, "others are served");
    bench.end().await;
}

#[test]
fn whatever_bytes_come_others_are_served() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let bench = runtime.block_on(async { Bench::new(Section::default()) });
    let prefixes = [
        "",
        "POST /v1/events HTTP/1.1\r\n",
        "POST /v1/events HTTP/1.1\r\nContent-Type: application/json\r\n",
    ];
    proptest!(ProptestConfig::with_cases(64), |(
        prefix in prop::sample::select(prefixes.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    )| {
        runtime.block_on(async {
            let mut stream = bench.connect().await;
            let _reset = stream.write_all(&[prefix.as_bytes(), &bytes].concat()).await;
            let _reset = stream.shutdown().await;
            let _reset = stream.read_to_end(&mut Vec::new()).await;
        });
    });
    runtime.block_on(async {
        assert_eq!(bench.post("", rsvp(1)).await.status, 202);
        assert_eq!(bench.end().await, [rsvp(1)]);
    });
}
