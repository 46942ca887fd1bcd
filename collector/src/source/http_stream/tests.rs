use common::event::Reason;
use tokio::net::TcpListener;

use super::*;
use crate::config::Resume;
use crate::source::feed::UNREADABLE;
use crate::source::feed::following::{self, Following};
use crate::source::http_client::server::{Server, response};

fn follow(server: &Server, change: impl FnOnce(&mut Section)) -> Following {
    let mut section = Section { connect: server.connect(), ..Section::default() };
    change(&mut section);
    following::follow(HttpStream::new(&section).unwrap(), None)
}

#[tokio::test]
async fn lines_arrive_byte_for_byte_and_blank_ones_say_only_that_the_feed_lives() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = server.asked().await;
    asked.begin_chunked("Content-Type: application/x-ndjson\r\n").await;
    source.ready().await;
    asked.chunk(b"\r\n{\"a\": \"\xc3\xbc\xff\"}\r").await;
    asked.chunk(b"\n\n\n{\"b\"").await;
    asked.chunk(b":2}\n").await;
    assert_eq!(source.payload().await, &b"{\"a\": \"\xc3\xbc\xff\"}"[..]);
    assert_eq!(source.payload().await, "{\"b\":2}");
    assert_eq!(source.metrics.connects.get(), 1);
    source.shutdown.cancel();
    asked.closed().await;
}

#[tokio::test]
async fn a_stream_that_breaks_in_the_middle_of_an_event_gives_no_half_event() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = server.asked().await;
    asked.begin("application/json").await;
    asked.send(b"{\"a\":1}\n{\"b\":").await;
    assert_eq!(source.payload().await, "{\"a\":1}");
    drop(asked);
    let mut asked = server.asked().await;
    asked.begin_chunked("").await;
    asked.chunk(b"{\"c\":3}\n{\"d\":").await;
    assert_eq!(source.payload().await, "{\"c\":3}");
    assert_eq!(source.metrics.gaps.get(), 1);
    // Without the last chunk.
    drop(asked);
    let why = source.unready("broke off").await;
    assert!(why.contains("/feed"), "{why}");
    let mut asked = server.asked().await;
    asked.begin("application/json").await;
    asked.send(b"{\"whole\":true}").await;
    drop(asked);
    assert_eq!(source.payload().await, "{\"whole\":true}", "it needs no line end");
    assert_eq!(source.metrics.gaps.get(), 2);
}

#[tokio::test]
async fn a_huge_line_is_one_dead_letter_and_the_connection_stays() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = server.asked().await;
    asked.begin("application/json").await;
    for _ in 0..100 {
        asked.send(&[b'x'; 10_000]).await;
    }
    assert_eq!(source.refused(Reason::TooLarge).await, "x".repeat(1024));
    asked.send(b"x\n{\"next\":1}\n").await;
    assert_eq!(source.payload().await, "{\"next\":1}");
    assert_eq!(source.metrics.connects.get(), 1);
}

#[tokio::test]
async fn a_feed_that_resumes_by_time_is_asked_for_what_was_missed() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.resume = Resume::Query("since".to_owned());
        section.connect.url = format!("http://{}/feed?a=b", server.address()).into();
    });
    let mut asked = server.asked().await;
    assert!(asked.head.starts_with("get /feed?a=b http/1.1"), "{}", asked.head);
    asked.begin("application/json").await;
    for time in 7..15 {
        asked
            .send(format!("{{\"rsvp_id\":1,\"response\":\"yes\",\"mtime\":{time}}}\n").as_bytes())
            .await;
        source.next().await;
    }
    drop(asked);
    let asked = server.asked().await;
    assert!(asked.head.starts_with("get /feed?a=b&since=7 http/1.1"), "{}", asked.head);
}

#[tokio::test]
async fn a_text_above_the_limit_is_asked_for_several_times_and_then_skipped() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.framing = Framing::Concatenated;
        section.resume = Resume::Query("since".to_owned());
    });
    let again = std::iter::repeat_n("?since=0", UNREADABLE as usize - 1);
    for query in std::iter::once("").chain(again).chain([""]) {
        let mut asked = server.asked().await;
        assert!(asked.head.starts_with(&format!("get /feed{query} ")), "{}", asked.head);
        asked.begin("application/json").await;
        asked.send(&[b'['; 3000]).await;
        source.refused(Reason::TooLarge).await;
    }
    assert_eq!(source.metrics.gaps.get(), 1);
}

#[tokio::test]
async fn a_feed_without_a_byte_is_given_up_and_one_without_a_message_only_after_the_silence() {
    let server = Server::listen().await;
    let source = follow(&server, |section| {
        section.idle_timeout = Some(Duration::from_secs(1));
        section.connect.silence_timeout = Some(Duration::from_secs(2));
    });
    let mut asked = server.asked().await;
    asked.begin("application/json").await;
    source.unready("idle_timeout").await;
    asked.closed().await;
    let mut asked = server.asked().await;
    asked.begin("application/json").await;
    source.ready().await;
    let blank = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            asked.send(b"\n").await;
        }
    };
    tokio::select! {
        why = source.unready("silence_timeout") => drop(why),
        () = blank => {}
    }
}

#[tokio::test]
async fn a_server_that_is_no_feed_makes_no_events_and_is_not_ready() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| section.connect.connect_timeout_ms = 500);
    let page = format!("<html>{}</html>", "a line\n".repeat(100));
    for (answer, why) in [
        (response("200 OK", "Content-Type: text/html\r\n", &page), "web page"),
        (response("500 Oh", "", &page), "500"),
        (response("204 No Content", "", ""), "204"),
        (response("429 Slow", "Retry-After: 0\r\n", ""), "429"),
    ] {
        server.answer(&answer).await;
        source.unready(why).await;
    }
    // Its headers never end.
    let mut asked = server.asked().await;
    asked.send(b"HTTP/1.1 200 OK\r\nA: b\r\n").await;
    source.unready("within 500 ms").await;
    asked.closed().await;
    // It accepts, and says nothing.
    server.asked().await.closed().await;
    assert_eq!((source.metrics.connects.get(), source.messages.len()), (0, 0));
    let mut asked = server.asked().await;
    asked.begin("application/json").await;
    asked.send(b"{\"now\":1}\n").await;
    assert_eq!(source.payload().await, "{\"now\":1}");
    assert!(source.readiness.unmet().is_empty());
}

#[tokio::test]
async fn retry_after_is_waited_for_and_a_stop_ends_the_wait() {
    let server = Server::listen().await;
    let source = follow(&server, |_| {});
    server.answer(&response("503 Away", "Retry-After: 3000\r\n", "")).await;
    source.unready("503").await;
    let again = tokio::time::timeout(Duration::from_millis(200), server.asked()).await;
    assert!(again.is_err(), "it was asked too early");
    source.shutdown.cancel();
    assert_eq!(source.task.await.unwrap(), crate::source::End::Stopped);
}

#[tokio::test]
async fn a_feed_that_is_not_there_is_tried_until_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::listen().await;
    let source = follow(&server, |section| {
        section.connect.url = format!("http://{address}/?token=s3cret").into();
    });
    let why = source.unready("cannot connect").await;
    assert!(!why.contains("s3cret"), "{why}");
}
