//! The command `millrace`: run everything ([`up`]), serve a feed ([`simulate`]), host the in-memory
//! broker ([`broker`]), print results ([`tap`]).

pub mod broker;
pub mod client;
pub mod simulate;
pub mod tap;
pub mod up;
