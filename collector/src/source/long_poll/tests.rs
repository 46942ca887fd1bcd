use common::event::Reason;

use super::*;
use crate::config::{Framing, Resume};
use crate::source::feed::UNREADABLE;
use crate::source::feed::following::{self, Following};
use crate::source::http_client::server::{Server, response};

fn follow(server: &Server, change: impl FnOnce(&mut Section)) -> Following {
    let mut section = Section {
        connect: server.connect(),
        interval: Duration::from_millis(1),
        ..Section::default()
    };
    change(&mut section);
    following::follow(LongPoll::new(&section).unwrap(), None)
}

fn json(body: &str) -> String {
    response("200 OK", "Content-Type: application/json\r\n", body)
}

#[tokio::test]
async fn the_elements_of_each_answer_are_messages_and_its_marks_are_sent_back() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    let marks = "ETag: W/\"a1\"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let head = server.answer(&response("200 OK", marks, r#"[{"a":1}, {"a": 2}]"#)).await;
    assert!(!head.contains("if-none-match"), "{head}");
    assert_eq!(source.payload().await, r#"{"a":1}"#);
    assert_eq!(source.payload().await, r#"{"a": 2}"#);
    for answer in
        [response("304 Not Modified", "", ""), response("204 No Content", "", ""), json("[]")]
    {
        let head = server.answer(&answer).await;
        assert!(head.contains("if-none-match: w/\"a1\"\r\n"), "{head}");
        assert!(head.contains("if-modified-since: wed, 21 oct 2015 07:28:00 gmt\r\n"), "{head}");
    }
    let head = server.answer(&json(r#"[{"a":3}]"#)).await;
    assert!(!head.contains("if-none-match"), "the last answer had no mark: {head}");
    assert_eq!(source.payload().await, r#"{"a":3}"#);
    assert!(source.readiness.unmet().is_empty());
    assert_eq!((source.metrics.connects.get(), source.metrics.gaps.get()), (1, 0));
}

#[tokio::test]
async fn a_cursor_from_the_answer_goes_into_the_next_query_and_over_a_failure() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.resume = Resume::Answer("after".to_owned(), "/next".parse().unwrap());
        section.framing = Framing::Array(Some("/items".parse().unwrap()));
    });
    let head = server.answer(&json(r#"{"items":[{"a":1},{"a":2}],"next":"x y"}"#)).await;
    assert!(head.starts_with("get /feed http"), "{head}");
    let first = source.next().await;
    assert!(
        first.cursor.is_none_or(|cursor| cursor.0.len() == 8),
        "not before the whole answer is logged"
    );
    let second = source.next().await;
    assert_eq!(&second.cursor.unwrap().0[8..], b"x y");
    let head = server.answer(&response("500 Oh", "", "")).await;
    assert!(head.starts_with("get /feed?after=x%20y http"), "{head}");
    let head = server.answer(&json(r#"{"items":[{"a":3}],"next":"z"}"#)).await;
    assert!(head.starts_with("get /feed?after=x%20y http"), "{head}");
    source.payload().await;
    let head = server.answer(&json(r#"{"items":[]}"#)).await;
    assert!(head.starts_with("get /feed?after=z http"), "{head}");
    let head = server.answer(&json(r#"{"items":[]}"#)).await;
    assert!(head.starts_with("get /feed?after=z http"), "no new one: {head}");
    assert_eq!(source.metrics.gaps.get(), 0);
}

#[tokio::test]
async fn the_marks_of_an_answer_are_sent_back_only_to_where_they_came_from() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.resume = Resume::Answer("after".to_owned(), "/next".parse().unwrap());
        section.framing = Framing::Array(Some("/items".parse().unwrap()));
    });
    let marks = "ETag: W/\"a1\"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let page = response("200 OK", marks, r#"{"items":[{"a":1}],"next":"2"}"#);
    server.answer(&page).await;
    source.payload().await;
    let head = server.answer(&page).await;
    assert!(head.starts_with("get /feed?after=2 http"), "{head}");
    assert!(!head.contains("if-none-match") && !head.contains("if-modified-since"), "{head}");
    source.payload().await;
    for answer in [response("304 Not Modified", "", ""), response("500 Oh", "", ""), json("[]")] {
        let head = server.answer(&answer).await;
        assert!(head.starts_with("get /feed?after=2 http"), "{head}");
        assert!(head.contains("if-none-match: w/\"a1\"\r\n"), "{head}");
        assert!(head.contains("if-modified-since: "), "{head}");
    }
}

#[tokio::test]
async fn after_a_failure_too_the_feed_is_asked_no_more_often_than_it_wants() {
    let (began, interval) = (Instant::now(), Duration::from_millis(200));
    let server = Server::listen().await;
    let source = follow(&server, |section| section.interval = interval);
    let answers = [json("[]"), response("500 Oh", "", ""), String::new(), json("[]")];
    for (earlier, answer) in (0..).zip(answers) {
        server.answer(&answer).await;
        assert!(began.elapsed() >= interval * earlier, "{answer}");
    }
    source.ready().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_again_and_again_is_skipped_with_a_gap() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.resume = Resume::Highest("since_id".to_owned(), "/id".parse().unwrap());
    });
    server.answer(&json(r#"[{"id":1}]"#)).await;
    assert_eq!(source.payload().await, r#"{"id":1}"#);
    let large = format!("[{{\"id\":2,\"text\":\"{}\"}}]", "x".repeat(3000));
    let mut answers = [large, r#"{"message":"slow down"}"#.to_owned()].into_iter().cycle();
    let mut times = 0;
    loop {
        let mut asked = server.asked().await;
        assert!(!asked.head.contains("if-none-match"), "nothing of it was taken: {}", asked.head);
        if !asked.head.contains("since_id") {
            asked.send(json(r#"[{"id":3}]"#).as_bytes()).await;
            break;
        }
        assert!(asked.head.starts_with("get /feed?since_id=1 http"), "{}", asked.head);
        let answer = response("200 OK", "ETag: \"a1\"\r\n", &answers.next().unwrap());
        asked.send(answer.as_bytes()).await;
        source.next().await.identity.unwrap_err();
        source.unready("framing").await;
        times += 1;
    }
    assert_eq!(times, UNREADABLE);
    assert_eq!(source.payload().await, r#"{"id":3}"#);
    let head = server.answer(&json("[]")).await;
    assert!(head.starts_with("get /feed?since_id=3 http"), "{head}");
    assert_eq!(source.metrics.gaps.get(), 1);
}

#[tokio::test]
async fn an_empty_answer_is_nothing_new_and_a_success_that_says_something_else_is_a_failure() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    server.answer(&json(" \n")).await;
    server.answer(&response("203 Transformed", "", r#"[{"a":1}]"#)).await;
    assert_eq!(source.payload().await, r#"{"a":1}"#);
    for status in ["202 Accepted", "206 Partial Content"] {
        server.answer(&response(status, "", r#"[{"a":2}]"#)).await;
        source.unready(&status[..3]).await;
        server.answer(&json("")).await;
        source.ready().await;
    }
    assert_eq!(source.messages.len(), 0);
}

#[tokio::test]
async fn a_cursor_from_the_highest_element_asks_for_what_is_newer() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.resume = Resume::Highest("since_id".to_owned(), "/id".parse().unwrap());
    });
    server.answer(&json(r#"[{"id":10},{"id":9}]"#)).await;
    let head = server.answer(&json("[]")).await;
    assert!(head.starts_with("get /feed?since_id=10 http"), "{head}");
    let head = server.answer(&json(r#"[{"id":11}]"#)).await;
    assert!(head.starts_with("get /feed?since_id=10 http"), "{head}");
    let head = server.answer(&json("[]")).await;
    assert!(head.starts_with("get /feed?since_id=11 http"), "{head}");
    for id in [10, 9, 11] {
        assert_eq!(source.payload().await, format!(r#"{{"id":{id}}}"#));
    }
}

#[tokio::test]
async fn the_feed_is_asked_no_more_often_than_it_wants() {
    let server = Server::listen().await;
    let source = follow(&server, |_| {});
    server.answer(&response("200 OK", "X-Poll-Interval: 3000\r\n", "[]")).await;
    source.ready().await;
    let again = tokio::time::timeout(Duration::from_millis(200), server.asked()).await;
    assert!(again.is_err(), "it was asked too early");
    source.shutdown.cancel();
    assert_eq!(source.task.await.unwrap(), crate::source::End::Stopped);

    let source = follow(&server, |_| {});
    server.answer(&json("[]")).await;
    server.answer(&response("429 Slow", "Retry-After: 3000\r\n", "")).await;
    source.unready("429").await;
    let again = tokio::time::timeout(Duration::from_millis(200), server.asked()).await;
    assert!(again.is_err(), "it was asked too early");
}

#[tokio::test]
async fn the_same_elements_again_are_messages_again() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    for _ in 0..3 {
        server.answer(&json(r#"[{"a":1}]"#)).await;
        assert_eq!(source.payload().await, r#"{"a":1}"#);
    }
}

#[tokio::test]
async fn a_server_that_waits_until_there_is_something_new_is_waited_for() {
    let server = Server::listen().await;
    let mut source = follow(&server, |section| {
        section.connect.connect_timeout_ms = 100;
        section.answer_timeout = Duration::from_millis(700);
    });
    let mut asked = server.asked().await;
    // Longer than connecting may take.
    let given_up = tokio::time::timeout(Duration::from_millis(300), asked.closed()).await;
    given_up.unwrap_err();
    asked.send(json(r#"[{"a":1}]"#).as_bytes()).await;
    assert_eq!(source.payload().await, r#"{"a":1}"#);
    // This one never comes.
    let mut asked = server.asked().await;
    source.unready("answer_timeout").await;
    asked.closed().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_message_and_one_that_does_not_fit_is_a_dead_letter() {
    let server = Server::listen().await;
    let mut source = follow(&server, |_| {});
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{\"a\":1}]").await;
    source.unready("broke off").await;
    server.answer(&response("200 OK", "Content-Type: text/html\r\n", "<html>")).await;
    source.unready("web page").await;
    assert_eq!(source.messages.len(), 0);
    server.answer(&json(r#"{"message":"slow down"}"#)).await;
    assert_eq!(source.refused(Reason::BadFraming).await, r#"{"message":"slow down"}"#);
    server.answer(&json("[{\"a\":\"\u{0}\"}]")).await;
    source.refused(Reason::NotJson).await;
    server.answer(&json(&format!("[\"{}\"]", "x".repeat(3000)))).await;
    assert_eq!(source.refused(Reason::TooLarge).await.len(), 1024);
    server.answer(&json(r#"[{"a":1}]"#)).await;
    assert_eq!(source.payload().await, r#"{"a":1}"#);
}

#[tokio::test]
async fn a_feed_that_has_nothing_new_for_too_long_is_not_ready() {
    let server = Server::listen().await;
    let source = follow(&server, |section| {
        section.connect.silence_timeout = Some(Duration::from_millis(200));
    });
    let answering = async {
        loop {
            server.answer(&json("[]")).await;
        }
    };
    tokio::select! {
        why = source.unready("silence_timeout") => drop(why),
        () = answering => {}
    }
}
