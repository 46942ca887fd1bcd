//! Lines as WebSocket messages: text, or binary where a line is not UTF-8.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use crate::simulate::Error;
use crate::simulate::audience::{Audience, Listener, Since};

/// How long a client may take to answer a close.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How often a client is pinged, so that idle connections stay open.
const PING_EVERY: Duration = Duration::from_secs(15);

const WRITE_BUFFER: usize = 64 << 10;
const READ_BUFFER: usize = 4 << 10;
/// The largest message that a client may send, in bytes; clients have no reason to send any.
const MAX_INCOMING: usize = 64 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a session ended.
enum End {
    /// The client closed, or its connection broke.
    Gone,
    /// The connection is to be cut in the middle of this line.
    Cut(Bytes),
    Shutdown,
    Failed(Error),
}

/// Serves one client from its upgrade to its end.
pub(super) async fn serve(
    upgrade: OnUpgrade,
    audience: Arc<Audience>,
    since: Since,
    shutdown: CancellationToken,
    peer: SocketAddr,
) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => {
            tracing::debug!(%peer, %error, "a handshake was not finished");
            return;
        }
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MAX_INCOMING))
        .max_frame_size(Some(MAX_INCOMING));
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let end = match audience.join(since).await {
        Ok(listener) => {
            let (end, whole) = session(socket, listener, &shutdown).await;
            socket = whole;
            end
        }
        Err(error) => End::Failed(error),
    };
    let closing = async {
        match end {
            End::Gone => socket.close(None).await,
            End::Shutdown => socket.close(close(CloseCode::Away, "the feed is shut down")).await,
            End::Failed(error) => {
                tracing::error!(%peer, %error, "the feed failed");
                socket.close(close(CloseCode::Error, "the feed cannot be read on")).await
            }
            End::Cut(line) => cut(&mut socket, &line).await,
        }
    };
    match tokio::time::timeout(CLOSE_DEADLINE, closing).await {
        Ok(Ok(())) | Ok(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {}
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a client of the feed left without a close")
        }
        Err(_) => tracing::debug!(%peer, "a client of the feed did not answer its close in time"),
    }
    tracing::info!(%peer, "a client of the feed left");
}

/// Sends lines until something ends the session. Returns the socket too, for the close.
async fn session(
    socket: Socket,
    listener: Listener,
    shutdown: &CancellationToken,
) -> (End, Socket) {
    let (mut sink, mut stream) = socket.split();
    let end = tokio::select! {
        () = listen(&mut stream) => End::Gone,
        end = speak(&mut sink, listener) => end,
        () = shutdown.cancelled() => End::Shutdown,
    };
    #[expect(clippy::expect_used, reason = "both halves were split from one socket above")]
    let socket = sink.reunite(stream).expect("two halves of one socket");
    (end, socket)
}

/// Reads, because tungstenite answers pings and closes while it is read. Everything else from the client is ignored.
async fn listen(stream: &mut SplitStream<Socket>) {
    while let Some(Ok(_)) = stream.next().await {}
}

async fn speak(sink: &mut SplitSink<Socket, Message>, mut listener: Listener) -> End {
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        let batch = tokio::select! {
            batch = listener.next_batch() => batch,
            _ = pings.tick() => match sink.send(Message::Ping(Bytes::new())).await {
                Ok(()) => continue,
                Err(_) => return End::Gone,
            },
        };
        let mut batch = match batch {
            Ok(batch) => batch,
            Err(error) => return End::Failed(error),
        };
        let half = if batch.cut { batch.lines.pop() } else { None };
        for line in batch.lines {
            if sink.feed(message(line.bytes)).await.is_err() {
                return End::Gone;
            }
        }
        if sink.flush().await.is_err() {
            return End::Gone;
        }
        if let Some(line) = half {
            return End::Cut(line.bytes);
        }
    }
}

fn message(line: Bytes) -> Message {
    Utf8Bytes::try_from(line.clone()).map_or(Message::Binary(line), Message::Text)
}

/// Writes a frame without its last half, and closes the connection.
async fn cut(socket: &mut Socket, line: &Bytes) -> Result<(), WsError> {
    let mut written = Vec::with_capacity(line.len() + 16);
    Frame::message(line.clone(), OpCode::Data(Data::Text), true).format(&mut written)?;
    written.truncate(written.len() - line.len().div_ceil(2));
    socket.get_mut().write_all(&written).await?;
    socket.get_mut().shutdown().await?;
    Ok(())
}

fn close(code: CloseCode, reason: &'static str) -> Option<CloseFrame> {
    Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) })
}
