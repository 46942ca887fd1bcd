//! The pipeline on Kubernetes: real pods, while they are killed, evicted, scaled and replaced. `tests/kubernetes` runs
//! this; it is not part of `tests/run`, because it needs a cluster.
#![expect(clippy::expect_used, reason = "a test's failure is the message")]

mod kubectl;
mod operations;
mod policies;
mod push;
mod scaling;
mod seen;
mod storm;
