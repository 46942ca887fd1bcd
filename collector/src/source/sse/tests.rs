use bytes::Bytes;
use common::event::Reason;

use super::*;
use crate::config::{Delivery, Framing};
use crate::source::feed::UNREADABLE;
use crate::source::feed::following::{self, Following};
use crate::source::http_client::server::{Asked, Server, response};
use crate::source::resume_point::ResumePoint;

fn follow(server: &Server, change: impl FnOnce(&mut Section)) -> Following {
    follow_from(server, None, change)
}

fn follow_from(
    server: &Server,
    cursor: Option<Bytes>,
    change: impl FnOnce(&mut Section),
) -> Following {
    let mut section = Section { connect: server.connect(), ..Section::default() };
    change(&mut section);
    following::follow_as(Sse::new(&section).unwrap(), cursor, &section.common)
}

/// The next request, whose answer has begun.
async fn stream(server: &Server) -> Asked {
    let mut asked = server.asked().await;
    assert!(asked.head.contains("accept: text/event-stream\r\n"), "{}", asked.head);
    asked.begin("text/event-stream; charset=utf-8").await;
    asked
}

#[tokio::test]
async fn events_are_messages_and_after_a_break_the_last_id_is_sent_back() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = stream(&server).await;
    assert!(!asked.head.contains("last-event-id"), "{}", asked.head);
    source.ready().await;
    asked.send(b": hello\n\nid: 7\nevent: x\ndata: {\"a\":1,\ndata: \"b\":\"\xff\"}\n\nid: 8\ndata: {\"hal").await;
    let message = source.next().await;
    assert_eq!(message.payload, &b"{\"a\":1,\n\"b\":\"\xff\"}"[..]);
    drop(asked);
    let mut asked = stream(&server).await;
    assert!(asked.head.contains("last-event-id: 7\r\n"), "{}", asked.head);
    asked.send(b"id: 8\ndata: {\"half\":2}\n\n").await;
    assert_eq!(source.payload().await, "{\"half\":2}");
    assert_eq!(source.metrics.gaps.get(), 0);
    // A restart goes on from what was logged with the message.
    let stored = message.cursor.unwrap();
    let point = ResumePoint::new(&Resume::LastEventId, Some(&stored));
    assert_eq!(point.begin(), Begin::After("7".into()));
    source.shutdown.cancel();
    let _second = follow_from(&server, Some(stored.0), |_| {});
    let asked = stream(&server).await;
    assert!(asked.head.contains("last-event-id: 7\r\n"), "{}", asked.head);
}

#[tokio::test]
async fn the_cursor_of_a_frame_is_at_its_last_message_or_at_its_first_so_that_none_comes_twice() {
    for (delivery, at) in [(Delivery::EffectivelyOnce, 2), (Delivery::AtMostOnce, 0)] {
        let server = Server::listen().await;
        let mut source = follow(&server, |section| {
            section.framing = Framing::Lines;
            section.common.delivery = delivery;
        });
        let mut asked = stream(&server).await;
        asked.send(b"id: 7\ndata: {}\ndata: {}\ndata: {}\n\n").await;
        for number in 0..3 {
            let cursor = source.next().await.cursor;
            let begin = cursor.map(|it| ResumePoint::new(&Resume::LastEventId, Some(&it)).begin());
            let expected = (number == at).then(|| Begin::After("7".into()));
            assert_eq!(
                begin.filter(|begin| *begin != Begin::Now),
                expected,
                "{delivery:?} {number}"
            );
        }
    }
}

#[tokio::test]
async fn a_feed_without_ids_has_a_gap_at_each_reconnect() {
    let server = Server::listen().await;
    let long_ago = Bytes::copy_from_slice(&1_000_000_000_000_i64.to_be_bytes());
    let mut source = follow_from(&server, Some(long_ago), |_| {});
    for gaps in 1..3 {
        let mut asked = stream(&server).await;
        assert!(!asked.head.contains("last-event-id"), "{}", asked.head);
        asked.send(b"data: {}\n\n").await;
        assert_eq!(source.payload().await, "{}");
        assert_eq!(source.metrics.gaps.get(), gaps);
    }
    let day_ms = 86_400_000;
    assert!(source.metrics.gap_ms.get() > day_ms);
}

#[tokio::test]
async fn an_id_that_the_server_does_not_know_any_more_is_given_up_after_several_tries() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = stream(&server).await;
    asked.send(b"id: old\ndata: {}\n\n").await;
    source.payload().await;
    drop(asked);
    for _ in 0..UNREADABLE {
        let head = server.answer(&response("410 Gone", "", "")).await;
        assert!(head.contains("last-event-id: old\r\n"), "{head}");
    }
    let mut asked = stream(&server).await;
    assert!(!asked.head.contains("last-event-id"), "{}", asked.head);
    asked.send(b"id: new\ndata: {}\n\n").await;
    source.payload().await;
    assert_eq!(source.metrics.gaps.get(), 1);
    drop(asked);
    let asked = stream(&server).await;
    assert!(asked.head.contains("last-event-id: new\r\n"), "{}", asked.head);
}

#[tokio::test]
async fn a_server_that_is_not_found_now_and_then_is_still_asked_for_what_was_missed() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = stream(&server).await;
    asked.send(b"id: old\ndata: {}\n\n").await;
    source.payload().await;
    drop(asked);
    for _ in 0..3 {
        for _ in 1..UNREADABLE {
            let head = server.answer(&response("404 Not Found", "", "")).await;
            assert!(head.contains("last-event-id: old\r\n"), "{head}");
        }
        // A good answer that brings nothing.
        let asked = stream(&server).await;
        assert!(asked.head.contains("last-event-id: old\r\n"), "{}", asked.head);
    }
    assert_eq!(source.metrics.gaps.get(), 0);
}

#[tokio::test]
async fn comments_say_that_the_feed_lives_and_retry_when_to_come_back() {
    let server = Server::listen().await;
    let source = follow(&server, |section| {
        section.idle_timeout = Some(Duration::from_secs(1));
    });
    let mut asked = stream(&server).await;
    let begun = std::time::Instant::now();
    asked.send(b"retry: 1000\n\n").await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while begun.elapsed() < Duration::from_millis(1500) {
        pace.tick().await;
        asked.send(b": still here\n").await;
    }
    assert_eq!(source.metrics.disconnects.get(), 0);
    let why = source.unready("idle_timeout").await;
    assert!(why.contains("1000 ms"), "{why}");
    let given_up = std::time::Instant::now();
    let _asked = stream(&server).await;
    assert!(given_up.elapsed() >= Duration::from_millis(500), "{:?}", given_up.elapsed());
}

#[tokio::test]
async fn an_answer_that_is_no_event_stream_is_refused_and_asked_for_again() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    for (answer, why) in [
        (response("200 OK", "Content-Type: text/html\r\n", "data: x\n\n"), "web page"),
        (
            response("200 OK", "Content-Type: application/json\r\n", "data: x\n\n"),
            "application/json",
        ),
        (response("200 OK", "", "data: x\n\n"), "not an event stream"),
        (response("204 No Content", "", ""), "204"),
        (response("500 Oh", "", ""), "500"),
    ] {
        server.answer(&answer).await;
        source.unready(why).await;
    }
    assert_eq!((source.metrics.connects.get(), source.messages.len()), (0, 0));
    let mut asked = stream(&server).await;
    asked.send(b"data: {}\n\n").await;
    source.payload().await;
    drop(asked);
    // What was a feed has become a page.
    server.answer(&response("200 OK", "Content-Type: text/html\r\n", "data: x\n\n")).await;
    source.unready("web page").await;
    assert_eq!(source.messages.len(), 0);
}

#[tokio::test]
async fn a_huge_event_is_one_dead_letter_and_the_connection_stays() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let mut asked = stream(&server).await;
    asked.send(b"data: ").await;
    for _ in 0..100 {
        asked.send(&[b'x'; 10_000]).await;
    }
    asked.send(b"\n\ndata: {}\n\n").await;
    assert_eq!(source.refused(Reason::TooLarge).await, "x".repeat(1024));
    assert_eq!(source.payload().await, "{}");
    assert_eq!(source.metrics.connects.get(), 1);
}

#[tokio::test]
async fn an_event_of_several_messages_has_its_id_as_the_cursor_of_the_last_one() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| section.framing = Framing::Array(None));
    let mut asked = stream(&server).await;
    asked.send(b"id: 1\ndata: [{}]\n\nid: 2\ndata: [{\"a\":1},{\"b\":2}]\n\n").await;
    source.next().await;
    for (payload, id) in [("{\"a\":1}", "1"), ("{\"b\":2}", "2")] {
        let message = source.next().await;
        assert_eq!(message.payload, payload);
        // A cursor is only told when it has changed, if only by its time.
        if let Some(cursor) = message.cursor {
            assert_eq!(&cursor.0[8..], id.as_bytes());
        } else {
            assert_ne!(id, "2");
        }
    }
}
