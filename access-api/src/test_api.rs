//! For tests: an access-api in this process whose results come from the test instead of from Kafka,
//! and clients with real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::clock::Clock;
use common::protocol::{ClientFrame, Cursor, Queries, ServerFrame, Status, StreamId};
use common::result::{SCHEMA_VERSION, TopN};
use futures_util::{SinkExt, StreamExt};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::descriptors::Caps;
use crate::envelope::Envelope;
use crate::hub::{Arrival, Hub, Published};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::routes;
use crate::server::Server;
use crate::session::Shared;

/// Only a test that fails waits for this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const STREAM: StreamId = StreamId(0xe);

pub struct Api {
    pub hub: Arc<Hub>,
    pub metrics: Metrics,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<()>,
    next: u64,
}

/// A result whose count and total are its version.
pub fn top_n(query: &str, version: u64) -> TopN {
    let result = serde_json::json!({
        "v": SCHEMA_VERSION, "query": query, "window": {"kind": "running"}, "version": version,
        "as_of_ms": 0, "offsets": {"0": version - 1},
        "events": version, "total": version, "distinct": 1, "distinct_error": 0.0, "ceiling": 0,
        "late": 0,
        "top": [{"item": "Social", "count": version, "error": 0}],
    });
    // From text, because serde cannot turn the keys of a JSON value back into the numbers of `offsets`.
    serde_json::from_str(&result.to_string()).unwrap()
}

pub fn payload(result: &TopN) -> Bytes {
    serde_json::to_vec(result).unwrap().into()
}

pub fn hub(config: &Config) -> (Arc<Hub>, Metrics) {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let hub = Arc::new(Hub::new(config.ring, config.limits, metrics.clone()));
    hub.begin(STREAM, 0);
    hub.complete();
    (hub, metrics)
}

/// Shows `result` at sequence `seq`.
pub fn publish(hub: &Hub, seq: u64, result: &TopN) -> Published {
    publish_at(hub, seq, result, 0)
}

/// The same, when it is `now_ms`.
pub fn publish_at(hub: &Hub, seq: u64, result: &TopN, now_ms: i64) -> Published {
    let payload = payload(result);
    let envelope = Envelope::read(&payload).unwrap();
    hub.publish(&envelope, Arrival { seq, payload, published_ms: now_ms, now_ms })
}

pub fn cursor(seq: u64) -> Cursor {
    Cursor { stream: STREAM, seq }
}

/// Polls until `condition` holds, for conditions of which nothing gives notice.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

impl Api {
    pub fn start(config: &Config) -> Self {
        let (hub, metrics) = hub(config);
        let shutdown = CancellationToken::new();
        let Limits { websockets, requests, .. } = config.limits;
        let caps = Caps { websockets, requests, refusals: 8 };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(listen, config.limits, caps, metrics.clone()).unwrap();
        let address = server.address();
        let shared = Shared {
            hub: Arc::clone(&hub),
            limits: config.limits,
            metrics: metrics.clone(),
            clock: Clock::default(),
            shutdown: shutdown.clone(),
        };
        let routes = routes::all(Arc::new(shared), &config.hosts, &config.allowed_origins);
        let served = tokio::spawn(server.run(routes, shutdown.clone()));
        Self { hub, metrics, address, shutdown, served, next: 0 }
    }

    /// Publishes the next result of a query; its version, count and total are its sequence + 1.
    pub fn publish(&mut self, query: &str) -> u64 {
        self.publish_sized(query, 0)
    }

    /// The same, with an item of `bytes`, so that sockets fill up.
    pub fn publish_sized(&mut self, query: &str, bytes: usize) -> u64 {
        let seq = self.next;
        self.next += 1;
        let mut result = top_n(query, seq + 1);
        result.top[0].item.push_str(&"x".repeat(bytes));
        let published = publish(&self.hub, seq, &result);
        assert_eq!(published, Published::Shown);
        seq
    }

    pub fn request(&self) -> Request {
        format!("ws://{}/v1/ws", self.address).into_client_request().unwrap()
    }

    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.shake_hands(stream, self.request()).await.unwrap()
    }

    /// A client with a small receive buffer, so that the server soon notices that it does not read.
    pub async fn connect_narrow(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        self.shake_hands(stream, self.request()).await.unwrap()
    }

    pub async fn shake_hands(
        &self,
        stream: TcpStream,
        request: Request,
    ) -> Result<Client, WsError> {
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Client { socket, statuses: Vec::new() })
    }

    /// Sends a request and returns the whole answer as text.
    pub async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub async fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        ))
        .await
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }
}

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    /// The `status` frames that came between the others.
    pub statuses: Vec<Status>,
}

impl Client {
    pub async fn say(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn subscribe<const N: usize>(&mut self, queries: [&str; N], cursor: Option<Cursor>) {
        let queries: Queries = queries.into_iter().collect();
        self.say(serde_json::to_string(&ClientFrame::Subscribe { queries, cursor }).unwrap()).await;
    }

    pub async fn ack(&mut self, cursor: Cursor) {
        self.say(serde_json::to_string(&ClientFrame::Ack { cursor }).unwrap()).await;
    }

    /// The next frame that is no `status`, or how the server closed.
    pub async fn next(&mut self) -> Result<ServerFrame, Option<CloseFrame>> {
        loop {
            match self.any().await? {
                ServerFrame::Status(status) => self.statuses.push(status),
                frame => return Ok(frame),
            }
        }
    }

    /// The next frame, or how the server closed.
    pub async fn any(&mut self) -> Result<ServerFrame, Option<CloseFrame>> {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(close))) => return Err(close),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("the connection broke: {error}"),
                None => return Err(None),
            }
        }
    }

    pub async fn frame(&mut self) -> ServerFrame {
        self.next().await.expect("the server closed")
    }

    /// The next frame in short.
    pub async fn brief(&mut self) -> String {
        brief(&self.frame().await)
    }

    pub async fn briefs(&mut self, count: usize) -> Vec<String> {
        let mut briefs = Vec::new();
        while briefs.len() < count {
            briefs.push(self.brief().await);
        }
        briefs
    }

    /// All frames up to the close, and the close.
    pub async fn rest(&mut self) -> (Vec<ServerFrame>, Option<CloseFrame>) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(close) => return (frames, close),
            }
        }
    }
}

/// A frame's kind and, for a result, the query and the sequence: `snapshot topics 4`.
pub fn brief(frame: &ServerFrame) -> String {
    match frame {
        ServerFrame::Snapshot(update) => format!("snapshot {} {}", update.query, update.cursor.seq),
        ServerFrame::Result(update) => format!("result {} {}", update.query, update.cursor.seq),
        ServerFrame::SlowDown(_) => "slow_down".to_owned(),
        ServerFrame::StallWarning(_) => "stall_warning".to_owned(),
        ServerFrame::Gap(_) => "gap".to_owned(),
        ServerFrame::Status(status) => format!("status {:?}", status.kafka),
        ServerFrame::Error(refusal) => format!("error {:?}", refusal.code),
        ServerFrame::Bye(bye) => format!("bye {}", bye.reason.as_str()),
    }
}
