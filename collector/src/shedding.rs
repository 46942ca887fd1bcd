//! Load shedding: which messages of a source are dropped while the collector is overloaded, which is only done where the
//! configuration asks for it.
//!
//! The measure of overload is how much of `log.max_bytes` waits for Kafka. Above a limit messages are dropped at random, with a
//! probability that rises evenly from 0 at the limit to 1 when the log is full, as queues of routers do it (S. Floyd and
//! V. Jacobson, "Random Early Detection Gateways for Congestion Avoidance", 1993): what is shed early need not be shed
//! later, and what is counted stays a fair sample.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use common::expr::{Condition, Slots};

use crate::config::Shed;

/// How full the log is. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<AtomicU32>);

/// The shedding of one source.
#[derive(Debug, Clone)]
pub struct Shedding {
    above: f32,
    keep: Option<Keeping>,
    load: Load,
}

/// Tells messages that are kept from others. Its memory is used from message to message.
#[derive(Debug, Clone)]
pub struct Keeping {
    condition: Condition,
    slots: Arc<Mutex<Slots>>,
}

impl Load {
    /// Which part of what may wait for Kafka does; 1 if the log is full.
    pub fn set(&self, part: f32) {
        self.0.store(part.to_bits(), Ordering::Relaxed);
    }

    fn part(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Shedding {
    /// As it is configured; `load` is that of the log.
    pub fn new(config: &Shed, load: Load) -> Self {
        let above = f32::from(config.above_percent) / 100.0;
        Self { above, keep: config.keep.as_ref().map(Keeping::new), load }
    }

    /// Whether this message is dropped; `draw` is random, from 0 up to but not including 1.
    pub fn takes(&self, payload: &[u8], draw: f32) -> bool {
        draw < self.share() && !self.spares(payload)
    }

    /// Whether this message is never dropped.
    pub fn spares(&self, payload: &[u8]) -> bool {
        self.keep.as_ref().is_some_and(|keep| keep.keeps(payload))
    }

    /// Which share of the messages is dropped.
    fn share(&self) -> f32 {
        let (part, above) = (self.load.part(), self.above);
        if part <= above { 0.0 } else { ((part - above) / (1.0 - above)).min(1.0) }
    }
}

impl Keeping {
    /// Messages for which this condition is true are kept.
    pub fn new(condition: &Condition) -> Self {
        Self { slots: Arc::default(), condition: condition.clone() }
    }

    /// Whether the message is kept.
    pub fn keeps(&self, payload: &[u8]) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        self.condition.holds(payload, &mut slots) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shedding(config: &str) -> (Shedding, Load) {
        let load = Load::default();
        (Shedding::new(&toml::from_str(config).unwrap(), load.clone()), load)
    }

    #[test]
    fn the_share_that_is_dropped_rises_from_the_limit_to_the_full_log() {
        let (shedding, load) = shedding("");
        for (part, share) in
            [(0.0, 0.0), (0.5, 0.0), (0.6, 0.2), (0.75, 0.5), (1.0, 1.0), (1.2, 1.0)]
        {
            load.set(part);
            assert!((shedding.share() - share).abs() < 1e-6, "{part}: {}", shedding.share());
            let dropped = (0..1000).filter(|n| shedding.takes(b"", *n as f32 / 1000.0)).count();
            assert!(dropped.abs_diff((share * 1000.0) as usize) <= 1, "{part}: {dropped}");
        }
    }

    #[test]
    fn what_is_to_be_kept_is_never_dropped() {
        let (shedding, load) = shedding("above_percent = 0\nkeep = \"kind = 'order'\"");
        load.set(1.0);
        for (payload, is_taken) in
            [(r#"{"kind":"order"}"#, false), (r#"{"kind":"ping"}"#, true), ("{}", true), ("", true)]
        {
            assert_eq!(shedding.takes(payload.as_bytes(), 0.999), is_taken, "{payload}");
        }
    }
}
