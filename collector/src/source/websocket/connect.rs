//! Connects to a WebSocket server: the handshake, redirects, and the first messages.

use std::sync::Arc;

use futures_util::SinkExt;
use http::header::LOCATION;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

use super::super::dial::Dialer;
use super::super::request::{Refusal, Request, Target, set_begin};
use super::super::resume_point::Begin;
use super::frames::{Frames, Seen};
use crate::config::{Transport, Websocket as Section};
use crate::error::Error;

/// A connection to a feed.
pub(super) type Socket = WebSocketStream<Frames<MaybeTlsStream<TcpStream>>>;

/// Connects to one source.
pub(super) struct Connector {
    section: Section,
    request: Request,
    dialer: Dialer,
}

impl Connector {
    /// Prepares connections.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub(super) fn new(section: &Section) -> Result<Self, Error> {
        let request = Request::new(&section.connect, Transport::Websocket)?;
        let dialer = Dialer::new(&section.connect)?;
        Ok(Self { section: section.clone(), request, dialer })
    }

    /// The section of the source.
    pub(super) fn section(&self) -> &Section {
        &self.section
    }

    /// Connects, and sends the first messages.
    pub(super) async fn connect(&self, begin: &Begin) -> Result<(Socket, Arc<Seen>), Refusal> {
        let mut target = self.request.target()?;
        let (mut socket, seen) = loop {
            set_begin(&mut target.url, &self.section.resume, begin);
            if let Some(open) = self.open(&mut target).await? {
                break open;
            }
        };
        for text in &self.section.first_message.0 {
            let message = Message::text(text.reveal());
            socket.send(message).await.map_err(|error| format!("first_message: {error}"))?;
        }
        Ok((socket, seen))
    }

    /// `None` if the target is another one now.
    async fn open(&self, target: &mut Target) -> Result<Option<(Socket, Arc<Seen>)>, Refusal> {
        let stream = self.dialer.dial(&target.url).await?;
        let limit = self.section.connect.max_message_bytes;
        let (stream, seen) = Frames::new(stream, limit);
        let url = target.plain_url();
        let mut request = url.as_str().into_client_request().map_err(cannot_connect)?;
        request.headers_mut().extend(target.headers.clone());
        let mut limits = WebSocketConfig::default();
        // Larger messages are cut before they get here, see `frames`; this limit is for other frames.
        limits.max_message_size = Some(limit);
        limits.max_frame_size = Some(limit);
        match client_async_with_config(request, stream, Some(limits)).await {
            Ok((socket, _)) => Ok(Some((socket, seen))),
            Err(WsError::Http(response)) if response.status().is_redirection() => {
                target.redirect(response.headers().get(LOCATION))?;
                Ok(None)
            }
            Err(error) => Err(cannot_connect(error)),
        }
    }
}

fn cannot_connect(error: WsError) -> Refusal {
    format!("cannot connect: {error}")
}
