//! `/v1/ws`: the handshake of RFC 6455 section 4.2. It is done here because `warp::ws` gives every client a
//! read buffer of 128 KiB and does not check the origin.

use std::sync::Arc;

use common::protocol::SUBPROTOCOL;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use warp::reply::Response as WarpResponse;
use warp::{Filter, Rejection};

use super::gate::Gate;
use super::reply;
use crate::connection_limits::Connection;
use crate::metrics::{Gauged, Refusal};
use crate::session::{Session, Shared, websocket_config};

/// What the answer to a handshake says.
#[derive(Debug, PartialEq, Eq)]
struct Acceptance {
    /// The value of `Sec-WebSocket-Accept`, which proves to the client that its key was read.
    key: String,
    /// Whether the client offered our subprotocol. A browser that did fails unless the answer names it.
    names_subprotocol: bool,
}

impl Refusal {
    /// The answer to a handshake that is refused.
    fn respond(self) -> WarpResponse {
        let (status, message) = match self {
            Self::Handshake => {
                (StatusCode::BAD_REQUEST, "this is a WebSocket; connect with ws:// or wss://")
            }
            Self::Version => {
                (StatusCode::UPGRADE_REQUIRED, "this server supports WebSocket version 13 only")
            }
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect; add it to allowed_origins",
            ),
            Self::Subprotocol => (
                StatusCode::BAD_REQUEST,
                "the only subprotocol is millrace.v1+json; offer that, or none",
            ),
            Self::Reading => return reply::reading(),
            Self::Full => {
                return reply::unavailable(self.as_str(), "full; try again in a while", 5);
            }
        };
        let mut response = reply::error(status, self.as_str(), message);
        if self == Self::Version {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// The route; it answers other methods than GET too.
pub fn route(
    shared: Arc<Shared>,
    gate: Arc<Gate>,
) -> impl Filter<Extract = (WarpResponse,), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::path!("v1" / "ws")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Connection>())
        .map(move |headers: HeaderMap, upgrade: Option<OnUpgrade>, connection: Connection| {
            let begun = check(&headers, &gate).and_then(|acceptance| {
                let upgrade = upgrade.ok_or(Refusal::Handshake)?;
                if !shared.hub.is_complete() {
                    return Err(Refusal::Reading);
                }
                if let Err(cap) = connection.become_websocket() {
                    let refused = &shared.metrics.connections_refused;
                    refused.with_label_values(&[cap.as_str()]).inc();
                    return Err(Refusal::Full);
                }
                Ok((acceptance, upgrade))
            });
            match begun {
                Ok((acceptance, upgrade)) => {
                    let tasks = connection.tasks().clone();
                    tasks.spawn(serve(upgrade, connection, Arc::clone(&shared)));
                    switch(&acceptance)
                }
                Err(refusal) => {
                    let reason = refusal.as_str();
                    shared.metrics.handshakes_refused.with_label_values(&[reason]).inc();
                    tracing::debug!(reason, origin = ?headers.get(ORIGIN), "refused a handshake");
                    refusal.respond()
                }
            }
        })
        .or(warp::path!("v1" / "ws").map(|| reply::method_not_allowed("GET")))
        .unify()
}

fn check(headers: &HeaderMap, gate: &Gate) -> Result<Acceptance, Refusal> {
    let words = |name: HeaderName| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim)
    };
    let has_token = |name, token: &str| words(name).any(|word| word.eq_ignore_ascii_case(token));
    if !has_token(CONNECTION, "upgrade") || !has_token(UPGRADE, "websocket") {
        return Err(Refusal::Handshake);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    // The key is 16 bytes in base64, which are 24 characters.
    let key =
        headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24).ok_or(Refusal::Handshake)?;
    if !gate.allows_page(headers) {
        return Err(Refusal::Origin);
    }
    let names_subprotocol = words(SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == SUBPROTOCOL);
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) && !names_subprotocol {
        return Err(Refusal::Subprotocol);
    }
    Ok(Acceptance { key: derive_accept_key(key.as_bytes()), names_subprotocol })
}

fn switch(acceptance: &Acceptance) -> WarpResponse {
    let mut response = Response::new(bytes::Bytes::new().into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::from_str(&acceptance.key) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    if acceptance.names_subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

async fn serve(upgrade: OnUpgrade, connection: Connection, shared: Arc<Shared>) {
    let _client = Gauged::new(&shared.metrics.clients);
    match upgrade.await {
        Ok(upgraded) => {
            let config = websocket_config(&shared.limits);
            let socket = WebSocketStream::from_raw_socket(
                TokioIo::new(upgraded),
                Role::Server,
                Some(config),
            )
            .await;
            let disconnect = Session::new(socket, shared).run().await;
            tracing::debug!(reason = disconnect.as_str(), "client disconnected");
        }
        Err(error) => tracing::debug!(%error, "a client was gone before its handshake ended"),
    }
    drop(connection);
}

#[cfg(test)]
mod tests;
