use http::header::HeaderName;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;

use super::*;
use crate::config::Config;
use crate::test_api::{Api, eventually};

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
    config.limits.requests = 2;
    let api = Api::start(&config);
    let hold = async || TcpStream::connect(api.address).await.unwrap();
    let (first, second) = (hold().await, hold().await);
    eventually("both held", || api.metrics.connections.get() == 2).await;
    let answer = api.get("/v1/queries").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"),
        "{answer}"
    );
    assert_eq!(api.metrics.connections_refused.with_label_values(&["requests"]).get(), 1);
    drop(first);
    eventually("a free place", || api.metrics.connections.get() == 1).await;
    assert!(api.get("/v1/queries").await.starts_with("HTTP/1.1 200 "));
    drop(second);
    api.stop().await;
}

#[tokio::test]
async fn websockets_and_requests_do_not_take_each_others_places() {
    let mut config = Config::default();
    config.limits.websockets = 2;
    config.limits.requests = 4;
    let api = Api::start(&config);
    let held = (api.connect().await, api.connect().await);
    assert!(api.get("/v1/queries").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(connect_from(&api, None).await, Err(503));
    assert_eq!(api.metrics.connections_refused.with_label_values(&["websockets"]).get(), 1);
    assert_eq!(api.metrics.connections_limit.with_label_values(&["websockets"]).get(), 2);
    assert_eq!(api.metrics.connections_limit.with_label_values(&["requests"]).get(), 4);
    assert_eq!(api.metrics.clients.get(), 2, "those that there are stay");
    drop(held);
    eventually("free places", || api.metrics.clients.get() == 0).await;
    assert_eq!(connect_from(&api, None).await, Ok(()));
    api.stop().await;
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may() {
    let mut config = Config::default();
    config.limits.connections_per_address = 1;
    let api = Api::start(&config);
    let held = api.connect().await;
    assert!(api.get("/v1/queries").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(api.metrics.connections_refused.with_label_values(&["address"]).get(), 1);
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = elsewhere.connect(api.address).await.unwrap();
    assert!(api.shake_hands(stream, api.request()).await.is_ok());
    drop(held);
    eventually("a free place", || api.metrics.connections.get() == 0).await;
    assert!(api.get("/v1/queries").await.starts_with("HTTP/1.1 200 "));
    api.stop().await;
}

#[tokio::test]
async fn a_subprotocol_that_is_offered_is_answered() {
    let api = Api::start(&Config::default());
    for (offer, answer) in [
        (None, Ok(None)),
        (Some("millrace.v1+json"), Ok(Some("millrace.v1+json"))),
        (Some("chat, millrace.v1+json"), Ok(Some("millrace.v1+json"))),
        (Some("chat"), Err(400)),
    ] {
        let mut request = api.request();
        if let Some(offer) = offer {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offer.parse().unwrap());
        }
        let stream = TcpStream::connect(api.address).await.unwrap();
        let got = match tokio_tungstenite::client_async(request, stream).await {
            Ok((_, response)) => {
                let named = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
                Ok(named.map(|value| value.to_str().unwrap().to_owned()))
            }
            Err(WsError::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, answer.map(|named| named.map(str::to_owned)), "{offer:?}");
    }
    api.stop().await;
}

#[tokio::test]
async fn a_client_takes_little_memory_besides_its_read_buffer() {
    let config = Config::default();
    let (hub, metrics) = crate::test_api::hub(&config);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let caps = crate::descriptors::Caps { websockets: 1, requests: 1, refusals: 1 };
    let tasks = tokio_util::task::TaskTracker::new();
    let places = Arc::new(crate::connection_limits::Places::new(
        caps,
        1,
        metrics.connections.clone(),
        tasks,
    ));
    let connection = places.take([127, 0, 0, 1].into()).unwrap();
    let clock = common::clock::Clock::default();
    let shared = Arc::new(Shared { hub, limits: config.limits, metrics, clock, shutdown });
    let upgrade = hyper::upgrade::on(http::Request::new(()));
    assert!(std::mem::size_of_val(&serve(upgrade, connection, shared)) <= 1200);
}
