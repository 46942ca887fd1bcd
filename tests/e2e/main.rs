//! The whole pipeline, as people run it: real processes, Apache Kafka, real sockets, `kill -9`.
//!
//! Every answer is compared with an oracle that shares no code with the pipeline. What a test needs and does not find
//! here (a recording, a browser) is skipped loudly, and listed by `tests/run` at its end.
#![expect(clippy::expect_used, reason = "a test's failure is the message")]

mod access_api;
mod analyzers;
mod audit;
mod bad_input;
mod books;
mod capacity;
mod collector;
mod command_line;
mod conservation;
mod crash;
mod dashboard;
mod discover;
mod disk;
mod encryption;
mod event_time;
mod exact;
mod files;
mod groups;
mod leases;
mod lifecycle;
mod live_presets;
mod log;
mod metrics;
mod missed;
mod mqtt;
mod outage;
mod presets;
mod promises;
mod push;
mod recordings;
mod security;
mod slow_client;
mod state;
mod subscription;
mod throughput;
mod topics;
mod traces;
