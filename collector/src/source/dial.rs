//! Opens the connections to feeds: TCP, and TLS if the address says so.

use std::sync::Arc;
use std::time::Duration;

use common::tls;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;
use url::{Host, Url};

use super::request::Refusal;
use crate::config::Connect;
use crate::error::Error;

/// How long a connection may be quiet before the system asks whether the peer is still there, how often it asks, and how
/// many answers may be missing.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// Opens connections.
pub struct Dialer {
    connect: Connect,
}

impl Dialer {
    /// Checks the files of certificates.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn new(connect: &Connect) -> Result<Self, Error> {
        let dialer = Self { connect: connect.clone() };
        dialer.tls()?;
        Ok(dialer)
    }

    /// Connects to the server of this address.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn dial(&self, url: &Url) -> Result<MaybeTlsStream<TcpStream>, Refusal> {
        let port = url.port_or_known_default().unwrap_or(match url.scheme() {
            "mqtt" => 1883,
            "mqtts" => 8883,
            _ => 80,
        });
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
        let (time, interval, retries) = KEEPALIVE;
        let keepalive =
            TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%error, "no keepalive, so a peer that is gone may be noticed late");
        }
        if matches!(url.scheme(), "ws" | "http" | "mqtt") {
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
        // The files are read each time, because certificates are renewed.
        let tls = self.tls().map_err(|unusable| unusable.to_string())?;
        let stream = tls.connect(name, stream).await;
        Ok(MaybeTlsStream::Rustls(stream.map_err(|error| format!("cannot connect: {error}"))?))
    }

    fn tls(&self) -> Result<TlsConnector, tls::Unusable> {
        let Connect { ca_file, certificate_file, key_file, .. } = &self.connect;
        let config = if certificate_file.as_os_str().is_empty() {
            tls::client(ca_file)
        } else {
            tls::client_with(ca_file, certificate_file, key_file)
        };
        Ok(TlsConnector::from(Arc::new(config?)))
    }
}
