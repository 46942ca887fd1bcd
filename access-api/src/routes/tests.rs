use serde_json::{Value, json};

use crate::config::Config;
use crate::hub::Arrival;
use crate::test_api::{Api, STREAM, cursor, payload, top_n};

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split_once("\r\n\r\n").unwrap().0;
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn parsed(answer: &str) -> Value {
    assert_eq!(header(answer, "content-type"), Some("application/json"), "{answer}");
    serde_json::from_str(body(answer)).unwrap()
}

#[tokio::test]
async fn the_queries_are_listed_by_name() {
    let mut api = Api::start(&Config::default());
    assert_eq!(parsed(&api.get("/v1/queries").await), json!({"queries": []}));
    api.publish("topics");
    api.publish("countries");
    let entry = |name, version| json!({"name": name, "kind": "top", "window": {"kind": "running"}, "version": version, "as_of_ms": 0});
    let listed = json!({"queries": [entry("countries", 2), entry("topics", 1)]});
    assert_eq!(parsed(&api.get("/v1/queries").await), listed);
    api.stop().await;
}

#[tokio::test]
async fn the_newest_result_is_given_as_it_was_published_and_not_twice() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    let answer = api.get("/v1/queries/topics").await;
    assert_eq!(body(&answer).as_bytes(), payload(&top_n("topics", 1)));
    assert_eq!(header(&answer, "etag"), Some(format!("\"{}\"", cursor(0)).as_str()));
    let again = |tag: &str| {
        format!(
            "GET /v1/queries/topics HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = api.ask(&again(&format!("\"a\", W/\"{}\"", cursor(0)))).await;
    assert!(answer.starts_with("HTTP/1.1 304 ") && body(&answer).is_empty(), "{answer}");
    api.publish("topics");
    assert!(
        api.ask(&again(format!("\"{}\"", cursor(0)).as_str())).await.starts_with("HTTP/1.1 200 ")
    );
    api.stop().await;
}

#[tokio::test]
async fn the_audit_is_given_as_it_was_published_and_is_no_query() {
    let api = Api::start(&Config::default());
    let none = api.get("/v1/audit").await;
    assert!(none.starts_with("HTTP/1.1 404 "), "{none}");
    assert_eq!(parsed(&none)["error"]["code"], "no_audit");
    let arrival =
        |seq, text: &'static str| Arrival { seq, payload: text.into(), published_ms: 0, now_ms: 0 };
    api.hub.publish_audit(5, arrival(0, r#"{"v":1,"version":5,"later":"field"}"#));
    api.hub.publish_audit(4, arrival(1, r#"{"v":1,"version":4}"#));
    let answer = api.get("/v1/audit").await;
    assert_eq!(body(&answer), r#"{"v":1,"version":5,"later":"field"}"#, "versions only grow");
    assert_eq!(header(&answer, "etag"), Some(format!("\"{}\"", cursor(0)).as_str()));
    api.hub.publish_audit(5, arrival(2, r#"{"v":1,"version":5}"#));
    assert_eq!(
        header(&api.get("/v1/audit").await, "etag"),
        Some(format!("\"{}\"", cursor(2)).as_str())
    );
    assert_eq!(parsed(&api.get("/v1/queries").await), json!({"queries": []}));
    let page = api.get("/audit.html").await;
    assert_eq!(header(&page, "content-type"), Some("text/html; charset=utf-8"));
    api.hub.begin(STREAM, 3);
    assert!(api.get("/v1/audit").await.starts_with("HTTP/1.1 503 "), "while it reads");
    api.hub.complete();
    assert!(api.get("/v1/audit").await.starts_with("HTTP/1.1 404 "), "that of the topic before");
    api.stop().await;
}

#[tokio::test]
async fn errors_are_told_in_json() {
    let api = Api::start(&Config::default());
    for (request, status, code, allowed) in [
        ("GET /nothing", "404", "not_found", None),
        ("GET /v1/queries/nothing", "404", "unknown_query", None),
        ("GET /assets/../Cargo.toml", "404", "not_found", None),
        ("POST /v1/queries", "405", "method_not_allowed", Some("GET, HEAD")),
        ("DELETE /", "405", "method_not_allowed", Some("GET, HEAD")),
        ("POST /v1/ws", "405", "method_not_allowed", Some("GET")),
    ] {
        let answer = api
            .ask(&format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(header(&answer, "allow"), allowed, "{request}");
        assert_eq!(parsed(&answer)["error"]["code"], code, "{request}");
    }
    api.stop().await;
}

#[tokio::test]
async fn every_answer_forbids_what_the_page_does_not_need() {
    let api = Api::start(&Config::default());
    for path in ["/", "/assets/app.js", "/v1/queries", "/v1/ws", "/nothing"] {
        let answer = api.get(path).await;
        assert!(
            header(&answer, "content-security-policy").unwrap().starts_with("default-src 'none'"),
            "{path}"
        );
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"), "{path}");
    }
    api.stop().await;
}

#[tokio::test]
async fn the_dashboard_is_served_with_its_types_and_only_when_it_changed() {
    let api = Api::start(&Config::default());
    for (path, content_type) in [
        ("/", "text/html"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/theme.css", "text/css"),
    ] {
        let answer = api.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(header(&answer, "content-type").unwrap().starts_with(content_type), "{path}");
        let tag = header(&answer, "etag").unwrap();
        let again = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n"
        );
        assert!(api.ask(&again).await.starts_with("HTTP/1.1 304 "), "{path}");
        let head = api
            .ask(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body(&head).is_empty(), "{path}: {head}");
        assert_eq!(
            header(&head, "content-length").unwrap(),
            body(&answer).len().to_string(),
            "{path}"
        );
    }
    api.stop().await;
}

#[tokio::test]
async fn nothing_is_served_before_the_results_were_read_to_their_end() {
    let mut api = Api::start(&Config::default());
    api.hub.begin(crate::test_api::STREAM, 0);
    api.publish("topics");
    for path in ["/v1/queries", "/v1/queries/topics", "/v1/queries/nothing"] {
        let answer = api.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{path}: {answer}");
        assert_eq!(parsed(&answer)["error"]["code"], "reading", "{path}");
        assert_eq!(header(&answer, "retry-after"), Some("1"), "{path}");
    }
    assert!(api.get("/").await.starts_with("HTTP/1.1 200 "), "the page says that it waits");
    api.hub.complete();
    assert!(api.get("/v1/queries/topics").await.starts_with("HTTP/1.1 200 "));
    api.stop().await;
}

#[tokio::test]
async fn the_same_result_has_another_tag_in_another_stream() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    let tag = |answer: &str| header(answer, "etag").unwrap().to_owned();
    let before = tag(&api.get("/v1/queries/topics").await);
    api.hub.begin(common::protocol::StreamId(2), 0);
    crate::test_api::publish(&api.hub, 0, &top_n("topics", 1));
    api.hub.complete();
    assert_ne!(tag(&api.get("/v1/queries/topics").await), before);
    api.stop().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_over_http_and_others_may_not() {
    let config =
        Config { allowed_origins: vec!["https://wall.example".to_owned()], ..Config::default() };
    let mut api = Api::start(&config);
    api.publish("topics");
    let ask = |method: &str, origin: &str, more: &str| {
        format!(
            "{method} /v1/queries/topics HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{more}Connection: close\r\n\r\n"
        )
    };
    let allowed = api.ask(&ask("GET", "https://wall.example", "")).await;
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    let allow = |answer: &str| header(answer, "access-control-allow-origin").map(str::to_owned);
    assert_eq!(allow(&allowed).as_deref(), Some("https://wall.example"));
    assert_eq!(header(&allowed, "vary"), Some("origin"));
    assert!(header(&allowed, "access-control-expose-headers").unwrap().contains("etag"));
    let preflight =
        "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: if-none-match\r\n";
    let answer = api.ask(&ask("OPTIONS", "https://wall.example", preflight)).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(header(&answer, "access-control-allow-headers"), Some("if-none-match"));
    for origin in ["https://evil.example", "null", "http://wall.example"] {
        assert_eq!(allow(&api.ask(&ask("GET", origin, "")).await), None, "{origin}");
        let answer = api.ask(&ask("OPTIONS", origin, preflight)).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && allow(&answer).is_none(), "{answer}");
    }
    api.stop().await;
}

#[tokio::test]
async fn a_request_for_a_host_that_is_not_ours_is_refused() {
    let config = Config { hosts: vec!["wall.example".to_owned()], ..Config::default() };
    let api = Api::start(&config);
    let ask = |host: &str, path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    for path in ["/", "/v1/queries", "/v1/ws", "/nothing"] {
        let answer = api.ask(&ask("evil.example:8080", path)).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{path}: {answer}");
        assert_eq!(parsed(&answer)["error"]["code"], "unknown_host");
    }
    for host in ["wall.example", "localhost:8080", "127.0.0.1"] {
        assert!(api.ask(&ask(host, "/")).await.starts_with("HTTP/1.1 200 "), "{host}");
    }
    api.stop().await;
}
