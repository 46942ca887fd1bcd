//! A client of the access-api over a real socket.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

/// A client that has subscribed.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

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
        let mut socket = loop {
            again.tick().await;
            if let Ok(socket) = connect(server, buffer).await {
                break socket;
            }
        };
        let mut subscribe = json!({"type": "subscribe", "queries": queries});
        if let Some(cursor) = cursor {
            subscribe["cursor"] = cursor.into();
        }
        // A socket that broke says so when it is read.
        let _ = socket.send(Message::text(subscribe.to_string())).await;
        Self { socket }
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn frame(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Text(text) => {
                    return Some(serde_json::from_str(&text).expect("a frame is JSON"));
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}

/// How much the system keeps for a client that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// As much as the system gives.
    Usual,
    /// A few KiB, so that it fills at once.
    Small,
}

async fn connect(
    server: SocketAddr,
    buffer: Buffer,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    let socket = TcpSocket::new_v4()?;
    if buffer == Buffer::Small {
        socket.set_recv_buffer_size(4 << 10)?;
    }
    let stream = MaybeTlsStream::Plain(socket.connect(server).await?);
    Ok(client_async(format!("ws://{server}/v1/ws"), stream).await?.0)
}
