//! The presets of live feeds, each against a server that speaks the feed's protocol as its public documentation has it.

use pipeline_tests::{
    Sandbox,
    oracle::{Feed, Id, Oracle, Unit},
    public_feed::{Protocol, PublicFeed},
    sandbox::run,
};

use crate::exact::{TOP, dead_letters};

/// Runs a preset until all lines are in Kafka, and compares the results of the running queries with the oracle. Of the lines of
/// the feed itself none is bad; `others` are messages that are.
fn assert_counts(
    preset: &str,
    feed: &PublicFeed,
    url: &str,
    lines: &[String],
    shape: &Feed<'_>,
    queries: &[&str],
    others: u64,
) {
    let variable = format!("COLLECTOR__SOURCE__{}__URL", preset.to_uppercase());
    let pipeline = Sandbox::builder().memory().argument("--preset").argument(preset).once();
    let pipeline = pipeline.argument("--events").argument(lines.len().to_string());
    let outcome = pipeline.environment(&variable, url).start().finish();
    assert!(outcome.status.success(), "{:?}: {}", outcome.status, outcome.stderr);
    let truth = Oracle::of_feed(lines, shape);
    let (results, summary) = outcome.results();
    for (at, query) in queries.iter().enumerate() {
        let answer = truth.answer(at);
        assert!(answer.total() > 0, "{query} counts something");
        results[*query].assert_exact(&answer, TOP);
    }
    assert_eq!(summary.published - summary.duplicates, truth.events(), "events");
    assert_eq!(dead_letters(&summary), others, "dead letters: {:?}", summary.dead_letters);
    assert!(!feed.requests().is_empty());
}

#[test]
fn trades_of_coinbase_after_a_subscription() {
    let lines: Vec<String> = (0..60)
        .map(|at| {
            format!(
                r#"{{"type":"match","trade_id":{at},"maker_order_id":"m{at}","side":"{}","size":"0.01","price":"{}","product_id":"{}","sequence":{},"time":"2026-11-30T10:00:{:02}.{at:06}Z"}}"#,
                ["buy", "sell"][at % 2],
                ["97000.01", "97000.02", "3500.5"][at % 3],
                ["BTC-USD", "ETH-USD"][at % 2],
                9_000 + at,
                at
            )
        })
        .collect();
    let answer =
        r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#;
    let protocol = Protocol::Socket { subscriptions: 1, answer: Some(answer.to_owned()) };
    let feed = PublicFeed::serve(protocol, lines.clone());
    let shape = Feed {
        id: Id::Fields(&["/product_id", "/trade_id"]),
        time: Some(("/time", Unit::Rfc3339)),
        items: &["/product_id", "/price", "/side"],
    };
    let url = feed.url("ws", "/");
    // The answer to the subscription is no trade.
    assert_counts("coinbase", &feed, &url, &lines, &shape, &["products", "prices", "sides"], 1);
    let requests = feed.requests();
    assert!(requests[1].contains(r#""type":"subscribe""#) && requests[1].contains("matches"));
}

#[test]
fn executions_of_bitflyer_after_two_subscriptions() {
    let lines: Vec<String> = (0..60)
        .map(|at| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"channelMessage","params":{{"channel":"lightning_executions_{}","message":[{{"id":{at},"side":"{}","price":{}.0,"size":0.01}}]}}}}"#,
                ["BTC_JPY", "FX_BTC_JPY"][at % 2],
                ["BUY", "SELL"][at % 2],
                5_860_000 + at % 7
            )
        })
        .collect();
    let protocol = Protocol::Socket { subscriptions: 2, answer: None };
    let feed = PublicFeed::serve(protocol, lines.clone());
    let shape = Feed {
        id: Id::Payload,
        time: None,
        items: &["/params/message/*/side", "/params/message/*/price", "/params/channel"],
    };
    let url = feed.url("ws", "/json-rpc");
    assert_counts("bitflyer", &feed, &url, &lines, &shape, &["sides", "prices", "channels"], 0);
}

#[test]
fn posts_of_bluesky() {
    let lines: Vec<String> = (0..60_u64)
        .map(|at| {
            format!(
                r#"{{"did":"did:plc:{}","time_us":{},"kind":"commit","commit":{{"operation":"create","collection":"app.bsky.feed.{}","record":{{"langs":["{}"],"facets":[{{"features":[{{"$type":"app.bsky.richtext.facet#tag","tag":"t{}"}}]}}]}}}}}}"#,
                at % 9,
                1_783_175_888_085_434 + at * 1_000_123,
                ["like", "post"][at as usize % 2],
                ["de", "pt", "ja"][at as usize % 3],
                at % 5
            )
        })
        .collect();
    let feed =
        PublicFeed::serve(Protocol::Socket { subscriptions: 0, answer: None }, lines.clone());
    let shape = Feed {
        id: Id::Fields(&["/did", "/time_us"]),
        time: Some(("/time_us", Unit::Us)),
        items: &[
            "/commit/record/facets/*/features/*/tag",
            "/commit/collection",
            "/commit/record/langs/*",
        ],
    };
    let url = feed.url("ws", "/subscribe");
    let queries = ["hashtags", "collections", "languages"];
    assert_counts("bluesky", &feed, &url, &lines, &shape, &queries, 0);
}

#[test]
fn changes_of_wikimedia_by_server_sent_events() {
    let lines: Vec<String> = (0..60)
        .map(|at| {
            format!(
                r#"{{"meta":{{"id":"{at:08}-aaaa-4bbb-8ccc-0123456789ab","dt":"2026-11-30T10:00:{:02}.{at:03}Z","domain":"en.wikipedia.org"}},"id":{at},"type":"edit","title":"Page {}","user":"User{}","wiki":"{}","bot":false}}"#,
                at,
                at % 7,
                at % 5,
                ["enwiki", "dewiki", "wikidatawiki"][at % 3]
            )
        })
        .collect();
    let feed = PublicFeed::serve(Protocol::Events { of: "message" }, lines.clone());
    let shape = Feed {
        id: Id::Fields(&["/meta/id"]),
        time: Some(("/meta/dt", Unit::Rfc3339)),
        items: &["/title", "/wiki", "/user"],
    };
    let url = feed.url("http", "/v2/stream/recentchange");
    assert_counts("wikimedia", &feed, &url, &lines, &shape, &["pages", "wikis", "users"], 0);
    let request = feed.requests()[0].to_lowercase();
    assert!(request.contains("user-agent: millrace"), "{request}");
}

#[test]
fn posts_of_mastodon_without_its_other_events() {
    let lines: Vec<String> = (0..60)
        .map(|at| {
            format!(
                r#"{{"id":"1157{at:04}","created_at":"2026-11-30T10:00:{:02}.000Z","language":"{}","tags":[{{"name":"t{}","url":"https://example.org/t"}},{{"name":"all","url":"https://example.org/a"}}],"application":{{"name":"Web"}},"account":{{"id":"7"}}}}"#,
                at,
                ["en", "ja"][at % 2],
                at % 5
            )
        })
        .collect();
    let feed = PublicFeed::serve(Protocol::Events { of: "update" }, lines.clone());
    let shape = Feed {
        id: Id::Fields(&["/id"]),
        time: Some(("/created_at", Unit::Rfc3339)),
        items: &["/tags/*/name", "/language", "/application/name"],
    };
    let url = feed.url("http", "/api/v1/streaming/public");
    assert_counts("mastodon", &feed, &url, &lines, &shape, &["tags", "languages", "apps"], 0);
}

#[test]
fn events_of_github_by_polling() {
    let lines: Vec<String> = (0..60)
        .map(|at| {
            format!(
                r#"{{"id":"4{at:09}","type":"{}","actor":{{"id":{at},"login":"p{}"}},"repo":{{"id":1,"name":"o/r{}"}},"payload":{{"action":"started"}},"public":true,"created_at":"2026-11-30T10:00:{:02}Z"}}"#,
                ["WatchEvent", "PushEvent"][at % 2],
                at % 5,
                at % 7,
                at
            )
        })
        .collect();
    let feed = PublicFeed::serve(Protocol::Polled { page: 30 }, lines.clone());
    let shape = Feed {
        id: Id::Fields(&["/id"]),
        time: Some(("/created_at", Unit::Rfc3339)),
        items: &["/repo/name", "/type", "/actor/login"],
    };
    let url = feed.url("http", "/events");
    // Two answers: the preset asks every minute, so that the test asks more often.
    let interval = ("COLLECTOR__SOURCE__GITHUB__INTERVAL", "1s");
    let pipeline = Sandbox::builder().memory().argument("--preset").argument("github").once();
    let pipeline = pipeline.argument("--events").argument("60");
    let pipeline = pipeline.environment("COLLECTOR__SOURCE__GITHUB__URL", &url);
    let outcome = pipeline.environment(interval.0, interval.1).start().finish();
    assert!(outcome.status.success(), "{:?}: {}", outcome.status, outcome.stderr);
    let truth = Oracle::of_feed(&lines, &shape);
    let (results, summary) = outcome.results();
    for (at, query) in ["repositories", "types", "people"].iter().enumerate() {
        results[*query].assert_exact(&truth.answer(at), TOP);
    }
    assert_eq!((summary.published, dead_letters(&summary)), (60, 0));
    let requests = feed.requests();
    assert!(requests[1].to_lowercase().contains("if-none-match: \"30\""), "{requests:?}");
}

#[test]
fn the_presets_are_listed_and_one_can_be_printed_and_changed() {
    let listed = run("millrace", &["presets"], &[]);
    let listed = String::from_utf8(listed.stdout).expect("text");
    let names: Vec<&str> = listed
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names.len(), 8, "{listed}");
    for name in names {
        let one = run("millrace", &["presets", name], &[]);
        assert!(String::from_utf8_lossy(&one.stdout).contains("[event]"), "{name}");
    }
    let unknown = run("millrace", &["presets", "blusky"], &[]);
    assert_eq!(unknown.status.code(), Some(66));
    let unknown = run("millrace", &["up", "--preset", "blusky"], &[]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && said.contains("bluesky"), "{said}");
}

#[test]
fn a_preset_of_a_recording_needs_one() {
    let wikipedia = run("millrace", &["up", "--memory", "--preset", "wikipedia"], &[]);
    assert_eq!(wikipedia.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wikipedia.stderr).contains("--recording"));
}

#[test]
fn a_feed_that_does_not_end_needs_a_limit() {
    let once = run("millrace", &["up", "--memory", "--once", "--preset", "coinbase"], &[]);
    assert_eq!(once.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&once.stderr).contains("--for"));
}
