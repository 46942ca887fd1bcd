//! A client of the access-api over a real socket. Whatever it waits for has a limit, [`LIMIT`].

use std::{future::Future, net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use crate::LIMIT;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client that has subscribed.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

/// How much the system keeps for a client that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// As much as the system gives.
    Usual,
    /// A few KiB, so that it fills at once.
    Small,
}

/// A frame that the server sent.
#[derive(Debug, Clone)]
pub struct Frame(Value);

impl Client {
    /// Connects and subscribes to `queries`, after `cursor` if there is one. A server that starts, or that still reads,
    /// refuses connections, so this tries again until one is made.
    pub async fn subscribe(
        server: SocketAddr,
        queries: &[&str],
        cursor: Option<&str>,
        buffer: Buffer,
    ) -> Self {
        let mut again = tokio::time::interval(Duration::from_millis(200));
        let connected = async {
            loop {
                again.tick().await;
                // Where nothing answers at all, the system would try for ever more rarely.
                let connecting = tokio::time::timeout(CONNECT, connect(server, buffer));
                if let Ok(Ok(socket)) = connecting.await {
                    break socket;
                }
            }
        };
        let mut socket = soon("a connection", connected).await;
        let mut subscribe = json!({"type": "subscribe", "queries": queries});
        if let Some(cursor) = cursor {
            subscribe["cursor"] = cursor.into();
        }
        // A socket that broke says so when it is read.
        let _ = socket.send(Message::text(subscribe.to_string())).await;
        Self { socket }
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        let next = async {
            loop {
                match self.socket.next().await?.ok()? {
                    Message::Text(text) => {
                        return Some(Frame(serde_json::from_str(&text).expect("JSON")));
                    }
                    Message::Close(_) => return None,
                    _ => {}
                }
            }
        };
        soon("a frame", next).await
    }
}

impl Frame {
    /// Its type.
    pub fn kind(&self) -> &str {
        self.0["type"].as_str().expect("a frame has a type")
    }

    /// The query that it is about, if it is about one.
    pub fn query(&self) -> Option<&str> {
        self.0["query"].as_str()
    }

    /// The total of the result in it, if it is a `snapshot` or a `result`.
    pub fn total(&self) -> Option<u64> {
        self.0["result"]["total"].as_u64()
    }

    /// The version of the result in it, if it is a `snapshot` or a `result`.
    pub fn version(&self) -> Option<u64> {
        self.0["result"]["version"].as_u64()
    }

    /// Its cursor, if it has one.
    pub fn cursor(&self) -> Option<&str> {
        self.0["cursor"].as_str()
    }
}

async fn soon<T>(what: &str, wanted: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LIMIT, wanted).await;
    waited.unwrap_or_else(|_| panic!("not within {} s: {what}", LIMIT.as_secs()))
}

async fn connect(server: SocketAddr, buffer: Buffer) -> Result<WebSocketStream<TcpStream>, Error> {
    let socket = TcpSocket::new_v4()?;
    if buffer == Buffer::Small {
        socket.set_recv_buffer_size(4 << 10)?;
    }
    let stream = socket.connect(server).await?;
    Ok(client_async(format!("ws://{server}/v1/ws"), stream).await?.0)
}
