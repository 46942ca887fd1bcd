use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

use common::protocol::StreamId;

use super::*;

/// A server that sends what the test tells it to.
struct Server(TcpListener);

impl Server {
    async fn new() -> (Self, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
        (Self(listener), url)
    }

    /// The next connection and what it subscribed to.
    async fn accept(&self) -> (WebSocketStream<TcpStream>, ClientFrame) {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        let subscribe = socket.next().await.unwrap().unwrap();
        (socket, serde_json::from_str(subscribe.to_text().unwrap()).unwrap())
    }
}

fn cursor(seq: u64) -> Cursor {
    Cursor { stream: StreamId(0xe), seq }
}

pub(crate) fn result(query: &str, seq: u64, total: u64) -> Message {
    let frame = format!(
        r#"{{"type":"result","query":"{query}","cursor":"{}","lag_ms":5,"result":{{"v":1,"query":"{query}","window":{{"kind":"running"}},"version":{seq},"as_of_ms":1425788568167,"offsets":{{"0":1}},"total":{total},"distinct":2,"distinct_error":0.0,"ceiling":0,"late":0,"top":[{{"item":"Social","count":{total},"error":0}},{{"item":"a\u001bb","count":1,"error":1}}]}}}}"#,
        cursor(seq)
    );
    Message::text(frame)
}

/// The next frame's cursor, and how often the connection was lost before it.
async fn next_cursor(events: &mut mpsc::Receiver<Event>) -> (Option<u64>, usize) {
    let mut lost = 0;
    loop {
        match events.recv().await.unwrap() {
            Event::Frame(frame) => return (frame.cursor().map(|cursor| cursor.seq), lost),
            Event::Lost { .. } => lost += 1,
            Event::Connected | Event::Unknown(_) => {}
        }
    }
}

fn cursor_of(subscribe: &ClientFrame) -> Option<u64> {
    match subscribe {
        ClientFrame::Subscribe { cursor, .. } => cursor.map(|cursor| cursor.seq),
        ClientFrame::Ack { .. } => panic!("{subscribe:?}"),
    }
}

#[tokio::test]
async fn a_broken_connection_is_made_anew_and_resumes_after_the_last_frame() {
    let (server, url) = Server::new().await;
    let queries: Queries = ["topics"].into_iter().collect();
    let mut events = follow(&url, queries.clone(), CancellationToken::new()).unwrap();

    let (mut socket, subscribe) = server.accept().await;
    assert_eq!(subscribe, ClientFrame::Subscribe { queries, cursor: None });
    socket.send(result("topics", 7, 1)).await.unwrap();
    assert_eq!(next_cursor(&mut events).await, (Some(7), 0));
    drop(socket);

    let (mut socket, subscribe) = server.accept().await;
    assert_eq!(cursor_of(&subscribe), Some(7));
    socket.send(result("topics", 8, 1)).await.unwrap();
    assert_eq!(next_cursor(&mut events).await, (Some(8), 1));
    let away = CloseFrame { code: CloseCode::Restart, reason: "bye".into() };
    socket.close(Some(away)).await.unwrap();

    let (_socket, subscribe) = server.accept().await;
    assert_eq!(cursor_of(&subscribe), Some(8));
}

#[tokio::test]
async fn a_goodbye_says_where_to_resume() {
    let (server, url) = Server::new().await;
    let mut events = follow(&url, Queries::All, CancellationToken::new()).unwrap();
    let (mut socket, _) = server.accept().await;
    let at = cursor(41);
    let bye = format!(r#"{{"type":"bye","reason":"shutdown","cursor":"{at}","retry_ms":1}}"#);
    socket.send(Message::text(bye)).await.unwrap();
    assert_eq!(next_cursor(&mut events).await, (Some(41), 0));
    let (_socket, subscribe) = server.accept().await;
    assert_eq!(cursor_of(&subscribe), Some(41));
}

#[tokio::test]
async fn a_frame_of_a_newer_server_is_passed_over() {
    let (server, url) = Server::new().await;
    let mut events = follow(&url, Queries::All, CancellationToken::new()).unwrap();
    let (mut socket, _) = server.accept().await;
    socket.send(Message::text(r#"{"type":"from_the_future"}"#)).await.unwrap();
    socket.send(result("topics", 1, 1)).await.unwrap();
    assert!(matches!(events.recv().await, Some(Event::Connected)));
    assert!(matches!(events.recv().await, Some(Event::Unknown(_))));
    assert!(matches!(events.recv().await, Some(Event::Frame(_))));
}

#[tokio::test]
async fn without_a_server_it_says_so_and_tries_again_until_it_is_stopped() {
    let (server, url) = Server::new().await;
    drop(server);
    let shutdown = CancellationToken::new();
    let asked = format!("{url}?token=s3cret");
    let mut events = follow(&asked, Queries::All, shutdown.clone()).unwrap();
    for _ in 0..2 {
        match events.recv().await.unwrap() {
            Event::Lost { why, .. } => {
                assert!(why.to_string().contains(&url) && why.retryable(), "{why}");
                assert!(!why.to_string().contains("s3cret"), "{why}");
            }
            event => panic!("{event:?}"),
        }
    }
    shutdown.cancel();
    while events.recv().await.is_some() {}
}

#[tokio::test]
async fn what_is_no_websocket_url_is_refused_at_once() {
    for url in ["127.0.0.1:8080", "http://127.0.0.1/", "ws://"] {
        let refused = follow(url, Queries::All, CancellationToken::new());
        assert!(matches!(refused, Err(Error::Url)), "{url}");
    }
}
