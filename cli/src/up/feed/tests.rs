use super::*;
use crate::simulate::SyntheticOptions;

#[tokio::test]
async fn an_invalid_rate_is_refused_and_nothing_panics() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let feed = Feed::synthetic(SyntheticOptions::default()).unwrap();
        let refused = RunningFeed::start(feed, Pace::Rate(rate), None).await.err().unwrap();
        assert!(matches!(refused, Error::Feed(_)), "{refused}");
    }
}
