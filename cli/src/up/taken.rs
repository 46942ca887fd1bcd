//! The parts of the collector's configuration to which the feed of `up` has to be adapted.

use std::collections::HashMap;

use common::event::Schema;
use common::expr::Condition;
use serde::Deserialize;

use crate::simulate::Feed;

/// The collector's effective configuration, as far as it matters for a feed.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Taken {
    #[serde(default)]
    event: Schema,
    source: HashMap<String, Limit>,
}

#[derive(Debug, Clone, Deserialize)]
struct Limit {
    /// A source that is sent to has none.
    max_message_bytes: Option<usize>,
    /// Which events it takes.
    keep: Option<Condition>,
}

impl Taken {
    /// Reads the output of `collector --dump-config`.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Adapts the feed: to the collector's longest message, to the events that it takes, and to the place of the event time.
    pub fn fit(self, feed: Feed) -> Feed {
        let longest = self.source.values().filter_map(|limit| limit.max_message_bytes).min();
        let keep = self.source.into_values().find_map(|limit| limit.keep);
        feed.event(self.event).max_message_bytes(longest.unwrap_or(usize::MAX)).keep(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::SyntheticOptions;

    #[test]
    fn the_feed_keeps_to_the_collectors_limit() {
        let dump = "[source.rsvps]\nurl = \"ws://x\"\nmax_message_bytes = 7\n[log]\npath = \"x\"\n";
        let feed = Feed::synthetic(SyntheticOptions::default()).unwrap();
        assert_eq!(Taken::parse(dump).unwrap().fit(feed).longest_message(), 7);
        let sent_to = "[source.orders]\nkind = \"http_push\"\n";
        let feed = Feed::synthetic(SyntheticOptions::default()).unwrap();
        assert_eq!(Taken::parse(sent_to).unwrap().fit(feed).longest_message(), usize::MAX);
    }
}
