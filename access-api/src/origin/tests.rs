use super::*;

#[test]
fn an_origin_is_a_scheme_a_host_and_a_port() {
    let parse = |text: &str| Origin::parse(text);
    assert_eq!(parse("https://wall.example"), parse("https://WALL.example:443"));
    assert_ne!(parse("https://wall.example"), parse("http://wall.example"));
    assert!(parse("http://[::1]:8080").is_some());
    for text in [
        "",
        "null",
        "*",
        "wall.example",
        "https://",
        "ftp://wall.example",
        "https://wall.example/",
        "https://a@wall.example",
        "file:///x",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn a_browser_may_ask_by_address_by_localhost_and_by_the_names_that_are_listed() {
    let hosts = Hosts::new(&["Wall.example".to_owned()]);
    let allow = |hosts: &Hosts, host: &str| hosts.allow(Some(&host.parse().unwrap()));
    for host in [
        "127.0.0.1",
        "10.1.2.3:8080",
        "[::1]:8080",
        "localhost",
        "LOCALHOST:8080",
        "a.localhost",
        "localhost.:80",
        "wall.example",
        "wall.example.:443",
        "WALL.EXAMPLE:8080",
    ] {
        assert!(allow(&hosts, host), "{host}");
    }
    for host in [
        "evil.example",
        "wall.example.evil.example",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "0x7f000001.evil.example",
        "a b",
        "",
    ] {
        assert!(!allow(&hosts, host), "{host}");
    }
    assert!(hosts.allow(None));
    assert!(allow(&Hosts::new(&["*".to_owned()]), "evil.example"));
}

#[test]
fn a_listed_host_has_no_scheme_and_no_port() {
    for name in ["wall.example", "wall", "*"] {
        assert!(Hosts::is_name(name), "{name}");
    }
    for name in ["", "https://wall.example", "wall.example:80", "a@b", "a b", "wall.example/"] {
        assert!(!Hosts::is_name(name), "{name}");
    }
}
