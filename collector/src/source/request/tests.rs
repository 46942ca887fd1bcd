use common::tls;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn the_cursor_replaces_the_parameter_of_the_address() {
    let resume = Resume::Query("since".to_owned());
    for (address, begin, asked) in [
        ("ws://feed/2/rsvps", Begin::At(7), "ws://feed/2/rsvps?since=7"),
        ("ws://feed/2/rsvps?a=b", Begin::At(0), "ws://feed/2/rsvps?a=b&since=0"),
        ("ws://feed/?since=0&a=%20b", Begin::At(7), "ws://feed/?a=%20b&since=7"),
        ("ws://feed/?since=0", Begin::AsConfigured, "ws://feed/?since=0"),
        ("ws://feed/?since=0", Begin::Now, "ws://feed/"),
        ("ws://feed/?sincere=0", Begin::Now, "ws://feed/?sincere=0"),
    ] {
        let mut target = url(address);
        set_begin(&mut target, &resume, &begin);
        assert_eq!(target.as_str(), asked, "{address}");
        let mut target = url(address);
        set_begin(&mut target, &Resume::None, &begin);
        assert_eq!(target, url(address), "a feed that cannot resume is asked nothing");
    }
}

#[test]
fn a_feed_is_asked_in_its_unit() {
    for (unit, asked) in
        [("s", "1700000000"), ("us", "1700000000123000"), ("ns", "1700000000123000000")]
    {
        let text = format!("resume = {{ query = \"cursor\", from = \"time\", unit = \"{unit}\" }}");
        let resume: std::collections::BTreeMap<String, Resume> = toml::from_str(&text).unwrap();
        let resume = &resume["resume"];
        let mut target = url("wss://feed/subscribe");
        set_begin(&mut target, resume, &Begin::At(1_700_000_000_123));
        assert_eq!(target.query(), Some(format!("cursor={asked}").as_str()));
        let written = toml::to_string(&std::collections::BTreeMap::from([("resume", resume)]));
        assert!(written.unwrap().contains(&format!("unit = \"{unit}\"")), "it is read back");
    }
    for wrong in ["from = \"time\", unit = \"rfc3339\"", "from = \"/next\", unit = \"us\""] {
        let text = format!("resume = {{ query = \"cursor\", {wrong} }}");
        assert!(
            toml::from_str::<std::collections::BTreeMap<String, Resume>>(&text).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn headers_for_one_server_are_not_sent_to_another() {
    for (one, other, is_other) in [
        ("ws://feed/a", "ws://feed/b", false),
        ("ws://feed/a", "wss://feed/a", false),
        ("wss://feed/a", "ws://feed/a", true),
        ("wss://feed/a", "wss://feed:444/a", true),
        ("wss://feed/a", "wss://other/a", true),
        ("ws://feed:8080/a", "wss://feed/a", true),
        ("http://feed/a", "https://feed/a", false),
        ("https://feed/a", "http://feed/a", true),
        ("https://feed/a", "https://feed:8443/a", true),
    ] {
        assert_eq!(is_other_server(&url(one), &url(other)), is_other, "{one} {other}");
    }
}

#[test]
fn only_addresses_of_the_same_kind_are_followed_and_no_secret_is_in_the_error() {
    assert_eq!(
        follow(&url("ws://feed/a/b"), "../c?d", Transport::Websocket),
        Ok(url("ws://feed/c?d"))
    );
    assert_eq!(
        follow(&url("ws://feed/a"), "wss://other/b", Transport::Websocket),
        Ok(url("wss://other/b"))
    );
    assert_eq!(
        follow(&url("http://feed/a"), "https://other/b", Transport::Http),
        Ok(url("https://other/b"))
    );
    follow(&url("http://feed/a"), "ws://feed/", Transport::Http).unwrap_err();
    for location in
        ["https://feed/a?token=s3cret", "//[", "file:///etc/passwd", "http://u:s3cret@feed/"]
    {
        let why = follow(&url("ws://feed/a"), location, Transport::Websocket).unwrap_err();
        assert!(!why.contains("s3cret"), "{why}");
    }
}

#[test]
fn user_info_and_files_become_headers() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("headers of mine");
    let mut connect = Connect {
        url: "ws://ada:p%40ss@feed/".into(),
        headers_from_file: file.clone(),
        ..Connect::default()
    };
    let request = |connect: &Connect| Request::new(connect, Transport::Websocket);
    connect.headers.insert("X-One".to_owned(), "1".into());
    let missing = request(&connect).err().unwrap().to_string();
    assert!(
        missing.contains("headers_from_file") && missing.contains("headers of mine"),
        "{missing}"
    );
    std::fs::write(&file, "X-Two: a: b\r\n\n").unwrap();
    let headers = request(&connect).unwrap().headers().unwrap();
    assert_eq!(headers["authorization"], format!("Basic {}", STANDARD.encode("ada:p@ss")));
    assert_eq!(
        (&headers["x-one"], &headers["x-two"]),
        (&"1".parse().unwrap(), &"a: b".parse().unwrap())
    );
    let long = "X-Two: s3cret\n".repeat(5_000);
    for (content, why) in [
        ("s3cret\n", "Name: value"),
        ("Host: s3cret\n", "Host: the collector sets it"),
        ("Authorization: s3cret\n", "Authorization: url has user info"),
        (long.as_str(), "more than 64 KiB"),
    ] {
        std::fs::write(&file, content).unwrap();
        let wrong = request(&connect).err().unwrap().to_string();
        assert!(wrong.contains(why) && !wrong.contains("s3cret"), "{wrong}");
    }
}

#[test]
fn a_token_is_read_from_its_file_at_every_connect() {
    let directory = tempfile::TempDir::new().unwrap();
    let bearer_token_file = directory.path().join("token");
    std::fs::write(&bearer_token_file, "one\n").unwrap();
    let url = "https://feed/".into();
    let connect =
        Connect { url, bearer_token_file: bearer_token_file.clone(), ..Connect::default() };
    let request = Request::new(&connect, Transport::Http).unwrap();
    for token in ["one", "two"] {
        std::fs::write(&bearer_token_file, format!("{token}\n")).unwrap();
        let headers = request.target().unwrap().headers;
        assert_eq!(headers["authorization"], format!("Bearer {token}"));
        assert!(headers["authorization"].is_sensitive());
    }
    std::fs::write(&bearer_token_file, "\n").unwrap();
    let why = request.target().err().unwrap();
    assert!(why.contains("bearer_token_file") && why.contains("empty"), "{why}");
}

#[test]
fn a_cursor_is_a_query_parameter_whatever_its_bytes_are() {
    let resume = Resume::Answer("after".to_owned(), "/next".parse().unwrap());
    let mut target = url("http://feed/?a=b");
    set_begin(&mut target, &resume, &Begin::After("x&y=z ü".into()));
    let pairs: Vec<_> = target.query_pairs().into_owned().collect();
    assert_eq!(pairs[1], ("after".to_owned(), "x&y=z ü".to_owned()));
    assert_eq!(pairs.len(), 2);
}

#[test]
fn a_file_without_certificates_is_refused_with_its_name() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("ca.pem");
    let refused = || Error::from(tls::client(&path).unwrap_err()).to_string();
    let missing = refused();
    std::fs::write(&path, "not a certificate").unwrap();
    let empty = refused();
    for error in [missing, empty] {
        assert!(error.contains(".ca_file") && error.contains("ca.pem"), "{error}");
    }
    tls::client(Path::new("")).unwrap();
}
