use std::net::SocketAddr;
use std::time::Duration;

use common::event::Reason;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;
use crate::config::{Connect, FirstMessages, Framing, Resume};
use crate::source::End;
use crate::source::feed::UNREADABLE;
use crate::source::feed::following::{self, Following, until};

mod tls;

/// A feed that the test plays.
struct Feed {
    listener: TcpListener,
}

impl Feed {
    async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, and the query that it came with.
    async fn accept(&self) -> (WebSocketStream<TcpStream>, String) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut query = None;
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            query = Some(request.uri().query().unwrap_or_default().to_owned());
            Ok(response)
        };
        let socket = accept_hdr_async(stream, look).await.unwrap();
        (socket, query.unwrap())
    }
}

fn follow(feed: &Feed, cursor: Option<i64>, change: impl FnOnce(&mut Section)) -> Following {
    let mut config = Section::rsvps();
    config.connect = Connect {
        url: format!("ws://{}/2/rsvps", feed.address()).into(),
        reconnect_base_ms: 1,
        reconnect_cap_ms: 10,
        max_message_bytes: 1000,
        ..Connect::default()
    };
    change(&mut config);
    let cursor = cursor.map(|cursor| Bytes::copy_from_slice(&cursor.to_be_bytes()));
    following::follow(Websocket::new(&config).unwrap(), cursor)
}

impl Following {
    /// Sends so many events from this time on that the feed would be asked for what came since the first of them.
    async fn receive_since(&mut self, socket: &mut WebSocketStream<TcpStream>, time: i64) {
        for time in time..time + 8 {
            let event = format!(r#"{{"rsvp_id":1,"response":"yes","mtime":{time}}}"#);
            socket.send(Message::text(event.clone())).await.unwrap();
            assert_eq!(self.payload().await, event);
        }
    }
}

fn close_code(frame: Option<Result<Message, WsError>>) -> u16 {
    match frame {
        Some(Ok(Message::Close(Some(frame)))) => frame.code.into(),
        other => panic!("no close frame but {other:?}"),
    }
}

#[tokio::test]
async fn messages_arrive_byte_for_byte_and_in_order() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, None, |_| {});
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "", "a log that was never used has nothing to resume");
    socket.send(Message::text("{\"a\":\"ü\"}")).await.unwrap();
    socket.send(Message::binary(&b"\xff\0\n"[..])).await.unwrap();
    socket.send(Message::text("")).await.unwrap();
    assert_eq!(source.payload().await, "{\"a\":\"ü\"}");
    assert!(source.readiness.unmet().is_empty());
    assert_eq!(source.payload().await, &b"\xff\0\n"[..]);
    assert_eq!(source.payload().await, "");
}

#[tokio::test]
async fn after_a_break_the_source_resumes_after_what_it_has_received() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=5");
    source.receive_since(&mut socket, 7).await;
    assert_eq!(source.metrics.cursor.get(), 7);
    // A break without a close frame.
    drop(socket);
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=7");
    socket.send(Message::text("three")).await.unwrap();
    assert_eq!(source.payload().await, "three");
    assert_eq!((source.metrics.connects.get(), source.metrics.gaps.get()), (2, 0));
}

#[tokio::test]
async fn a_message_has_the_cursor_after_it_if_that_has_moved() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    source.receive_since(&mut socket, 7).await;
    for (time, cursor) in [(15, Some(8_i64)), (15, None), (16, Some(9))] {
        let event = format!(r#"{{"rsvp_id":1,"response":"yes","mtime":{time}}}"#);
        socket.send(Message::text(event)).await.unwrap();
        let bytes = cursor.map(|cursor| Bytes::copy_from_slice(&cursor.to_be_bytes()));
        assert_eq!(source.next().await.cursor.map(|cursor| cursor.0), bytes);
    }
}

#[tokio::test]
async fn a_server_that_closes_is_connected_to_again() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    socket.send(Message::text(r#"{"type":"bye"}"#)).await.unwrap();
    assert_eq!(source.payload().await, r#"{"type":"bye"}"#);
    let connected = source.metrics.connected.clone();
    assert_eq!(connected.get(), 1);
    socket
        .close(Some(CloseFrame { code: CloseCode::Restart, reason: "restarting".into() }))
        .await
        .unwrap();
    assert_eq!(close_code(socket.next().await), 1012, "the close is answered");
    until(|| connected.get() != 1).await;
    let (_socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=5");
    until(|| connected.get() > 0).await;
}

#[tokio::test]
async fn a_message_above_the_limit_is_a_dead_letter_and_the_connection_stays() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    for text in ["x".repeat(1000), "y".repeat(1001), "z".to_owned()] {
        socket.send(Message::text(text)).await.unwrap();
    }
    let whole = source.next().await;
    assert_eq!((whole.payload.len(), whole.identity), (1000, Err(Reason::NotJson)));
    let cut = source.next().await;
    assert_eq!(
        (&cut.payload[..], cut.identity),
        ("y".repeat(1000).as_bytes(), Err(Reason::TooLarge))
    );
    let next = source.next().await;
    assert_eq!((&next.payload[..], next.identity), (&b"z"[..], Err(Reason::NotJson)));
    assert_eq!((source.metrics.connects.get(), source.metrics.gaps.get()), (1, 0));
}

#[tokio::test]
async fn text_that_is_not_utf_8_arrives_and_the_connection_stays() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    let text = Frame::message(&b"{\"a\":\"\xff\"}"[..], OpCode::Data(Data::Text), true);
    socket.send(Message::Frame(text)).await.unwrap();
    socket.send(Message::text("next")).await.unwrap();
    assert_eq!(source.payload().await, &b"{\"a\":\"\xff\"}"[..]);
    assert_eq!(source.payload().await, "next");
    assert_eq!(source.metrics.connects.get(), 1);
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_is_asked_for_several_times_and_then_skipped() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |source| {
        source.connect.url = format!("{}?since_mtime=0", source.connect.url.reveal()).into();
    });
    // An opcode that does not exist.
    let broken =
        || Message::Frame(Frame::message(&b"x"[..], OpCode::Data(Data::Reserved(3)), true));
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=5");
    source.receive_since(&mut socket, 6).await;
    socket.send(broken()).await.unwrap();
    assert_eq!(close_code(socket.next().await), 1002);
    for _ in 1..UNREADABLE {
        let (mut socket, query) = feed.accept().await;
        assert_eq!(query, "since_mtime=6", "the transmission may have been at fault");
        socket.send(broken()).await.unwrap();
    }
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "", "not even where the address says to begin");
    assert_eq!(source.metrics.gaps.get(), 0, "it lasts until a message comes");
    source.receive_since(&mut socket, 9).await;
    assert_eq!(source.metrics.gaps.get(), 1);
    drop(socket);
    let (_socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=9", "the connection after that resumes as usual");
}

#[tokio::test]
async fn a_feed_that_cannot_resume_has_a_gap_at_each_reconnect() {
    let feed = Feed::listen().await;
    let long_ago = 1_000_000_000_000;
    let mut source = follow(&feed, Some(long_ago), |source| source.resume = Resume::None);
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "");
    socket.send(Message::text("one")).await.unwrap();
    assert_eq!(source.payload().await, "one");
    assert_eq!(source.metrics.gaps.get(), 1, "since the process before this one");
    let day_ms = 86_400_000;
    assert!(source.metrics.gap_ms.get() > day_ms, "{}", source.metrics.gap_ms.get());
    drop(socket);
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "");
    socket.send(Message::text("two")).await.unwrap();
    socket.send(Message::text("three")).await.unwrap();
    assert_eq!(source.payload().await, "two");
    assert_eq!(source.payload().await, "three");
    assert_eq!(source.metrics.gaps.get(), 2);
}

#[tokio::test]
async fn a_feed_that_answers_pings_but_sends_no_message_is_not_ready_and_is_reconnected_to() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, None, |source| {
        source.ping_interval_ms = 1;
        source.ping_timeout_ms = 60_000;
        source.connect.silence_timeout = Some(Duration::from_millis(20));
    });
    let (mut socket, _) = feed.accept().await;
    // Reading answers the pings.
    while let Some(Ok(frame)) = socket.next().await {
        if frame.is_close() {
            break;
        }
    }
    let (mut socket, _) = feed.accept().await;
    let unmet = source.readiness.unmet();
    assert!(unmet["source"].contains("silence_timeout"), "{unmet:?}");
    socket.send(Message::text("one")).await.unwrap();
    assert_eq!(source.payload().await, "one");
    assert!(source.readiness.unmet().is_empty());
}

#[tokio::test]
async fn a_frame_of_several_messages_is_divided_and_one_that_does_not_fit_is_one_dead_letter() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, None, |source| {
        source.framing = Framing::Array(Some("/params/message".parse().unwrap()));
    });
    let (mut socket, _) = feed.accept().await;
    socket.send(Message::text(r#"{"id":1,"result":true}"#)).await.unwrap();
    socket
        .send(Message::binary(&br#"{"params":{"message":[{"a":1},{"a":2}]}}"#[..]))
        .await
        .unwrap();
    let acknowledgement = source.next().await;
    assert_eq!(acknowledgement.identity, Err(Reason::BadFraming));
    assert_eq!(acknowledgement.payload, r#"{"id":1,"result":true}"#);
    assert_eq!(source.payload().await, r#"{"a":1}"#);
    assert_eq!(source.payload().await, r#"{"a":2}"#);
}

#[tokio::test]
async fn headers_user_info_and_a_first_message_are_sent_and_shown_nowhere() {
    let feed = Feed::listen().await;
    let source = follow(&feed, None, |source| {
        let url = source.connect.url.reveal().replace("ws://", "ws://ada:s3cret@");
        source.connect.url = format!("{url}?token=s3cret").into();
        source.connect.headers.insert("X-Key".to_owned(), "s3cret".into());
        source.first_message = FirstMessages(vec!["s3cret one".into(), "two".into()]);
    });
    let (stream, _) = feed.listener.accept().await.unwrap();
    let mut headers = http::HeaderMap::new();
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().query(), Some("token=s3cret"));
        headers = request.headers().clone();
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, look).await.unwrap();
    assert_eq!(headers["x-key"], "s3cret");
    assert!(headers["authorization"].to_str().unwrap().starts_with("Basic "));
    assert!(!headers["host"].to_str().unwrap().contains('@'));
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("s3cret one"));
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("two"));
    drop((socket, feed));
    // Whatever the reason, `/ready` shows the address without its secrets.
    until(|| !source.readiness.unmet().is_empty()).await;
    let unmet = source.readiness.unmet();
    assert!(!format!("{unmet:?}").contains("s3cret"), "{unmet:?}");
}

/// Answers the next connection with `answer`, and returns its request.
async fn refuse(feed: &Feed, answer: &str) -> String {
    let (mut stream, _) = feed.listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap().to_lowercase()
}

#[tokio::test]
async fn redirects_are_followed_and_the_headers_stay_with_their_server() {
    let (feed, other) = (Feed::listen().await, Feed::listen().await);
    let mut source = follow(&feed, Some(5), |source| {
        source.connect.headers.insert("X-Key".to_owned(), "s3cret".into());
    });
    let moved = |location: &str| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    assert!(refuse(&feed, &moved("/new?a=b")).await.contains("s3cret"));
    let request = refuse(&feed, &moved(&format!("ws://{}/", other.address()))).await;
    assert!(request.contains("s3cret") && request.contains("/new?a=b&since_mtime=5"), "{request}");
    let request = refuse(&other, &moved("https://elsewhere/?token=s3cret")).await;
    assert!(!request.contains("s3cret") && request.contains("since_mtime=5"), "{request}");
    until(|| source.readiness.unmet()["source"] != "starting").await;
    let why = source.readiness.unmet()["source"].clone();
    assert!(why.contains("https://elsewhere/") && !why.contains("s3cret"), "{why}");
    for _ in 0..6 {
        refuse(&feed, &moved("/round")).await;
    }
    let (mut socket, _) = feed.accept().await;
    socket.send(Message::text("one")).await.unwrap();
    assert_eq!(source.payload().await, "one");
}

#[tokio::test]
async fn a_large_message_on_a_slow_line_arrives() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, None, |source| {
        source.ping_interval_ms = 1;
        source.ping_timeout_ms = 60_000;
    });
    let (socket, _) = feed.accept().await;
    let mut stream = socket.into_inner();
    let mut frame = vec![0x81, 126, 1, 0];
    frame.extend([b'x'; 256]);
    for part in frame.chunks(52) {
        stream.write_all(part).await.unwrap();
        // A ping that is not answered. The next one comes only because the part counted as an answer.
        let mut ping = [0; 6];
        stream.read_exact(&mut ping).await.unwrap();
        assert_eq!(ping[0], 0x89);
    }
    assert_eq!(source.payload().await, "x".repeat(256));
    assert_eq!(source.metrics.connects.get(), 1);
}

#[tokio::test]
async fn a_quiet_feed_is_pinged_and_the_connection_stays_if_it_answers() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, None, |source| {
        source.ping_interval_ms = 5;
        source.ping_timeout_ms = 60_000;
    });
    let (mut socket, _) = feed.accept().await;
    for _ in 0..3 {
        // Reading answers the ping; the next one comes only because this one was answered.
        let frame = socket.next().await.unwrap().unwrap();
        assert!(matches!(frame, Message::Ping(_)), "{frame:?}");
        socket.flush().await.unwrap();
    }
    socket.send(Message::text("still here")).await.unwrap();
    while let Some(Ok(Message::Ping(_))) = socket.next().await {
        if let Ok(queued) = source.messages.try_recv() {
            assert_eq!(queued.sifted.message.payload, "still here");
            break;
        }
    }
    assert_eq!(source.metrics.connects.get(), 1);
}

#[tokio::test]
async fn a_half_open_connection_is_given_up() {
    let feed = Feed::listen().await;
    let _source = follow(&feed, None, |source| {
        source.ping_interval_ms = 5;
        source.ping_timeout_ms = 5;
    });
    // The socket is neither read from nor closed, so pings get no answer.
    let (_silent, _) = feed.accept().await;
    let (_second, _) = feed.accept().await;
}

#[tokio::test]
async fn a_full_queue_slows_the_feed_down_and_loses_nothing() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, None, |_| {});
    let (mut socket, _) = feed.accept().await;
    let count = 20_000;
    let sending = tokio::spawn(async move {
        for number in 0..count {
            socket.send(Message::text(format!("{number:0100}"))).await.unwrap();
        }
        socket
    });
    for number in 0..count {
        assert_eq!(source.payload().await, format!("{number:0100}"));
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn shutdown_closes_with_1001_even_while_the_queue_is_full() {
    let feed = Feed::listen().await;
    let source = follow(&feed, None, |_| {});
    let (mut socket, _) = feed.accept().await;
    // One more than the queue holds.
    for _ in 0..=1024 {
        socket.send(Message::text("x")).await.unwrap();
    }
    source.shutdown.cancel();
    assert_eq!(source.task.await.unwrap(), End::Stopped);
    assert_eq!(close_code(socket.next().await), 1001);
    drop(source.messages);
}

#[tokio::test]
async fn a_source_whose_pipeline_is_gone_ends() {
    let feed = Feed::listen().await;
    let source = follow(&feed, None, |_| {});
    let (mut socket, _) = feed.accept().await;
    drop(source.messages);
    socket.send(Message::text("x")).await.unwrap();
    assert_eq!(source.task.await.unwrap(), End::Closed);
}
