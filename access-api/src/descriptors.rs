//! How many connections the operating system allows this process.

use common::descriptors;

use crate::limits::Limits;

/// Descriptors kept free for Kafka's connections, the admin port, the runtime and the log.
const RESERVED: u64 = 40;

/// How many connections of each kind there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// WebSockets.
    pub websockets: usize,
    /// Other connections.
    pub requests: usize,
    /// Connections that are being answered 503 because no place is free.
    pub refusals: usize,
}

impl Caps {
    /// Raises the limit of descriptors as far as the system allows, and lowers `limits` to what fits into it, with
    /// a warning in the log.
    pub fn claim(limits: &Limits) -> Self {
        let descriptors = descriptors::raise();
        let caps = Self::fit(limits, descriptors);
        if (caps.websockets, caps.requests) != (limits.websockets, limits.requests) {
            tracing::warn!(
                descriptors,
                websockets = caps.websockets,
                requests = caps.requests,
                "fewer connections are allowed than limits.websockets and limits.requests say, because the system grants too few descriptors; raise the hard limit (ulimit -Hn, LimitNOFILE)"
            );
        }
        caps
    }

    /// The part of `limits` that fits into this number of descriptors.
    fn fit(limits: &Limits, descriptors: u64) -> Self {
        let free = usize::try_from(descriptors.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
        let refusals = (free / 8).clamp(1, 64);
        let places = free.saturating_sub(refusals).max(2);
        if limits.websockets.saturating_add(limits.requests) <= places {
            return Self { websockets: limits.websockets, requests: limits.requests, refusals };
        }
        let requests = limits.requests.min((places / 4).max(1));
        Self { websockets: limits.websockets.min(places - requests), requests, refusals }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_defaults_fit_into_what_systems_usually_grant() {
        let limits = Limits::default();
        let caps = Caps::fit(&limits, 524_288);
        assert_eq!((caps.websockets, caps.requests), (limits.websockets, limits.requests));
    }

    proptest! {
        #[test]
        fn caps_never_exceed_the_limits_nor_the_descriptors_and_leave_a_place_of_each_kind(
            websockets in 1usize..100_000,
            requests in 1usize..100_000,
            descriptors in 0u64..200_000,
        ) {
            let caps = Caps::fit(&Limits { websockets, requests, ..Limits::default() }, descriptors);
            prop_assert!((1..=websockets).contains(&caps.websockets));
            prop_assert!((1..=requests).contains(&caps.requests));
            let total = (caps.websockets + caps.requests + caps.refusals) as u64;
            prop_assert!(total + RESERVED <= descriptors.max(RESERVED + 3));
        }
    }
}
