//! Why a broker's certificate is not trusted. OpenSSL tells librdkafka only that it is not, so a second TLS library
//! looks at the certificate. The broker gets no more than the beginning of a handshake.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection};

use super::Kafka;
use crate::tls;

/// How long the broker may take for a connection, and for each message of the handshake.
const DEADLINE: Duration = Duration::from_secs(2);

/// What to do about a certificate that was not trusted; librdkafka's `reason` names the broker. Blocks.
pub(super) fn advice(reason: &str, kafka: &Kafka) -> String {
    let authorities = kafka.properties.get("ssl.ca.location").map_or("", String::as_str);
    let fault =
        broker(reason).and_then(|(host, port)| Some((host, fault(host, port, authorities)?)));
    let Some((host, fault)) = fault else {
        return "check that the broker's certificate has not expired, is issued by an authority of ssl.ca.location, and \
                is for the host in kafka.brokers"
            .to_owned();
    };
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate has expired: renew it, or correct this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet: correct the clock of this machine, or of the one that issued it"
                .to_owned()
        }
        CertificateError::UnknownIssuer if authorities.is_empty() => {
            "the broker's certificate is not issued by an authority that this machine trusts: set ssl.ca.location in \
             [kafka.properties]"
                .to_owned()
        }
        CertificateError::UnknownIssuer => format!(
            "the broker's certificate is not issued by an authority of ssl.ca.location ({authorities}): put the \
             certificate of its authority there"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the broker's certificate is not for the host {host}: use a name that it is for, in kafka.brokers and in the \
             broker's advertised.listeners"
        ),
        other => format!("the broker's certificate cannot be used: {other}"),
    }
}

/// Host and port of the broker that librdkafka names, as in `sasl_ssl://kafka:9093/bootstrap: SSL handshake failed`.
fn broker(reason: &str) -> Option<(&str, u16)> {
    let (_, rest) = reason.split_once("ssl://")?;
    let (host, port) = rest.split('/').next()?.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']), port.parse().ok()?))
}

/// What is wrong with the certificate of the server there; `None` if it cannot be found out.
fn fault(host: &str, port: u16, authorities: &str) -> Option<CertificateError> {
    let config = tls::client(Path::new(authorities)).ok()?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let address = (host, port).to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.set_write_timeout(Some(DEADLINE)).ok()?;
    let error = connection.complete_io(&mut stream).err()?;
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(fault) => Some(fault.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_found_in_what_librdkafka_says() {
        for (reason, found) in [
            ("ssl://kafka:9093/bootstrap: SSL handshake failed: x", Some(("kafka", 9093))),
            ("sasl_ssl://[::1]:9/1: SSL handshake failed: x", Some(("::1", 9))),
            ("kafka:9092/1: Connect failed", None),
        ] {
            assert_eq!(broker(reason), found, "{reason}");
        }
    }
}
