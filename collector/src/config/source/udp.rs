//! The section of a source of kind `udp`.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::{Common, Delivery, zeros};
use crate::config::Framing;

/// A socket to which datagrams are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The address to listen on. Beyond this machine only with `insecure`.
    pub listen: SocketAddr,
    /// Whether it may listen beyond this machine: nobody is asked who they are, and anybody can read what is sent.
    pub insecure: bool,
    /// How many messages a datagram holds.
    pub framing: Framing,
    /// The kernel's buffer for datagrams that were not read yet, in bytes. The kernel may allow less.
    pub receive_buffer_bytes: usize,
}

impl Udp {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = zeros([
            ("max_event_bytes", self.common.max_event_bytes as u64),
            ("receive_buffer_bytes", self.receive_buffer_bytes as u64),
        ])
        .collect();
        if !self.listen.ip().is_loopback() && !self.insecure {
            problems.push(format!(
                "listen: {} is reached from other machines, and whoever reaches it can send events; set insecure = true if \
                 that may be",
                self.listen
            ));
        }
        if self.receive_buffer_bytes > 1 << 30 {
            problems.push("receive_buffer_bytes: must be at most 1073741824".to_owned());
        }
        problems
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            common: Common { delivery: Delivery::AtLeastOnce, ..Common::default() },
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8911)),
            insecure: false,
            framing: Framing::default(),
            receive_buffer_bytes: 4 << 20,
        }
    }
}
