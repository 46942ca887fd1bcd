//! What collectors tell between the events.

use common::event::control::Control;
use common::result::missed::{Cause, Interval, Missed};

use super::*;

#[test]
fn what_a_collector_tells_is_no_event_and_a_copy_of_it_changes_nothing() {
    let interval = |to_ms, cause, events| Interval {
        source: "orders".to_owned(),
        cause,
        from_ms: None,
        to_ms,
        events,
    };
    let mut feed = Feed::new();
    assert_eq!(feed.at("1", 0, 0), Outcome::Counted);
    let records = [
        (7, interval(5, Cause::Gap, None)),
        (8, interval(6, Cause::Shed, Some(30))),
        (7, interval(5, Cause::Gap, None)),
    ];
    for (id, interval) in records {
        let (_, payload) = Control::missed(id, interval);
        let payload = String::from_utf8(payload).unwrap();
        assert_eq!(feed.record("mr-control", 0, &payload), Outcome::Control);
        assert_eq!(feed.record("1", 0, &payload), Outcome::Undecodable(Reason::MissingId));
    }
    assert_eq!(feed.record("mr-control", 0, r#"{"mr_control":{"new":5}}"#), Outcome::Control);
    assert_eq!(feed.at("mr-control", 0, 0), Outcome::Counted, "an event may have any key");
    let progress = feed.tally.progress();
    let Missed { gaps, shed, last, .. } = &progress.missed;
    assert_eq!((*gaps, *shed, last.len()), (1, 30, 2));
    assert_eq!((progress.events, progress.undecodable, progress.duplicates), (2, 3, 0));
}
