use super::*;
use crate::simulate::SyntheticOptions;

#[tokio::test]
async fn a_rate_that_is_none_is_refused_and_nothing_panics() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let feed = Feed::synthetic(SyntheticOptions::default()).unwrap();
        let refused = RunningFeed::start(feed, Pace::Rate(rate), None).await.err().unwrap();
        assert!(matches!(refused, Error::Feed(_)), "{refused}");
    }
}

#[test]
fn the_collector_s_limit_is_read_with_a_source_s_name_and_without() {
    for dump in [
        "[event]\nid = \"/a\"\n[source]\nurl = \"ws://x\"\nmax_message_bytes = 7\n",
        "[source.rsvps]\nurl = \"ws://x\"\nmax_message_bytes = 7\n[log]\npath = \"x\"\n",
    ] {
        let feed = Feed::synthetic(SyntheticOptions::default()).unwrap();
        let feed = Taken::parse(dump).unwrap().fit(feed);
        assert_eq!(feed.longest_message(), 7);
    }
}
