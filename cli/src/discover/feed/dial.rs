//! A connection to the host of an address: TCP, and TLS if the address asks for it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::secret::SecretUrl;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::options::Options;
use crate::discover::Error;

/// How long connecting may take, handshakes included.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// A TCP or TLS connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects.
pub(super) async fn dial(url: &Url, options: &Options) -> Result<Box<dyn Stream>, Error> {
    let connecting = async {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        // An address of IPv6 is in brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
        // It only delays what is sent.
        let _slower = tcp.set_nodelay(true);
        if !matches!(url.scheme(), "wss" | "https") {
            return Ok(Box::new(tcp) as Box<dyn Stream>);
        }
        let tls = common::tls::client(&options.ca_file).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
        tls.map(|tls| Box::new(tls) as Box<dyn Stream>).map_err(|error| error.to_string())
    };
    match tokio::time::timeout(DEADLINE, connecting).await {
        Ok(connected) => connected.map_err(|why| unreachable(url, why)),
        Err(_) => Err(unreachable(url, format!("no connection within {} s", DEADLINE.as_secs()))),
    }
}

/// The headers of a request to `url`: those that were asked for, and user info of the address. To another host than the first
/// one they are not sent.
pub(super) fn headers(url: &Url, options: &Options, is_first_host: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let agent = concat!("millrace/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if !is_first_host {
        return headers;
    }
    if !url.username().is_empty() || url.password().is_some() {
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        if let Ok(value) = HeaderValue::try_from(basic) {
            headers.insert(AUTHORIZATION, value);
        }
    }
    for header in &options.headers {
        // They were checked when the command line was read.
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(&header.name), HeaderValue::try_from(&header.value))
        {
            headers.insert(name, value);
        }
    }
    headers
}

/// The address without its secrets.
pub(super) fn shown(url: &Url) -> String {
    SecretUrl::from(url.as_str()).to_string()
}

pub(super) fn unreachable(url: &Url, why: impl Into<String>) -> Error {
    Error::Unreachable { url: shown(url), why: why.into() }
}
