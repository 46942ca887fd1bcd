//! `/v1/ws`: the handshake of RFC 6455 section 4.2, done here because `warp::ws` gives every client a
//! read buffer of 128 KiB and asks for no origin.

use std::sync::Arc;

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::{Authority, Scheme, Uri};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::TaskTracker;
use warp::reply::Response as WarpResponse;
use warp::{Filter, Rejection};

use crate::metrics::Gauged;
use crate::session::{Service, Session, websocket_config};

/// What a connection holds until its end, be it HTTP or, later, a WebSocket.
#[derive(Debug, Clone)]
pub struct Connection {
    tasks: TaskTracker,
    /// Held, never looked at: it is given back with the last clone.
    _place: Arc<(OwnedSemaphorePermit, Gauged)>,
}

impl Connection {
    /// A connection that has one of the places there are, and is counted; `tasks` are what a drain
    /// waits for.
    pub fn new(place: OwnedSemaphorePermit, counted: Gauged, tasks: TaskTracker) -> Self {
        Self { tasks, _place: Arc::new((place, counted)) }
    }
}

/// Where a page comes from: RFC 6454.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]`, scheme http or https.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let parts = uri.into_parts();
        if parts.path_and_query.is_some_and(|path| path != "/") || text.ends_with('/') {
            return None;
        }
        Self::new(parts.scheme?, &parts.authority?)
    }

    fn new(scheme: Scheme, authority: &Authority) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let default = if scheme == Scheme::HTTP {
            80
        } else if scheme == Scheme::HTTPS {
            443
        } else {
            return None;
        };
        let port = authority.port_u16().unwrap_or(default);
        Some(Self { scheme, host: authority.host().to_ascii_lowercase(), port })
    }

    /// Whether a request that was sent to `host` came from a page of the same. The scheme is taken from
    /// the page, because TLS may end at a proxy before us.
    fn is_of(&self, host: &HeaderValue) -> bool {
        let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        authority.and_then(|authority| Self::new(self.scheme.clone(), &authority)).as_ref()
            == Some(self)
    }
}

/// Why there will be no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// No upgrade was asked for, or without a key.
    Handshake,
    /// Not version 13.
    Version,
    /// A page from elsewhere.
    Origin,
}

impl Refusal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Version => "version",
            Self::Origin => "origin",
        }
    }

    fn respond(self) -> WarpResponse {
        let (status, message) = match self {
            Self::Handshake => {
                (StatusCode::BAD_REQUEST, "this is a WebSocket; connect with ws:// or wss://")
            }
            Self::Version => (StatusCode::UPGRADE_REQUIRED, "only WebSocket version 13 is spoken"),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect; add it to allowed_origins",
            ),
        };
        let mut response = super::error(status, self.as_str(), message);
        if self == Self::Version {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// The route.
pub fn route(
    service: Arc<Service>,
    allowed_origins: &[String],
) -> impl Filter<Extract = (WarpResponse,), Error = Rejection> + Clone + Send + Sync + 'static {
    let allowed: Arc<[Origin]> =
        allowed_origins.iter().filter_map(|text| Origin::parse(text)).collect();
    warp::path!("v1" / "ws")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Connection>())
        .map(move |headers: HeaderMap, upgrade: Option<OnUpgrade>, connection: Connection| {
            match check(&headers, &allowed).and_then(|accept| Ok((accept, upgrade.ok_or(Refusal::Handshake)?))) {
                Ok((accept, upgrade)) => {
                    connection.tasks.clone().spawn(serve(upgrade, connection, Arc::clone(&service)));
                    switch(&accept)
                }
                Err(refusal) => {
                    service.metrics.handshakes_refused.with_label_values(&[refusal.as_str()]).inc();
                    tracing::debug!(reason = refusal.as_str(), origin = ?headers.get(ORIGIN), "refused a handshake");
                    refusal.respond()
                }
            }
        })
}

/// Returns what proves to the client that its key was read.
fn check(headers: &HeaderMap, allowed: &[Origin]) -> Result<String, Refusal> {
    let has_token = |name, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    };
    if !has_token(CONNECTION, "upgrade") || !has_token(UPGRADE, "websocket") {
        return Err(Refusal::Handshake);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    // Sixteen bytes in base64.
    let key =
        headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24).ok_or(Refusal::Handshake)?;
    // Browsers always send it, and pages cannot change it; other clients need none.
    if let Some(text) = headers.get(ORIGIN) {
        let origin = text.to_str().ok().and_then(Origin::parse).ok_or(Refusal::Origin)?;
        let is_own = headers.get(HOST).is_some_and(|host| origin.is_of(host));
        if !is_own && !allowed.contains(&origin) {
            return Err(Refusal::Origin);
        }
    }
    Ok(derive_accept_key(key.as_bytes()))
}

fn switch(accept: &str) -> WarpResponse {
    let mut response = Response::new(bytes::Bytes::new().into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn serve(upgrade: OnUpgrade, connection: Connection, service: Arc<Service>) {
    let _client = Gauged::new(&service.metrics.clients);
    match upgrade.await {
        Ok(upgraded) => {
            let config = websocket_config(&service.limits);
            let socket = WebSocketStream::from_raw_socket(
                TokioIo::new(upgraded),
                Role::Server,
                Some(config),
            )
            .await;
            let disconnect = Session::new(socket, service).run().await;
            tracing::debug!(reason = disconnect.as_str(), "client gone");
        }
        Err(error) => tracing::debug!(%error, "a client was gone before its handshake ended"),
    }
    drop(connection);
}

#[cfg(test)]
mod tests;
