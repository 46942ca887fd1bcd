//! One POST to a receiver of OTLP. Each has a connection of its own: there is one for each batch, and a
//! receiver that was restarted or moved meanwhile is found again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use super::config::Trace;
use crate::tls;

/// More of an answer is not read, in bytes.
const ANSWER: usize = 64 << 10;

/// Where spans are posted.
#[derive(Clone)]
pub(super) struct Endpoint {
    address: Uri,
    headers: HeaderMap,
    tls: Option<TlsConnector>,
}

/// Why spans were not taken, for people and without secrets.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer, or one that says to come back.
    Later(String),
    /// These spans will not be taken however often they are sent.
    Refused(String),
}

impl Endpoint {
    /// The configured one; `None` if nothing is traced. The section is valid.
    ///
    /// # Errors
    /// When the file of authorities cannot be used.
    pub(super) fn of(trace: &Trace) -> Result<Option<Self>, tls::Unusable> {
        let Some(address) = Some(trace).filter(|trace| trace.is_on()).and_then(Trace::address)
        else {
            return Ok(None);
        };
        let is_secure = address.scheme_str() == Some("https");
        let tls = is_secure.then(|| connector(&trace.ca_file)).transpose()?;
        let header = |(name, value): (&String, &crate::secret::Secret)| {
            let mut value = HeaderValue::try_from(value.reveal()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        };
        let headers = trace.headers.iter().filter_map(header).collect();
        Ok(Some(Self { address, headers, tls }))
    }

    /// Posts `body`, which is JSON, and gives the answer.
    ///
    /// # Errors
    /// When it was not taken.
    pub(super) async fn post(&self, body: Bytes) -> Result<Bytes, Failure> {
        let later = |error: &dyn std::fmt::Display| Failure::Later(error.to_string());
        let stream = self.connect().await.map_err(|error| later(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| later(&error))?;
        // It ends with the exchange, however that ends.
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = self.request(body).map_err(|error| Failure::Refused(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| later(&error))?;
        match answer.status() {
            status if status.is_success() => {
                let read = Limited::new(answer.into_body(), ANSWER).collect().await;
                // The spans were taken, whatever else the answer was to say.
                Ok(read.map(|read| read.to_bytes()).unwrap_or_default())
            }
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Err(later(&status)),
            status => Err(Failure::Refused(status.to_string())),
        }
    }

    async fn connect(
        &self,
    ) -> std::io::Result<Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>> {
        let host = self.address.host().unwrap_or_default().trim_matches(['[', ']']);
        let default = if self.tls.is_some() { 443 } else { 80 };
        let stream = TcpStream::connect((host, self.address.port_u16().unwrap_or(default))).await?;
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(Either::Right(tls.connect(name, stream).await?))
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let authority = self.address.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(self.address.path())
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("millrace/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

fn connector(ca_file: &Path) -> Result<TlsConnector, tls::Unusable> {
    Ok(TlsConnector::from(Arc::new(tls::client(ca_file)?)))
}
