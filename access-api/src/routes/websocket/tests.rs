use http::header::HeaderName;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;

use super::*;
use crate::config::Config;
use crate::test_api::{Api, eventually};

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

async fn connect_from(api: &Api, origin: Option<&str>) -> Result<(), u16> {
    let mut request = api.request();
    if let Some(origin) = origin {
        request.headers_mut().insert(ORIGIN, origin.parse().unwrap());
    }
    let stream = TcpStream::connect(api.address).await.unwrap();
    match api.shake_hands(stream, request).await {
        Ok(_) => Ok(()),
        Err(WsError::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn pages_from_elsewhere_may_not_connect_unless_they_are_listed() {
    let config =
        Config { allowed_origins: vec!["https://wall.example".to_owned()], ..Config::default() };
    let api = Api::start(&config);
    let own = format!("http://{}", api.address);
    let own_behind_tls = format!("https://{}", api.address);
    let other_port = "http://127.0.0.1:1";
    assert_eq!(connect_from(&api, None).await, Ok(()));
    assert_eq!(connect_from(&api, Some(&own)).await, Ok(()));
    assert_eq!(connect_from(&api, Some(&own_behind_tls)).await, Ok(()));
    assert_eq!(connect_from(&api, Some("https://wall.example")).await, Ok(()));
    for origin in ["https://evil.example", "http://wall.example", "null", other_port] {
        assert_eq!(connect_from(&api, Some(origin)).await, Err(403), "{origin}");
    }
    assert_eq!(api.metrics.handshakes_refused.with_label_values(&["origin"]).get(), 4);
    api.stop().await;
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_so() {
    let api = Api::start(&Config::default());
    let handshake = |changed: &[(HeaderName, &str)]| {
        let mut headers = api.request().headers().clone();
        for (name, value) in changed {
            headers.insert(name, value.parse().unwrap());
        }
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
            .collect();
        format!("GET /v1/ws HTTP/1.1\r\n{lines}\r\n")
    };
    for (changed, status) in [
        (vec![(UPGRADE, "h2c"), (CONNECTION, "close")], "400"),
        (vec![(SEC_WEBSOCKET_KEY, "short"), (CONNECTION, "upgrade, close")], "400"),
        (vec![(SEC_WEBSOCKET_VERSION, "8"), (CONNECTION, "upgrade, close")], "426"),
    ] {
        let answer = api.ask(&handshake(&changed)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{changed:?}: {answer}");
        assert!(answer.contains(r#"{"error":{"code":"#), "{answer}");
    }
    assert!(api.get("/v1/ws").await.starts_with("HTTP/1.1 400 "));
    api.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_get_503_until_one_is_free() {
    let mut config = Config::default();
    config.limits.connections = 2;
    let api = Api::start(&config);
    let (first, second) = (api.connect().await, api.connect().await);
    let answer = api.get("/v1/queries").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"),
        "{answer}"
    );
    assert_eq!(api.metrics.connections_refused.get(), 1);
    drop(first);
    eventually("a free place", || api.metrics.connections.get() == 1).await;
    assert!(api.get("/v1/queries").await.starts_with("HTTP/1.1 200 "));
    drop(second);
    api.stop().await;
}

#[tokio::test]
async fn a_client_takes_little_memory_besides_its_read_buffer() {
    let config = Config::default();
    let (hub, metrics) = crate::test_api::hub(&config);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let place = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
    let connection = Connection::new(place, Gauged::new(&metrics.connections), TaskTracker::new());
    let service = Arc::new(Service { hub, limits: config.limits, metrics, shutdown });
    let upgrade = hyper::upgrade::on(http::Request::new(()));
    assert!(std::mem::size_of_val(&serve(upgrade, connection, service)) <= 1200);
}
