//! The hash function of the analyzer. Items and event ids are hashed once, and every table and sketch uses
//! that number.

pub use common::event::identity::hash;
