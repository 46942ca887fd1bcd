//! The configuration of the access-api.

use std::net::SocketAddr;

use common::config::{Invalid, Service, TierConfig};
use common::kafka::Kafka;
use common::trace::Trace;
use serde::{Deserialize, Serialize};

use crate::limits::{Limits, RingLimits};
use crate::origin::{Hosts, Origin};

/// The configuration of the access-api.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients connect; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Origins of other pages that may read results, over HTTP and by WebSocket, written
    /// `https://host[:port]`. The dashboard's own origin and clients other than browsers always may.
    pub allowed_origins: Vec<String>,
    /// Host names under which browsers may reach this server, in addition to `localhost` and IP addresses;
    /// `*` allows any name. A request for another name is refused (421), because a hostile page can point
    /// its own name at this server's address (DNS rebinding).
    pub hosts: Vec<String>,
    /// The section that every tier has.
    pub service: Service,
    /// Where the results come from.
    pub kafka: Kafka,
    /// Whether events are traced, and where to.
    pub trace: Trace,
    /// How much history is kept for clients that fall behind or come back.
    pub ring: RingLimits,
    /// How much one client, or all of them together, may use.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allowed_origins: Vec::new(),
            hosts: Vec::new(),
            service: Service::on_port(9083),
            kafka: Kafka::default(),
            trace: Trace::default(),
            ring: RingLimits::default(),
            limits: Limits::default(),
        }
    }
}

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn trace(&self) -> Option<&Trace> {
        Some(&self.trace)
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = self.kafka.problems();
        problems.extend(self.trace.problems());
        for origin in &self.allowed_origins {
            if Origin::parse(origin).is_none() {
                problems.push(format!("allowed_origins: `{origin}` is not an origin; write https://host or https://host:port"));
            }
        }
        for host in self.hosts.iter().filter(|host| !Hosts::is_name(host)) {
            problems.push(format!(
                "hosts: `{host}` is not a host name; write it without scheme and port, or `*` for any"
            ));
        }
        problems.extend(self.ring.problems());
        problems.extend(self.limits.problems());
        Invalid::when_any(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut config = Config {
            allowed_origins: vec!["example.com".to_owned()],
            hosts: vec!["https://wall.example".to_owned()],
            ..Config::default()
        };
        config.ring.frames = 0;
        config.limits.idle_timeout_ms = config.limits.ping_interval_ms;
        config.limits.retry_ms = u64::MAX;
        config.limits.result_bytes = usize::MAX;
        let Invalid(problems) = config.validate().unwrap_err();
        let keys = [
            "allowed_origins",
            "hosts",
            "ring.frames",
            "limits.idle_timeout_ms",
            "limits.retry_ms",
            "limits.result_bytes",
        ];
        for key in keys {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        }
        assert_eq!(problems.len(), keys.len());
    }
}
