//! What the collector takes, so that the feed that `up` serves gives that.

use std::collections::HashMap;

use common::event::Schema;
use serde::Deserialize;

use crate::simulate::Feed;

/// The collector's effective configuration, as far as it matters to a feed.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Taken {
    #[serde(default)]
    event: Schema,
    source: HashMap<String, Limit>,
}

#[derive(Debug, Clone, Deserialize)]
struct Limit {
    max_message_bytes: usize,
}

impl Taken {
    /// Reads what `collector --dump-config` says.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The feed that gives what the collector takes.
    pub fn fit(self, feed: Feed) -> Feed {
        let longest = self.source.values().map(|limit| limit.max_message_bytes).min();
        feed.event(self.event).max_message_bytes(longest.unwrap_or(usize::MAX))
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
    }
}
