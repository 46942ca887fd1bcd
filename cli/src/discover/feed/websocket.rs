//! Messages of a WebSocket.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use url::Url;

use super::came::{Came, MAX_MESSAGE, Outlet, Source};
use super::dial::{DEADLINE, dial, headers, unreachable};
use super::options::Options;
use crate::discover::Error;

/// Connects, sends the first messages, and reads until nobody wants more or the server closes.
pub(super) async fn read(url: Url, options: Options, outlet: Outlet) -> Result<(), Error> {
    let failed = |error: WsError| match error {
        WsError::Http(answer) => {
            unreachable(&url, format!("the server answers {}", answer.status()))
        }
        error => unreachable(&url, error.to_string()),
    };
    let mut bare = url.clone();
    // They are sent as a header.
    let _without = (bare.set_username(""), bare.set_password(None));
    let mut request = bare.as_str().into_client_request().map_err(failed)?;
    request.headers_mut().extend(headers(&url, &options, true));
    let stream = dial(&url, &options).await?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let shaking = client_async_with_config(request, stream, Some(limits));
    let late = |_| unreachable(&url, "the server does not answer the handshake");
    let (mut socket, _) =
        timeout(DEADLINE, Box::pin(shaking)).await.map_err(late)?.map_err(failed)?;
    for text in &options.first_messages {
        socket.send(Message::text(text)).await.map_err(failed)?;
    }
    if outlet.send(Came::Source(Source::Websocket)).await.is_err() {
        return Ok(());
    }
    while let Some(message) = socket.next().await {
        let payload = match message {
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Close(frame)) => {
                let why = frame.map_or_else(
                    || "the server closed the connection".to_owned(),
                    |frame| {
                        format!(
                            "the server closed the connection ({} {})",
                            frame.code, frame.reason
                        )
                    },
                );
                return Err(Error::Ended { url: super::dial::shown(&url), why });
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Err(WsError::Capacity(CapacityError::MessageTooLong { .. })) => {
                // The rest of it cannot be told from what follows.
                let _unwanted = outlet.send(Came::TooLarge).await;
                return Ok(());
            }
            Err(error) => {
                return Err(Error::Ended { url: super::dial::shown(&url), why: error.to_string() });
            }
        };
        if outlet.message(payload).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
