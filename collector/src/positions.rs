//! Up to where the topics need not be searched for records of this log.
//!
//! A producer's records are in a partition in the order in which they were sent, and are acknowledged in it. So when
//! one is acknowledged, those in front of it have been, or were found when the topics were
//! [read back](crate::read_back). If this were ever not so, some entries would be sent a second time, and none be lost.

use std::collections::BTreeMap;

use common::kafka::reader::Span;
use common::kafka::{Kafka, Topic};

/// By topic and partition: the offset before which all records of this log are settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<(Topic, i32), i64>);

impl Positions {
    /// Those that the message log has stored as [`named`](Self::named) gives them.
    pub fn from_named(kafka: &Kafka, stored: &BTreeMap<String, i64>) -> Self {
        let mut positions = Self::default();
        for (name, &offset) in stored {
            let Some((topic, partition)) = name.rsplit_once('/') else { continue };
            let topic = [Topic::Raw, Topic::DeadLetters]
                .into_iter()
                .find(|known| kafka.name(*known) == topic);
            if let (Some(topic), Ok(partition)) = (topic, partition.parse()) {
                positions.raise(topic, partition, offset);
            }
        }
        positions
    }

    /// The same with names, which hold those of the topics: a position is not valid for another topic.
    pub fn named(&self, kafka: &Kafka) -> Vec<(String, i64)> {
        let name = |topic, partition: i32| format!("{}/{partition}", kafka.name(topic));
        self.0.iter().map(|(&(topic, partition), &at)| (name(topic, partition), at)).collect()
    }

    /// All records of this log before `offset` are settled.
    pub fn raise(&mut self, topic: Topic, partition: i32, offset: i64) {
        let position = self.0.entry((topic, partition)).or_insert(offset);
        *position = offset.max(*position);
    }

    /// Does this with all of `other`.
    pub fn raise_all(&mut self, other: &Self) {
        for (&(topic, partition), &offset) in &other.0 {
            self.raise(topic, partition, offset);
        }
    }

    /// Shortens what is to be searched of `topic`. A position beyond the end is of a topic that was made anew.
    pub fn shorten(&self, topic: Topic, spans: &mut BTreeMap<i32, Span>) {
        for (&partition, span) in spans {
            if let Some(&position) = self.0.get(&(topic, partition))
                && position <= span.end
            {
                span.start = span.start.max(position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_by_name_is_valid_for_the_topic_of_that_name_only() {
        let mut kafka = Kafka::default();
        let mut positions = Positions::default();
        positions.raise(Topic::Raw, 3, 17);
        positions.raise(Topic::DeadLetters, 0, 2);
        let stored = positions.named(&kafka).into_iter().collect();
        assert_eq!(Positions::from_named(&kafka, &stored), positions);
        kafka.topics.raw = "another".to_owned();
        let mut left = Positions::default();
        left.raise(Topic::DeadLetters, 0, 2);
        assert_eq!(Positions::from_named(&kafka, &stored), left);
    }

    #[test]
    fn a_position_only_rises() {
        let mut positions = Positions::default();
        positions.raise(Topic::Raw, 0, 5);
        let mut other = Positions::default();
        other.raise(Topic::Raw, 0, 3);
        other.raise(Topic::Raw, 1, 4);
        positions.raise_all(&other);
        let mut spans =
            BTreeMap::from([0, 1].map(|partition| (partition, Span { start: 0, end: 9 })));
        positions.shorten(Topic::Raw, &mut spans);
        assert_eq!((spans[&0].start, spans[&1].start), (5, 4));
    }

    #[test]
    fn a_search_begins_at_the_position_unless_the_topic_was_made_anew_or_the_time_is_later() {
        let mut positions = Positions::default();
        for partition in 0..3 {
            positions.raise(Topic::Raw, partition, 100);
        }
        let spans = [(50, 200), (150, 200), (0, 99), (0, 9)];
        let mut spans: BTreeMap<i32, Span> =
            (0..).zip(spans.map(|(start, end)| Span { start, end })).collect();
        positions.shorten(Topic::Raw, &mut spans);
        let starts: Vec<_> = spans.values().map(|span| span.start).collect();
        assert_eq!(starts, [100, 150, 0, 0]);
    }
}
