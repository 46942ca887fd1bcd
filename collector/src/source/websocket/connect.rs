//! Connects to a WebSocket server: address, headers, redirects, TLS, and the first messages.

use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::secret::SecretUrl;
use common::tls;
use futures_util::SinkExt;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};
use url::{Host, Url};

use super::super::feed::Begin;
use super::frames::{Frames, Seen};
use crate::config::{Resume, Transport, Websocket as Section};
use crate::error::Error;

#[cfg(test)]
mod tests;

/// A connection to a feed.
pub(super) type Socket = WebSocketStream<Frames<MaybeTlsStream<TcpStream>>>;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;
/// The largest `headers_from_file`, in bytes. A server would hardly take more, and the file may be the wrong one.
const MAX_HEADERS_BYTES: u64 = 64 << 10;

/// Connects to one source.
pub(super) struct Connector {
    section: Section,
    url: Url,
    tls: TlsConnector,
}

/// Why a connection could not be established, for people and without secrets.
type Refusal = String;

impl Connector {
    /// Prepares connections.
    ///
    /// # Errors
    /// When its address, `ca_file` or `headers_from_file` cannot be used.
    pub(super) fn new(section: &Section) -> Result<Self, Error> {
        let url = section.connect.address(Transport::Websocket).map_err(Error::Address)?;
        let tls = TlsConnector::from(Arc::new(tls::client(&section.connect.ca_file)?));
        let connector = Self { section: section.clone(), url, tls };
        connector.headers().map_err(Error::Headers)?;
        Ok(connector)
    }

    /// Connects, and sends the first messages.
    pub(super) async fn connect(&self, begin: &Begin) -> Result<(Socket, Arc<Seen>), Refusal> {
        let mut url = self.url.clone();
        let mut own = self.headers()?;
        for _ in 0..=MAX_REDIRECTS {
            set_begin(&mut url, &self.section.resume, begin);
            let (mut socket, seen) = match self.open(&url, &own).await? {
                Answer::Open(socket, seen) => (*socket, seen),
                Answer::Elsewhere(location) => {
                    let next = follow(&url, &location)?;
                    if is_other_server(&url, &next) {
                        own.clear();
                    }
                    url = next;
                    continue;
                }
            };
            for text in &self.section.first_message.0 {
                let message = Message::text(text.reveal());
                socket.send(message).await.map_err(|error| format!("first_message: {error}"))?;
            }
            return Ok((socket, seen));
        }
        Err(format!("the server redirects more than {MAX_REDIRECTS} times"))
    }

    async fn open(&self, url: &Url, headers: &HeaderMap) -> Result<Answer, Refusal> {
        let stream = self.stream(url).await?;
        let (stream, seen) = Frames::new(stream, self.section.connect.max_message_bytes);
        let mut plain = url.clone();
        // These fail only for an address without a host, and this one has a host.
        let _none = (plain.set_username(""), plain.set_password(None));
        let mut request = plain.as_str().into_client_request().map_err(cannot_connect)?;
        request.headers_mut().extend(headers.clone());
        let mut limits = WebSocketConfig::default();
        // Larger messages are cut before they get here, see `frames`; this limit is for other frames.
        limits.max_message_size = Some(self.section.connect.max_message_bytes);
        limits.max_frame_size = Some(self.section.connect.max_message_bytes);
        match client_async_with_config(request, stream, Some(limits)).await {
            Ok((socket, _)) => Ok(Answer::Open(Box::new(socket), seen)),
            Err(WsError::Http(response)) if response.status().is_redirection() => {
                let location = response.headers().get(LOCATION);
                let location = location.and_then(|location| location.to_str().ok());
                let location = location.ok_or("the server redirects, but does not say where to")?;
                Ok(Answer::Elsewhere(location.to_owned()))
            }
            Err(error) => Err(cannot_connect(error)),
        }
    }

    async fn stream(&self, url: &Url) -> Result<MaybeTlsStream<TcpStream>, Refusal> {
        let port = url.port_or_known_default().unwrap_or(80);
        let connected = match url.host() {
            Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
            Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
            Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
            None => return Err("the address has no host".to_owned()),
        };
        let stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY, so small frames may be delayed");
        }
        if url.scheme() == "ws" {
            return Ok(MaybeTlsStream::Plain(stream));
        }
        let name = match url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|_| {
                "cannot connect: a certificate cannot be issued for this host name".to_owned()
            })?,
            Some(Host::Ipv4(address)) => std::net::IpAddr::from(address).into(),
            Some(Host::Ipv6(address)) => std::net::IpAddr::from(address).into(),
            None => return Err("the address has no host".to_owned()),
        };
        let stream = self.tls.connect(name, stream).await;
        Ok(MaybeTlsStream::Rustls(stream.map_err(|error| format!("cannot connect: {error}"))?))
    }

    /// The configured headers, which are for the configured server only.
    fn headers(&self) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::new();
        if !self.url.username().is_empty() || self.url.password().is_some() {
            let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
            let mut login = decoded(self.url.username());
            login.push(b':');
            login.extend(decoded(self.url.password().unwrap_or_default()));
            let value = format!("Basic {}", STANDARD.encode(login));
            insert(&mut headers, AUTHORIZATION.as_str(), &value)?;
        }
        for (name, value) in &self.section.connect.headers {
            insert(&mut headers, name, value.reveal())?;
        }
        let path = &self.section.connect.headers_from_file;
        if !path.as_os_str().is_empty() {
            let failed =
                |why: &str| format!("headers_from_file: cannot read {}: {why}", path.display());
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(|error| failed(&error.to_string()))?;
            let read = file.take(MAX_HEADERS_BYTES + 1).read_to_string(&mut text);
            let read = read.map_err(|error| failed(&error.to_string()))?;
            if read as u64 > MAX_HEADERS_BYTES {
                return Err(failed("it has more than 64 KiB; write only headers into it"));
            }
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                let header = line.split_once(':');
                let (name, value) = header.ok_or_else(|| failed("write one Name: value a line"))?;
                let (name, value) = (name.trim(), value.trim());
                self.section
                    .connect
                    .may_set(name, Transport::Websocket)
                    .map_err(|why| failed(&format!("{name}: {why}")))?;
                insert(&mut headers, name, value).map_err(|why| failed(&why))?;
            }
        }
        Ok(headers)
    }
}

/// What a server answered.
enum Answer {
    Open(Box<Socket>, Arc<Seen>),
    Elsewhere(String),
}

fn cannot_connect(error: WsError) -> Refusal {
    format!("cannot connect: {error}")
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Refusal> {
    let key =
        HeaderName::try_from(name).map_err(|_| format!("'{name}' is not a valid header name"))?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| format!("the value of '{name}' is not valid in a header"))?;
    value.set_sensitive(true);
    headers.insert(key, value);
    Ok(())
}

/// Where a redirect leads.
fn follow(from: &Url, location: &str) -> Result<Url, Refusal> {
    let to = from
        .join(location)
        .map_err(|error| format!("the server redirects to an invalid address: {error}"))?;
    if !matches!(to.scheme(), "ws" | "wss") || to.host().is_none() {
        let shown = SecretUrl::from(location);
        return Err(format!(
            "the server redirects to {shown}; only ws:// and wss:// are followed, set url to where the feed is"
        ));
    }
    Ok(to)
}

/// Whether `other` must not get the headers that are meant for `one`.
fn is_other_server(one: &Url, other: &Url) -> bool {
    let server = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    server(one) != server(other) && !is_upgrade(one, other)
        || one.scheme() == "wss" && other.scheme() == "ws"
}

/// Whether `other` is the host of `one`, but with TLS and both on their usual ports.
fn is_upgrade(one: &Url, other: &Url) -> bool {
    one.host_str() == other.host_str()
        && (one.scheme(), one.port_or_known_default()) == ("ws", Some(80))
        && (other.scheme(), other.port_or_known_default()) == ("wss", Some(443))
}

/// Sets the parameter that says where the feed is to begin, and removes one that is there already.
fn set_begin(url: &mut Url, resume: &Resume, begin: &Begin) {
    let Resume::Query(parameter) = resume else { return };
    let since = match begin {
        Begin::AsConfigured => return,
        Begin::At(since) => Some(format!("{parameter}={since}")),
        // A feed that is asked by a time has no cursors of its own.
        Begin::After(_) | Begin::Now => None,
    };
    let is_other = |pair: &&str| pair.split('=').next() != Some(parameter) && !pair.is_empty();
    let query = url.query().unwrap_or_default().to_owned();
    let pairs: Vec<_> = query.split('&').filter(is_other).chain(since.as_deref()).collect();
    url.set_query(if pairs.is_empty() { None } else { Some(pairs.join("&")) }.as_deref());
}
