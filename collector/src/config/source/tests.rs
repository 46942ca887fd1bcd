use super::*;

fn sources(text: &str) -> Result<Sources, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
}

#[test]
fn without_a_section_there_is_the_default_source_and_with_one_there_is_no_other() {
    let none = sources("").unwrap();
    assert_eq!(none.iter().collect::<Vec<_>>(), [("rsvps", &Source::rsvps())]);
    assert_eq!(none.problems(), Vec::<String>::new());
    let one = sources("[wiki]\nurl = 'wss://feed/a'").unwrap();
    let (name, source) = one.iter().next().unwrap();
    assert_eq!((name, source.url.reveal()), ("wiki", "wss://feed/a"));
    assert_eq!(source.resume, Resume::None, "a feed cannot resume unless its section says so");
    assert_eq!(one.problems(), Vec::<String>::new());
}

#[test]
fn several_sources_have_a_section_each_and_their_problems_name_it() {
    let two = sources("[a]\nurl = 'wss://feed/a'\n[b]\nurl = 'https://feed/b'").unwrap();
    assert_eq!(two.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    let problems = two.problems();
    assert!(matches!(&problems[..], [one] if one.starts_with("source.b.url")), "{problems:?}");
}

#[test]
fn everything_reads_as_it_is_documented() {
    let text = r#"
        [x_1]
        kind = "websocket"
        url = "wss://ada:s3cret@feed/a?token=s3cret"
        headers = { X-Key = "s3cret" }
        headers_from_file = "/run/secrets/headers"
        first_message = ["s3cret", "two"]
        silence_timeout = "30s"
        framing = { array = "/params/message" }
        resume = { query = "since", from = "time" }
    "#;
    let sources = sources(text).unwrap();
    assert_eq!(sources.problems(), Vec::<String>::new());
    let (_, source) = sources.iter().next().unwrap();
    assert_eq!(source.silence_timeout, Some(Duration::from_secs(30)));
    assert_eq!(source.resume, Resume::Query("since".to_owned()));
    assert_eq!(source.first_message.0.len(), 2);
    for shown in [toml::to_string(&sources).unwrap(), format!("{sources:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn a_cursor_is_not_used_for_another_address_unless_the_feed_is_named() {
    let cursor_of = |text: &str| {
        let sources = sources(&format!("[x]\n{text}")).unwrap();
        sources.iter().next().unwrap().1.cursor_of()
    };
    let one = cursor_of("url = 'wss://ada:s3cret@feed/a?token=s3cret'");
    assert!(!one.contains("s3cret"), "{one}");
    assert_eq!(one, cursor_of("url = 'wss://feed:443/a?token=other'"), "a new token, same feed");
    for other in ["wss://feed/b", "wss://feed:444/a", "wss://other/a"] {
        assert_ne!(one, cursor_of(&format!("url = '{other}'")), "{other}");
    }
    let named = |url: &str| cursor_of(&format!("url = '{url}'\nfeed = 'wiki'"));
    assert_eq!(named("wss://feed/a"), named("wss://other/b"), "a feed that moved");
}

#[test]
fn a_source_that_cannot_work_is_refused_with_its_key() {
    for (text, key) in [
        ("url = ''", "source.x.url"),
        ("url = 'ws://a b'", "source.x.url"),
        ("url = ' ws://a'", "source.x.url"),
        ("url = 'ws://'", "source.x.url"),
        ("url = 'ws://a:99999/'", "source.x.url"),
        ("url = 'http://feed/a'", "source.x.url"),
        ("url = 'feed:80'", "source.x.url"),
        ("url = 'ws://a/b#c'", "source.x.url"),
        ("url = 'ws://a'\nsilence_timeout = '0s'", "source.x.silence_timeout"),
        ("url = 'ws://a'\nheaders = { Upgrade = 'h2c' }", "source.x.headers.Upgrade"),
        ("url = 'ws://:p@a'\nheaders = { authorization = 'x' }", "source.x.headers.auth"),
        ("url = 'ws://a'\nheaders = { 'a b' = 'c' }", "source.x.headers.a b"),
        ("url = 'ws://a'\nheaders = { a = \"b\\nc: d\" }", "source.x.headers.a"),
        ("url = 'ws://u:p@a'\nheaders = { authorization = 'x' }", "source.x.headers.authorization"),
        ("url = 'ws://a'\nresume = { query = '', from = 'time' }", "source.x.resume"),
        ("url = 'ws://a'\nping_interval_ms = 0", "source.x.ping_interval_ms"),
        ("url = 'ws://a'\nreconnect_cap_ms = 1", "source.x.reconnect_cap_ms"),
        ("url = 'ws://a'\nmax_message_bytes = 104857600", "source.x.max_message_bytes"),
    ] {
        let problems = sources(&format!("[x]\n{text}")).unwrap().problems();
        assert!(matches!(&problems[..], [one] if one.starts_with(key)), "{text}: {problems:?}");
    }
    for name in ["Wiki", "wi-ki", "\"\""] {
        let problems = sources(&format!("[{name}]\nurl = 'ws://a'")).unwrap().problems();
        assert!(matches!(&problems[..], [one] if one.contains("a–z")), "{name}: {problems:?}");
    }
    for text in [
        "resume = 'later'",
        "resume = { query = 'a', from = 'count' }",
        "silence_timeout = '5'",
        "kind = 'carrier_pigeon'",
        "framing = 'two'",
        "stream = 'a'",
    ] {
        sources(&format!("[x]\nurl = 'ws://a'\n{text}")).unwrap_err();
    }
}
