//! The command `millrace`: run everything ([`up`]), serve a feed ([`simulate`]), host the in-memory
//! broker ([`broker`]), print results ([`tap`]), look at an unknown feed ([`discover`]), look into a collector's message log ([`log`]), check this machine ([`doctor`]), show the state of a running `up`
//! ([`status`]), delete its data ([`reset`]), and create and check the topics of a Kafka ([`topics`]).

pub mod broker;
pub mod client;
pub mod completions;
pub mod discover;
pub mod disk;
pub mod doctor;
pub mod environment;
pub mod exit;
pub mod log;
pub mod presets;
pub mod reset;
pub mod run;
pub mod simulate;
pub mod status;
pub mod tap;
pub mod text;
pub mod topics;
pub mod units;
pub mod up;
pub mod verbosity;
