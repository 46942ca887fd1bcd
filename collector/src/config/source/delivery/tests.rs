use common::event::{Id, Schema};

use super::*;
use crate::config::Mode;

/// The sources of a configuration, or what is wrong with it.
fn sources(text: &str) -> Result<Sources, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
}

#[test]
fn a_source_promises_what_its_kind_can_and_says_what_it_cannot() {
    let problems =
        |keys: &str, mode| sources(&format!("[x]\n{keys}")).unwrap().delivery_problems(mode, false);
    let (once, both) = ("\ndelivery = 'at_most_once'", "\nrelease = 'both'");
    for (keys, is_possible) in [
        ("kind = 'udp'", [true, true]),
        ("kind = 'http_push'", [true, true]),
        ("kind = 'kafka'", [true, true]),
        ("kind = 'file'\npath = 'a'", [true, true]),
        ("kind = 'mqtt'\nurl = 'mqtt://b'", [true, false]),
        ("kind = 'mqtt'\nurl = 'mqtt://b'\nqos = 0", [true, true]),
        ("url = 'ws://a'", [true, true]),
        ("url = 'ws://a'\nresume = { query = 'since', from = 'time' }", [true, false]),
        ("kind = 'sse'\nurl = 'http://a'", [true, true]),
        ("kind = 'long_poll'\nurl = 'http://a'", [true, false]),
        (
            "kind = 'long_poll'\nurl = 'http://a'\nresume = { query = 'a', from = '/b' }",
            [true, true],
        ),
    ] {
        assert_eq!(problems(keys, Mode::Hybrid), Vec::<String>::new(), "the default of {keys}");
        let deliveries = ["\ndelivery = 'at_least_once'", once];
        for (delivery, is_possible) in deliveries.into_iter().zip(is_possible) {
            let found = problems(&format!("{keys}{delivery}"), Mode::Hybrid);
            assert_eq!(found.is_empty(), is_possible, "{keys}{delivery}: {found:?}");
            assert!(found.iter().all(|line| line.starts_with("source.x.delivery: ")), "{found:?}");
        }
    }
    for (keys, mode) in [
        (format!("kind = 'http_push'{both}{once}"), Mode::Hybrid),
        (format!("kind = 'http_push'{both}"), Mode::Off),
        (format!("kind = 'udp'{both}"), Mode::Hybrid),
    ] {
        let found = problems(&keys, mode);
        assert!(matches!(&found[..], [one] if one.starts_with("source.x.release: ")), "{found:?}");
    }
    let udp = problems("kind = 'udp'\ndelivery = 'effectively_once'", Mode::Hybrid);
    assert!(matches!(&udp[..], [one] if one.contains("http_push")), "{udp:?}");
    let place = format!("kind = 'file'\npath = 'a'{once}");
    assert_eq!(problems(&place, Mode::Off).len(), 1, "its place is stored too late");
    assert_eq!(problems(&format!("kind = 'http_push'{both}"), Mode::Pessimistic), [""; 0]);
    for (keys, is_possible) in [
        ("url = 'ws://a'", true),
        ("kind = 'sse'\nurl = 'http://a'", false),
        ("kind = 'udp'", true),
    ] {
        let found = sources(&format!("[x]\n{keys}{once}")).unwrap();
        let found = found.delivery_problems(Mode::Hybrid, true);
        assert_eq!(found.is_empty(), is_possible, "shared by collectors: {keys}: {found:?}");
    }
}

#[test]
fn a_source_that_cannot_be_asked_again_says_so_at_the_start() {
    let without_ids = Schema { id: Id::None, ..Schema::default() };
    for (keys, with_ids, without) in [
        ("url = 'ws://a'", Some("missed"), Some("missed")),
        ("url = 'ws://a'\ndelivery = 'at_most_once'", None, None),
        ("url = 'ws://a'\nresume = { query = 'since', from = 'time' }", None, Some("ids")),
        ("kind = 'http_push'", None, Some("ids")),
        ("kind = 'http_push'\ndelivery = 'at_least_once'", None, None),
        ("kind = 'file'\npath = 'a'", None, None),
        ("kind = 'file'\npath = '-'", Some("missed"), Some("missed")),
        ("kind = 'mqtt'\nqos = 0", Some("missed"), Some("missed")),
        ("kind = 'udp'", None, None),
    ] {
        let read = sources(&format!("[x]\n{keys}")).unwrap();
        let (_, source) = read.iter().next().unwrap();
        for (events, part) in [(&Schema::default(), with_ids), (&without_ids, without)] {
            let caveat = source.caveat(events);
            let is_as_expected =
                caveat.is_none_or(|text| part.is_some_and(|part| text.contains(part)));
            assert!(caveat.is_some() == part.is_some() && is_as_expected, "{keys}: {caveat:?}");
        }
    }
}

#[test]
fn what_a_source_promises_is_shown_also_if_it_is_the_default() {
    let dumped = toml::to_string(&sources("[a]\nkind = 'udp'\n[b]\nkind = 'http_push'").unwrap());
    let dumped = dumped.unwrap();
    for line in
        ["delivery = \"at_least_once\"", "delivery = \"effectively_once\"", "release = \"first\""]
    {
        assert!(dumped.contains(line), "{dumped}");
    }
    let error = sources("[a]\nkind = 'kafka'\ndelivery = 'exactly_once'").unwrap_err();
    assert!(error.contains("source.a.delivery") && error.contains("effectively_once"), "{error}");
}
