use std::time::Duration;

use super::*;

fn sources(text: &str) -> Result<Sources, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
}

fn websocket(sources: &Sources) -> (&str, &Websocket) {
    let Some((name, Source::Websocket(source))) = sources.iter().next() else {
        panic!("{sources:?}")
    };
    (name, source)
}

#[test]
fn without_a_section_there_is_the_default_source_and_with_one_there_is_no_other() {
    let none = sources("").unwrap();
    assert_eq!(none.iter().collect::<Vec<_>>(), [("rsvps", &Websocket::rsvps().into())]);
    assert_eq!(none.problems(&Cluster::default()), Vec::<String>::new());
    let one = sources("[wiki]\nurl = 'wss://feed/a'").unwrap();
    let (name, source) = websocket(&one);
    assert_eq!((name, source.connect.url.reveal()), ("wiki", "wss://feed/a"));
    assert_eq!(source.resume, Resume::None, "a feed cannot resume unless its section says so");
    assert_eq!(one.problems(&Cluster::default()), Vec::<String>::new());
}

#[test]
fn several_sources_have_a_section_each_and_their_problems_name_it() {
    let two = sources("[a]\nurl = 'wss://feed/a'\n[b]\nurl = 'https://feed/b'").unwrap();
    assert_eq!(two.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    let problems = two.problems(&Cluster::default());
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
    assert_eq!(sources.problems(&Cluster::default()), Vec::<String>::new());
    let (_, source) = websocket(&sources);
    assert_eq!(source.connect.silence_timeout, Some(Duration::from_secs(30)));
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
        (
            "kind = 'long_poll'\nurl = 'http://a'\nsilence_timeout = '5s'",
            "source.x.silence_timeout",
        ),
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
        let problems = sources(&format!("[x]\n{text}")).unwrap().problems(&Cluster::default());
        assert!(matches!(&problems[..], [one] if one.starts_with(key)), "{text}: {problems:?}");
    }
    for name in ["Wiki", "wi-ki", "\"\""] {
        let problems =
            sources(&format!("[{name}]\nurl = 'ws://a'")).unwrap().problems(&Cluster::default());
        assert!(matches!(&problems[..], [one] if one.contains("a–z")), "{name}: {problems:?}");
    }
    for text in [
        "resume = 'later'",
        "resume = { query = 'a', from = 'count' }",
        "silence_timeout = '5'",
        "kind = 'carrier_pigeon'",
        "framing = 'two'",
        "kind = 1",
        "stream = 'a'",
        "ping_interval_ms = 'a'",
        "headers = { a = 1 }",
    ] {
        let why = sources(&format!("[x]\nurl = 'ws://a'\n{text}")).unwrap_err();
        let (key, _) = text.split_once(' ').unwrap();
        assert!(why.contains(&format!("source.x.{key}: ")), "{text}: {why}");
    }
}

#[test]
fn a_key_that_another_kind_has_is_refused_with_those_that_this_kind_has() {
    let why = sources("[x]\nurl = 'ws://a'\nlisten = '[::]:80'").unwrap_err();
    assert!(
        why.contains(r#"source.x.listen: a source of kind "websocket" has no such key"#),
        "{why}"
    );
    for key in ["kind", "url", "ping_interval_ms", "max_event_bytes", "resume", "ca_file"] {
        assert!(why.contains(&format!(" {key}")), "{key}: {why}");
    }
}

#[test]
fn each_kind_has_its_keys() {
    let text = r#"
        [stream]
        kind = "http_stream"
        url = "https://feed/a"
        framing = "concatenated"
        idle_timeout = "30s"
        bearer_token_file = "/run/secrets/token"
        [edits]
        kind = "sse"
        url = "https://feed/b"
        events = ["update"]
        certificate_file = "/run/secrets/tls.crt"
        key_file = "/run/secrets/tls.key"
        [commits]
        kind = "long_poll"
        url = "https://feed/c"
        interval = "60s"
        answer_timeout = "2m"
        resume = { query = "since", highest = "/id" }
        [pages]
        kind = "long_poll"
        url = "https://feed/d"
        framing = { array = "/items" }
        resume = { query = "after", from = "/next" }
    "#;
    let sources = sources(text).unwrap();
    assert_eq!(sources.problems(&Cluster::default()), Vec::<String>::new());
    let of = |name: &str| sources.iter().find(|(other, _)| *other == name).unwrap().1;
    let Source::Sse(edits) = of("edits") else { panic!("{sources:?}") };
    assert_eq!(edits.resume, Resume::LastEventId, "its default");
    let Source::LongPoll(commits) = of("commits") else { panic!("{sources:?}") };
    assert_eq!(commits.resume, Resume::Highest("since".to_owned(), "/id".parse().unwrap()));
    let Source::LongPoll(pages) = of("pages") else { panic!("{sources:?}") };
    assert_eq!(pages.resume, Resume::Answer("after".to_owned(), "/next".parse().unwrap()));
    let cursors: std::collections::BTreeSet<_> =
        sources.iter().map(|(_, source)| source.cursor_of()).collect();
    assert_eq!(cursors.len(), 4);
}

#[test]
fn a_key_that_its_kind_cannot_follow_is_refused() {
    for (text, key) in [
        ("kind = 'http_stream'\nurl = 'ws://a'", "source.x.url"),
        ("kind = 'http_stream'\nurl = 'http://a'\nframing = 'array'", "source.x.framing"),
        ("kind = 'http_stream'\nurl = 'http://a'\nidle_timeout = '0s'", "source.x.idle_timeout"),
        ("kind = 'http_stream'\nurl = 'http://a'\nresume = 'last_event_id'", "source.x.resume"),
        (
            "kind = 'sse'\nurl = 'http://a'\nheaders = { Last-Event-ID = '1' }",
            "source.x.headers.Last",
        ),
        (
            "kind = 'sse'\nurl = 'http://a'\nresume = { query = 'a', from = '/b' }",
            "source.x.resume",
        ),
        ("kind = 'long_poll'\nurl = 'http://a'\ninterval = '0s'", "source.x.interval"),
        (
            "kind = 'long_poll'\nurl = 'http://a'\nresume = { query = 'a', from = 'time' }",
            "source.x.resume",
        ),
        (
            "kind = 'long_poll'\nurl = 'http://a'\nresume = { query = '', from = '/b' }",
            "source.x.resume",
        ),
        (
            "kind = 'long_poll'\nurl = 'http://a'\nresume = { query = 'a', highest = '/*/b' }",
            "source.x.resume",
        ),
        ("url = 'ws://a'\nkey_file = 'k'", "source.x.certificate_file"),
        ("url = 'ws://a'\ncertificate_file = 'c'", "source.x.key_file"),
        ("url = 'ws://u:p@a'\nbearer_token_file = 't'", "source.x.bearer_token_file"),
        (
            "url = 'ws://a'\nbearer_token_file = 't'\nheaders = { Authorization = 'x' }",
            "source.x.headers.Auth",
        ),
    ] {
        let problems = sources(&format!("[x]\n{text}")).unwrap().problems(&Cluster::default());
        assert!(matches!(&problems[..], [one] if one.starts_with(key)), "{text}: {problems:?}");
    }
}

#[test]
fn what_is_dumped_is_read_back() {
    let dumped =
        toml::to_string(&sources("[x]\nurl = 'ws://a'\nframing = 'lines'").unwrap()).unwrap();
    assert_eq!(toml::to_string(&sources(&dumped).unwrap()).unwrap(), dumped);
    assert!(dumped.contains("kind = \"websocket\""), "{dumped}");
}

fn problems(text: &str) -> Vec<String> {
    sources(text).unwrap().problems(&Cluster::default())
}

#[test]
fn a_source_that_is_sent_to_reads_as_it_is_documented() {
    let text = r#"
        [orders]
        kind = "http_push"
        listen = "0.0.0.0:8910"
        token_file = "/run/secrets/tokens"
        secret_file = "/run/secrets/secrets"
        certificate_file = "/run/tls/tls.crt"
        key_file = "/run/tls/tls.key"
        max_body_bytes = 1000
        max_events = 10
        max_connections = 10
        rate_limit = 5000
        header_timeout_ms = 1
        body_timeout_ms = 1
        accept_timeout_ms = 1
        max_event_bytes = 100

        [sensors]
        kind = "udp"
        listen = "[::1]:8911"
        framing = "lines"
        receive_buffer_bytes = 1000000
    "#;
    let sources = sources(text).unwrap();
    assert_eq!(sources.problems(&Cluster::default()), Vec::<String>::new());
    let [("orders", Source::HttpPush(push)), ("sensors", Source::Udp(udp))] =
        sources.iter().collect::<Vec<_>>()[..]
    else {
        panic!("{sources:?}")
    };
    assert_eq!((push.common.max_event_bytes, push.common.rate_limit), (100, Some(5000)));
    assert_eq!(udp.framing, crate::config::Framing::Lines);
    let again: Sources = toml::from_str(&toml::to_string(&sources).unwrap()).unwrap();
    assert_eq!(again, sources);
}

#[test]
fn beyond_this_machine_nobody_is_listened_to_without_tls_and_a_token_unless_that_is_said() {
    let push = |keys: &str| {
        let found = problems(&format!("[a]\nkind = 'http_push'\n{keys}"));
        assert!(found.iter().all(|problem| problem.starts_with("source.a.")), "{found:?}");
        found.len()
    };
    let (anywhere, tls) = ("listen = '[::]:8910'", "certificate_file = 'c'\nkey_file = 'k'");
    assert_eq!(push(""), 0);
    assert_eq!(push(anywhere), 2);
    assert_eq!(push(&format!("{anywhere}\ninsecure = true")), 1);
    assert_eq!(push(&format!("{anywhere}\n{tls}")), 1);
    assert_eq!(push(&format!("{anywhere}\ninsecure = true\ntoken_file = 't'")), 0);
    assert_eq!(push(&format!("{anywhere}\n{tls}\nsecret_file = 's'")), 0);
    assert_eq!(push("certificate_file = 'c'"), 1);
    assert_eq!(push("max_body_bytes = 100000000"), 1);
    assert_eq!(push("rate_limit = 0\nmax_events = 0"), 2);
    assert_eq!(problems("[a]\nkind = 'udp'"), Vec::<String>::new());
    assert_eq!(problems("[a]\nkind = 'udp'\nlisten = '0.0.0.0:1'").len(), 1);
    assert_eq!(problems("[a]\nkind = 'udp'\nlisten = '0.0.0.0:1'\ninsecure = true").len(), 0);
    assert_eq!(problems("[a]\nkind = 'udp'\nreceive_buffer_bytes = 0").len(), 1);
}

#[test]
fn a_file_has_a_path_and_only_one_source_reads_the_standard_input() {
    let text = r#"
        [log]
        kind = "file"
        path = "/var/log/app.log"
        follow = true
        rate_limit = 1000
        framing = "lines"
        max_message_bytes = 1000000
        max_event_bytes = 100000
    "#;
    let read = sources(text).unwrap();
    assert_eq!(read.problems(&Cluster::default()), Vec::<String>::new());
    let again: Sources = toml::from_str(&toml::to_string(&read).unwrap()).unwrap();
    assert_eq!(again, read);
    for (keys, key) in [
        ("", "source.a.path"),
        ("path = '-'\nfollow = true", "source.a.follow"),
        ("path = 'a'\nrate_limit = 0", "source.a.rate_limit"),
        ("path = 'a'\nframing = 'array'", "source.a.framing"),
        ("path = 'a'\nmax_message_bytes = 100000000", "source.a.max_message_bytes"),
    ] {
        let found = problems(&format!("[a]\nkind = 'file'\n{keys}"));
        assert!(matches!(&found[..], [one] if one.starts_with(key)), "{keys}: {found:?}");
    }
    let twice = "[a]\nkind = 'file'\npath = '-'\n[b]\nkind = 'file'\npath = '-'";
    assert!(problems(twice)[0].contains("standard input"));
}

#[test]
fn topics_are_read_by_a_group_of_any_cluster_but_not_those_that_are_published() {
    let text = r#"
        [orders]
        kind = "kafka"
        brokers = "other:9092"
        topics = ["orders", "returns"]
        group = "millrace-orders"
        start = "latest"
        framing = "lines"
        max_message_bytes = 1000000
        max_event_bytes = 100000
        properties = { "security.protocol" = "SSL", "ssl.key.password" = "s3cret" }
        property_files = { "sasl.password" = "/run/secrets/password" }
    "#;
    let read = sources(text).unwrap();
    assert_eq!(read.problems(&Cluster::default()), Vec::<String>::new());
    assert!(!format!("{read:?}").contains("s3cret"));
    for (keys, key) in [
        ("group = 'g'", "source.a.topics"),
        ("topics = ['a']", "source.a.group"),
        ("topics = ['^a.*']\ngroup = 'g'", "source.a.topics"),
        ("topics = ['a']\ngroup = 'g'\nproperties = { 'acks' = 'all' }", "source.a.properties"),
        (
            "topics = ['a']\ngroup = 'g'\nbrokers = 'b'\nproperties = { 'nope' = '1' }",
            "source.a.properties",
        ),
        (
            "topics = ['a']\ngroup = 'g'\nbrokers = 'b'\nproperties = { 'group.id' = '1' }",
            "source.a.properties",
        ),
        ("topics = ['raw-rsvps']\ngroup = 'g'", "source.a.topics: raw-rsvps"),
        ("topics = ['raw-rsvps-dlq']\ngroup = 'g'", "source.a.topics: raw-rsvps-dlq"),
        (
            "topics = ['raw-rsvps']\ngroup = 'g'\nbrokers = 'x:1, LOCALHOST:9092'",
            "source.a.topics: raw-rsvps",
        ),
    ] {
        let found = problems(&format!("[a]\nkind = 'kafka'\n{keys}"));
        assert!(matches!(&found[..], [one] if one.starts_with(key)), "{keys}: {found:?}");
    }
    let elsewhere =
        "[a]\nkind = 'kafka'\ntopics = ['raw-rsvps']\ngroup = 'g'\nbrokers = 'other:9092'";
    assert_eq!(
        problems(elsewhere),
        Vec::<String>::new(),
        "a topic of this name of another cluster"
    );
}

#[test]
fn an_mqtt_broker_has_topics_and_a_session_and_no_headers() {
    let text = r#"
        [sensors]
        kind = "mqtt"
        url = "mqtts://ada:s3cret@broker"
        version = "3.1.1"
        topics = ["sensors/+/temperature", "$share/millrace/rain/#"]
        qos = 0
        client_id = "millrace-1"
        session_expiry = "24h"
        username = "ada"
        password_file = "/run/secrets/password"
        framing = "lines"
        ca_file = "/etc/ca.pem"
    "#;
    let read = sources(text).unwrap();
    assert_eq!(read.problems(&Cluster::default()), Vec::<String>::new());
    let again: Sources = toml::from_str(&toml::to_string(&read).unwrap()).unwrap();
    assert!(!format!("{again:?}").contains("s3cret"));
    let with = |keys: &str| {
        problems(&format!("[a]\nkind = 'mqtt'\nurl = 'mqtt://b'\ntopics = ['t']\n{keys}"))
    };
    assert_eq!(with(""), Vec::<String>::new());
    for (keys, key) in [
        ("qos = 2", "source.a.qos"),
        ("headers = { a = 'b' }", "source.a.headers"),
        ("session_expiry = '0s'", "source.a.session_expiry"),
    ] {
        let found = with(keys);
        assert!(matches!(&found[..], [one] if one.starts_with(key)), "{keys}: {found:?}");
    }
    for (keys, key) in [
        ("url = 'mqtt://b'", "source.a.topics"),
        ("url = 'mqtt://b'\ntopics = ['a/#/b']", "source.a.topics"),
        ("url = 'ws://b'\ntopics = ['a']", "source.a.url"),
    ] {
        let found = problems(&format!("[a]\nkind = 'mqtt'\n{keys}"));
        assert!(matches!(&found[..], [one] if one.starts_with(key)), "{keys}: {found:?}");
    }
}
