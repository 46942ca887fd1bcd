use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000_000;

fn of<'a>(events: impl IntoIterator<Item = &'a str>) -> Proposal {
    let (mut shape, mut sample) = (Shape::new(), Sample::default());
    for event in events {
        shape.observe(event.as_bytes(), NOW).unwrap();
        sample.keep(&Bytes::copy_from_slice(event.as_bytes()));
    }
    shape.settle();
    Proposal::of(&shape, &sample)
}

fn id(proposal: &Proposal) -> (Vec<&str>, bool) {
    let id = proposal.identity.as_ref().expect("an id");
    (id.fields.iter().map(String::as_str).collect(), id.complete)
}

fn time(proposal: &Proposal) -> Option<(&str, &str)> {
    proposal.time.as_ref().map(|time| (time.path.as_str(), time.unit.name()))
}

fn list(choices: &[Choice]) -> Vec<&str> {
    choices.iter().map(|choice| choice.path.as_str()).collect()
}

#[test]
fn rsvps_of_meetup() {
    let found = of(include_str!("../../../fixtures/meetup.jsonl").lines());
    assert_eq!(id(&found), (vec!["/rsvp_id"], true), "{found:?}");
    assert_eq!(time(&found), Some(("/mtime", "ms")), "not /event/time, which is in the future");
    assert_eq!(list(&found.items)[0], "/group/group_topics/*/topic_name");
    assert!(list(&found.values).contains(&"/guests"), "{found:?}");
    assert!(!list(&found.values).contains(&"/group/group_lat"));
}

#[test]
fn events_of_bluesky() {
    let found = of(include_str!("../../../fixtures/bluesky.jsonl").lines());
    assert_eq!(id(&found), (vec!["/did", "/time_us"], true), "{found:?}");
    assert_eq!(time(&found), Some(("/time_us", "us")));
    let items = list(&found.items);
    assert!(items[..3].contains(&"/commit/collection"), "{items:?}");
    assert!(items[..3].contains(&"/commit/record/langs/*"), "{items:?}");
}

#[test]
fn messages_of_bitflyer_of_which_none_has_an_id_of_its_own() {
    let found = of(include_str!("../../../fixtures/bitflyer.jsonl").lines());
    assert_eq!(id(&found), (vec!["/params/message/tick_id"], false), "{found:?}");
    assert_eq!(time(&found), Some(("/params/message/timestamp", "rfc3339")));
    let items = list(&found.items);
    assert!(items[..2].contains(&"/params/channel"), "{items:?}");
    let values = list(&found.values);
    assert!(values[..4].contains(&"/params/message/mid_price"), "{values:?}");
}

#[test]
fn edits_of_wikipedia_without_an_id() {
    let found = of(include_str!("../../../fixtures/wikipedia.jsonl").lines());
    let (fields, complete) = id(&found);
    assert!(complete && fields[1] == "/time", "{found:?}");
    assert_eq!(time(&found), Some(("/time", "rfc3339")));
    let items = list(&found.items);
    assert!(items[..3].contains(&"/channel"), "{items:?}");
    assert!(!items.contains(&"/comment"), "{items:?}");
    assert!(list(&found.values)[..3].contains(&"/delta"), "{found:?}");
}

#[test]
fn trades_with_prices_as_texts() {
    let events: Vec<String> = (0..60_i64)
        .map(|at| {
            let second = at % 60;
            let product = ["BTC-USD", "ETH-USD", "SOL-USD"][at as usize % 3];
            format!(
                r#"{{"type":"match","trade_id":{},"product_id":"{product}","price":"{}.{:02}","size":"0.0{at}1","time":"2027-01-15T08:00:{second:02}.{at:03}000Z"}}"#,
                900_000 + at,
                100_000 + at * 3,
                at
            )
        })
        .collect();
    let found = of(events.iter().map(String::as_str));
    assert_eq!(id(&found), (vec!["/trade_id"], true));
    assert_eq!(time(&found), Some(("/time", "rfc3339")));
    assert_eq!(list(&found.items), ["/product_id"]);
    assert_eq!(list(&found.values), ["/price", "/size"]);
}

#[test]
fn a_field_that_other_events_share_is_no_id() {
    let events: Vec<String> = (0..40_i64)
        .map(|at| {
            format!(
                r#"{{"device_id":"d{}","ts":{},"a":{at},"b":"x{at}","c":{}}}"#,
                at % 30,
                NOW / 1_000 + at,
                at * at
            )
        })
        .collect();
    let found = of(events.iter().map(String::as_str));
    assert_eq!(id(&found), (vec!["/device_id", "/ts"], true), "{found:?}");
    assert_eq!(time(&found), Some(("/ts", "s")));
    assert!(found.time.is_some_and(|time| time.why.contains("of the present")));
}

#[test]
fn an_id_that_looks_like_a_time_is_none() {
    let events: Vec<String> = (0..30_i64)
        .map(|at| format!(r#"{{"order_id":{},"n":{at}}}"#, 1_540_021_212 + at))
        .collect();
    let found = of(events.iter().map(String::as_str));
    assert_eq!(time(&found), None);
    assert_eq!(id(&found).0, ["/order_id"]);
}

#[test]
fn a_time_ahead_of_the_clock_is_none() {
    let events: Vec<String> = (0..30_i64)
        .map(|at| format!(r#"{{"starts_at":{},"n":{at}}}"#, NOW + 864_000_000 + at * 60_000))
        .collect();
    assert_eq!(time(&of(events.iter().map(String::as_str))), None);
}

#[test]
fn a_path_through_a_map_is_never_proposed() {
    let events: Vec<String> = (0..200)
        .map(|at| format!(r#"{{"by":{{"u{at}":{{"name":"a{}","score":{at}.5}}}}}}"#, at % 3))
        .collect();
    let found = of(events.iter().map(String::as_str));
    assert_eq!((list(&found.items).len(), list(&found.values).len()), (0, 0), "{found:?}");
}

proptest! {
    #[test]
    fn what_is_proposed_can_be_used(
        names in prop::collection::vec("[a-z~/_*{}]{1,6}", 1..5), rows in prop::collection::vec(
            prop::collection::vec(prop_oneof![
                any::<u32>().prop_map(|n| n.to_string()),
                (0..3_u8).prop_map(|n| format!("\"v{n}\"")),
                any::<bool>().prop_map(|b| b.to_string()),
                (NOW - 1_000..NOW).prop_map(|n| n.to_string()),
            ], 5), 1..20),
    ) {
        let events: Vec<String> = rows.iter().map(|row| {
            let members: std::collections::BTreeMap<_, _> = names.iter().zip(row).collect();
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        }).collect();
        let found = of(events.iter().map(String::as_str));
        // Members of these names cannot be named.
        let is_nameless = |name: &str| name == "*" || name == "{}";
        let Some(id) = &found.identity else {
            prop_assert!(names.iter().all(|name| is_nameless(name)));
            return Ok(());
        };
        if id.complete {
            let fields: Vec<_> = id.fields.iter().map(|field| field.parse().unwrap()).collect();
            let schema = common::event::Schema {
                id: common::event::Id::Fields(fields), time: None, ..common::event::Schema::default()
            };
            prop_assert_eq!(schema.problems(), Vec::<String>::new());
            for event in &events {
                prop_assert!(common::event::identity::identify(event.as_bytes(), &schema).is_ok());
            }
        }
        for path in list(&found.items).into_iter().chain(list(&found.values)) {
            prop_assert!(path.parse::<common::event::Pointer>().is_ok());
            prop_assert!(!is_nameless(&path[1..]), "{path}");
        }
    }
}
