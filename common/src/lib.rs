//! What at least two tiers share: the events and results that they exchange, how each one reads its
//! configuration, logs, answers probes and stops, the settings of their Kafka clients; and the collector's
//! hybrid message log.
//!
//! | module | what is in it |
//! |---|---|
//! | [`event`] | raw events: what identifies them, when they happened, why one is a dead letter |
//! | [`expr`] | the expression language: conditions and values over the paths of an event |
//! | [`result`] | what the analyzer publishes |
//! | [`protocol`] | what a client of the access-api sends and receives, cursors included |
//! | [`kafka`] | topics, headers, client settings, creation of topics, reading without a group |
//! | [`config`] | defaults < file < environment < flags, and validation |
//! | [`tier`] | the life of a tier's process, from flags to drain |
//! | [`admin`] | `/live`, `/ready`, `/metrics` |
//! | [`accept`] | accepting connections, even after the process ran out of file descriptors |
//! | [`http_server`] | the bounds of an HTTP connection, and answers to those without a place |
//! | [`descriptors`] | how many descriptors the system grants |
//! | [`watched`] | values that are read from files again when these change |
//! | [`secret`] | passwords, tokens and addresses that may hold one: masked wherever they are shown |
//! | [`backoff`] | full-jitter retry delays |
//! | [`clock`] | the time of day |
//! | [`disk`] | how much is free on a disk, how large files are |
//! | [`distinct`] | about how many different values there are, in bounded memory |
//! | [`metrics`] | how metrics are named and made |
//! | [`telemetry`] | log output |
//! | [`trace`] | traces of events and results, for OpenTelemetry; off by default |
//! | [`tls`] | TLS of the connections that the tiers open or accept themselves |
//! | [`output`] | standard output |
//! | `message_log` | the hybrid message log (feature `message-log`) |

pub mod accept;
pub mod admin;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod disk;
pub mod distinct;
pub mod event;
pub mod expr;
pub mod http_server;
pub mod kafka;
#[cfg(feature = "message-log")]
pub mod message_log;
pub mod metrics;
pub mod output;
pub mod protocol;
pub mod result;
pub mod secret;
pub mod telemetry;
pub mod tier;
pub mod tls;
pub mod trace;
pub mod watched;
