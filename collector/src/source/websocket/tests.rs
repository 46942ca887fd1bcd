use std::net::SocketAddr;

use common::admin::Readiness;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::*;
use crate::source::{Message as Received, Progress};

/// A feed of the test's own.
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

/// A source that follows a feed.
struct Following {
    messages: mpsc::Receiver<Received>,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn follow(feed: &Feed, cursor: Option<i64>, change: impl FnOnce(&mut Source)) -> Following {
    let mut config = Source {
        url: format!("ws://{}/2/rsvps", feed.address()),
        reconnect_base_ms: 1,
        reconnect_cap_ms: 10,
        max_message_bytes: 1000,
        ..Source::default()
    };
    change(&mut config);
    let (progress, progressed) = watch::channel(Progress { logged: 0, cursor });
    let (intake, messages) = Intake::new(progressed, common::clock::Clock::default());
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let readiness = Readiness::default();
    let shutdown = CancellationToken::new();
    let connected = readiness.condition("source");
    let source =
        Websocket::new(config, intake, metrics.clone(), connected, shutdown.clone()).unwrap();
    let task = tokio::spawn(source.run(cursor));
    Following { messages, progress, metrics, readiness, shutdown, task }
}

impl Following {
    async fn payload(&mut self) -> Bytes {
        self.messages.recv().await.unwrap().payload
    }

    /// As if so many messages had been logged.
    fn logged(&self, logged: u64, cursor: i64) {
        self.progress.send_replace(Progress { logged, cursor: Some(cursor) });
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
async fn after_a_break_the_source_resumes_behind_what_is_logged() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=5");
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(source.payload().await, text);
    }
    // A break without a close frame.
    drop(socket);
    source.logged(1, 6);
    // It does not come back before both are logged, else the second were asked for again.
    source.logged(2, 7);
    let (mut socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=7");
    socket.send(Message::text("three")).await.unwrap();
    assert_eq!(source.payload().await, "three");
    assert_eq!((source.metrics.connects.get(), source.metrics.gaps.get()), (2, 0));
}

#[tokio::test]
async fn a_server_that_closes_is_connected_to_again() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    socket.send(Message::text(r#"{"type":"bye"}"#)).await.unwrap();
    socket
        .close(Some(CloseFrame { code: CloseCode::Restart, reason: "restarting".into() }))
        .await
        .unwrap();
    assert_eq!(source.payload().await, r#"{"type":"bye"}"#);
    assert_eq!(close_code(socket.next().await), 1012, "the close is answered");
    source.logged(1, 5);
    let (_socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=5");
}

#[tokio::test]
async fn an_oversized_message_closes_with_1009_and_is_not_asked_for_again() {
    let feed = Feed::listen().await;
    let mut source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    socket.send(Message::text("x".repeat(1000))).await.unwrap();
    assert_eq!(source.payload().await.len(), 1000);
    source.logged(1, 6);
    socket.send(Message::text("x".repeat(1001))).await.unwrap();
    assert_eq!(close_code(socket.next().await), 1009);
    let (socket, query) = feed.accept().await;
    assert_eq!(query, "");
    assert_eq!(source.metrics.gaps.get(), 1);
    drop(socket);
    let (_socket, query) = feed.accept().await;
    assert_eq!(query, "since_mtime=6", "the connection after that resumes as ever");
}

#[tokio::test]
async fn text_that_is_not_utf_8_closes_with_1007() {
    let feed = Feed::listen().await;
    let source = follow(&feed, Some(5), |_| {});
    let (mut socket, _) = feed.accept().await;
    let text = Frame::message(&b"{\"a\":\"\xff\"}"[..], OpCode::Data(Data::Text), true);
    socket.send(Message::Frame(text)).await.unwrap();
    assert_eq!(close_code(socket.next().await), 1007);
    let (_socket, query) = feed.accept().await;
    assert_eq!(query, "");
    assert_eq!(source.metrics.gaps.get(), 1);
}

#[tokio::test]
async fn a_quiet_feed_is_asked_and_stays_when_it_answers() {
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
        if let Ok(message) = source.messages.try_recv() {
            assert_eq!(message.payload, "still here");
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
    // Neither read from nor closed: pings stay without an answer.
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
async fn shutdown_closes_with_1001_also_while_the_queue_is_full() {
    let feed = Feed::listen().await;
    let source = follow(&feed, None, |_| {});
    let (mut socket, _) = feed.accept().await;
    // One more than the queue holds.
    for _ in 0..=1024 {
        socket.send(Message::text("x")).await.unwrap();
    }
    source.shutdown.cancel();
    source.task.await.unwrap();
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
    source.task.await.unwrap();
}

#[test]
fn the_cursor_is_added_to_the_address() {
    assert_eq!(resume_url("ws://feed/2/rsvps", None), "ws://feed/2/rsvps");
    assert_eq!(resume_url("ws://feed/2/rsvps", Some(7)), "ws://feed/2/rsvps?since_mtime=7");
    assert_eq!(resume_url("ws://feed/2/rsvps?a=b", Some(0)), "ws://feed/2/rsvps?a=b&since_mtime=0");
}

#[test]
fn a_file_without_certificates_is_refused_with_its_name() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("ca.pem");
    let missing = connector(&path).err().unwrap().to_string();
    std::fs::write(&path, "not a certificate").unwrap();
    let empty = connector(&path).err().unwrap().to_string();
    for error in [missing, empty] {
        assert!(error.starts_with("source.ca_file: ") && error.contains("ca.pem"), "{error}");
    }
}

/// A TLS feed that sends one message to each of `connections`.
fn tls_feed(connections: usize) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("testdata/feed.pem"))
        .map(Result::unwrap)
        .collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(include_bytes!("testdata/feed.key"))
        .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // Fails when the client does not trust this certificate.
            if let Ok(mut socket) =
                tokio_tungstenite::tungstenite::accept(rustls::StreamOwned::new(tls, stream))
            {
                socket.send(Message::text("over tls")).unwrap();
                while socket.read().is_ok() {}
            }
        }
    });
    (address, server)
}

#[tokio::test]
async fn a_wss_feed_is_followed_if_its_authority_is_trusted() {
    let (address, server) = tls_feed(1);
    let directory = tempfile::TempDir::new().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, include_bytes!("testdata/ca.pem")).unwrap();
    let unused = Feed::listen().await;
    let mut source = follow(&unused, None, |source| {
        source.url = format!("wss://localhost:{}/2/rsvps", address.port());
        source.ca_file = ca_file;
    });
    assert_eq!(source.payload().await, "over tls");
    source.shutdown.cancel();
    source.task.await.unwrap();
    server.join().unwrap();
}

#[tokio::test]
async fn a_wss_feed_of_an_unknown_authority_is_not_followed() {
    let (address, server) = tls_feed(1);
    let unused = Feed::listen().await;
    let source = follow(&unused, None, |source| {
        source.url = format!("wss://localhost:{}/2/rsvps", address.port())
    });
    tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
    source.shutdown.cancel();
    source.task.await.unwrap();
    assert_eq!(source.metrics.connects.get(), 0);
}
