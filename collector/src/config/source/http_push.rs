//! The section of a source of kind `http_push`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::connect::MAX_MESSAGE_BYTES;
use super::keys::Keys;
use super::{Common, zeros};

/// A server to which events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpPush {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The address to listen on. Beyond this machine only with TLS or `insecure`, and with tokens or secrets.
    pub listen: SocketAddr,
    /// Whether it may listen beyond this machine without TLS.
    pub insecure: bool,
    /// A file with the tokens that may send, one a line; empty for none. It is read again when it changes.
    pub token_file: PathBuf,
    /// A file with the secrets of signatures, one a line; empty for none. It is read again when it changes.
    pub secret_file: PathBuf,
    /// A file with the certificates of TLS, PEM, the own one first; empty for no TLS. It is read again when it changes.
    pub certificate_file: PathBuf,
    /// A file with the key of the first certificate, PEM. It is read again when it changes.
    pub key_file: PathBuf,
    /// The largest body in bytes, also after decompression.
    pub max_body_bytes: usize,
    /// The most events in a request.
    pub max_events: usize,
    /// The most connections at once; a further one is answered 503.
    pub max_connections: usize,
    /// How long a request's head may take to arrive, and how long a connection without a request is kept, in
    /// milliseconds.
    pub header_timeout_ms: u64,
    /// How long a request's body may take to arrive, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long a request may then take to be safe, in milliseconds; after that it is answered 503.
    pub accept_timeout_ms: u64,
}

impl HttpPush {
    /// Whether it speaks TLS.
    pub fn has_tls(&self) -> bool {
        !self.certificate_file.as_os_str().is_empty()
    }

    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = zeros([
            ("max_event_bytes", self.common.max_event_bytes as u64),
            ("max_body_bytes", self.max_body_bytes as u64),
            ("max_events", self.max_events as u64),
            ("max_connections", self.max_connections as u64),
            ("header_timeout_ms", self.header_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("accept_timeout_ms", self.accept_timeout_ms),
        ])
        .collect();
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        if is_set(&self.certificate_file) != is_set(&self.key_file) {
            problems.push("certificate_file, key_file: set both, or none".to_owned());
        }
        if !self.listen.ip().is_loopback() {
            if !self.has_tls() && !self.insecure {
                problems.push(format!(
                    "listen: {} is reached from other machines; set certificate_file and key_file, or insecure = true where something \
                     in front of it has TLS",
                    self.listen
                ));
            }
            if !is_set(&self.token_file) && !is_set(&self.secret_file) {
                problems.push(format!(
                    "listen: {} is reached from other machines; set token_file or secret_file",
                    self.listen
                ));
            }
        }
        if self.max_body_bytes > MAX_MESSAGE_BYTES {
            problems.push(format!(
                "max_body_bytes: is {}; must be at most {MAX_MESSAGE_BYTES}, which a dead letter can hold",
                self.max_body_bytes
            ));
        }
        problems
    }
}

impl Default for HttpPush {
    fn default() -> Self {
        Self {
            common: Common::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8910)),
            insecure: false,
            token_file: PathBuf::new(),
            secret_file: PathBuf::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            max_body_bytes: 8 << 20,
            max_events: 10_000,
            max_connections: 1024,
            header_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            accept_timeout_ms: 5_000,
        }
    }
}
