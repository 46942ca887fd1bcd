//! What a source promises: the keys `delivery` and `release`.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::event::{Id, Schema};
use serde::{Deserialize, Serialize};

use super::{Resume, Source, Sources};
use crate::config::Mode;

#[cfg(test)]
mod tests;

/// How often an event of a source may be in Kafka after a crash, from its receipt on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It is acknowledged on receipt, and what a crash leaves in the log is not sent: none is there twice, some may be lost.
    AtMostOnce,
    /// It is acknowledged when it is safe, and what a crash leaves in the log is sent, whether Kafka has it or not: none is
    /// lost, some may be there twice.
    AtLeastOnce,
    /// It is acknowledged when it is safe, and what a crash leaves in the log is looked for in Kafka: none is lost, and none
    /// counts twice.
    #[default]
    EffectivelyOnce,
}

/// When a message of a source is safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// As soon as it is on disk or Kafka has it.
    #[default]
    First,
    /// When it is on disk and Kafka has it.
    Both,
}

// === impl Sources ===

impl Sources {
    /// The names of those whose events are sent once at most.
    pub fn at_most_once(&self) -> BTreeSet<Arc<str>> {
        let once = |source: &Source| source.common().delivery == Delivery::AtMostOnce;
        self.iter().filter(|(_, source)| once(source)).map(|(name, _)| name.into()).collect()
    }

    /// Whether all of them send their events once at most.
    pub fn are_at_most_once(&self) -> bool {
        self.iter().all(|(_, source)| source.common().delivery == Delivery::AtMostOnce)
    }

    /// Whether any of them needs that what a crash leaves in the log is looked for in Kafka. Datagrams seldom have ids that would
    /// tell copies apart.
    pub fn look(&self) -> bool {
        self.iter().any(|(_, source)| {
            source.common().delivery != Delivery::AtLeastOnce || matches!(source, Source::Udp(_))
        })
    }

    /// What is wrong with what they promise, one line for each fault, which begins with the key.
    /// `is_shared`: several collectors may follow a feed, one after another.
    pub(in crate::config) fn delivery_problems(&self, mode: Mode, is_shared: bool) -> Vec<String> {
        let problems = self.iter().flat_map(|(name, source)| {
            let found = [
                source.delivery_problem(mode),
                source.sharing_problem().filter(|_| is_shared),
                source.release_problem(mode),
            ];
            found.into_iter().flatten().map(move |problem| format!("source.{name}.{problem}"))
        });
        problems.collect()
    }
}

// === impl Source ===

impl Source {
    /// What its delivery cannot promise, in a sentence.
    pub fn caveat(&self, events: &Schema) -> Option<&'static str> {
        let delivery = self.common().delivery;
        if delivery == Delivery::AtMostOnce {
            return None;
        }
        // Whoever sends datagrams expects no more.
        if matches!(self, Self::Udp(_)) {
            return None;
        }
        if !self.can_repeat() {
            return Some(
                "what is sent while nobody reads is missed, because the source cannot be asked for it; what was read and \
                 not logged is lost with a killed process. The delivery that is set is promised from the log on",
            );
        }
        // Its place is stored with each message, unless it waits for Kafka.
        let is_exact = matches!(self, Self::File(_)) && self.common().release == Release::First;
        (delivery == Delivery::EffectivelyOnce && events.id == Id::None && !is_exact).then_some(
            "events have no ids (event.id = \"none\"), so that what the source sends again after an interruption counts twice",
        )
    }

    /// Whether what was not acknowledged, or comes after the cursor, comes again.
    fn can_repeat(&self) -> bool {
        match self {
            Self::File(file) => !file.is_stdin(),
            Self::Kafka(_) | Self::HttpPush(_) => true,
            Self::Udp(_) => false,
            Self::Mqtt(mqtt) => mqtt.qos > 0,
            Self::Websocket(_) | Self::HttpStream(_) | Self::Sse(_) | Self::LongPoll(_) => {
                self.resume() != Some(&Resume::None)
            }
        }
    }

    /// How a feed is asked for what was missed.
    const fn resume(&self) -> Option<&Resume> {
        match self {
            Self::Websocket(source) => Some(&source.resume),
            Self::HttpStream(source) => Some(&source.resume),
            Self::Sse(source) => Some(&source.resume),
            Self::LongPoll(source) => Some(&source.resume),
            Self::File(_) | Self::Kafka(_) | Self::Mqtt(_) | Self::HttpPush(_) | Self::Udp(_) => {
                None
            }
        }
    }

    fn delivery_problem(&self, mode: Mode) -> Option<&'static str> {
        let delivery = self.common().delivery;
        if delivery != Delivery::AtMostOnce {
            let is_too_much = delivery == Delivery::EffectivelyOnce && matches!(self, Self::Udp(_));
            return is_too_much.then_some(
                "delivery: the network may lose and double datagrams; for \"effectively_once\" use http_push, or remove delivery",
            );
        }
        match (self, self.resume()) {
            (Self::Mqtt(mqtt), _) if mqtt.qos > 0 => Some(
                "delivery: with qos = 1 the broker sends again what it has no acknowledgement for; for \"at_most_once\" set \
                 qos = 0",
            ),
            (_, Some(Resume::Query(_) | Resume::QueryIn(..))) => Some(
                "delivery: a feed that is asked by time sends its last events again; for \"at_most_once\" set resume = \"none\"",
            ),
            (Self::LongPoll(_), Some(Resume::None)) => Some(
                "delivery: each answer may hold what the one before held; for \"at_most_once\" set resume",
            ),
            (Self::File(_), _)
            | (_, Some(Resume::LastEventId | Resume::Answer(..) | Resume::Highest(..)))
                if mode == Mode::Off =>
            {
                Some(
                    "delivery: with log.mode = \"off\" the cursor is stored after Kafka has the events, so that a crash reads \
                     some again; for \"at_most_once\" use another log.mode",
                )
            }
            _ => None,
        }
    }

    fn sharing_problem(&self) -> Option<&'static str> {
        let is_asked = self.resume().is_some_and(|resume| *resume != Resume::None);
        (self.common().delivery == Delivery::AtMostOnce && is_asked).then_some(
            "delivery: with leases.enabled a feed is asked again for what another collector may have read; for \"at_most_once\" set \
             resume = \"none\"",
        )
    }

    fn release_problem(&self, mode: Mode) -> Option<&'static str> {
        if self.common().release == Release::First {
            return None;
        }
        if self.common().delivery == Delivery::AtMostOnce {
            return Some(
                "release: \"at_most_once\" acknowledges on receipt, and waits for nothing; remove release or set another delivery",
            );
        }
        if matches!(self, Self::Udp(_)) {
            return Some("release: nobody waits for an answer to a datagram; remove release");
        }
        (mode == Mode::Off).then_some(
            "release: with log.mode = \"off\" nothing is written to the disk, and Kafka alone is waited for; remove release",
        )
    }
}
