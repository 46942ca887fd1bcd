use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::Config;
use crate::test_api::{Api, eventually};

async fn connect(api: &Api) -> TcpStream {
    TcpStream::connect(api.address).await.unwrap()
}

/// Asks for a large file over and over, and reads nothing.
async fn ask_and_do_not_read(api: &Api) -> TcpStream {
    let mut stream = connect(api).await;
    let request = "GET /assets/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5_000);
    // The server stops reading when its answers are not taken.
    let _took = tokio::time::timeout(
        std::time::Duration::from_millis(500),
        stream.write_all(request.as_bytes()),
    )
    .await;
    stream
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_cut_off() {
    let mut config = Config::default();
    config.limits.write_deadline_ms = 100;
    let api = Api::start(&config);
    let held = ask_and_do_not_read(&api).await;
    eventually("the end", || api.metrics.connections.get() == 0).await;
    drop(held);
    api.stop().await;
}

#[tokio::test]
async fn a_stop_is_not_held_by_a_client_that_does_not_read() {
    let mut config = Config::default();
    config.limits.close_grace_ms = 100;
    config.limits.write_deadline_ms = 86_400_000;
    let api = Api::start(&config);
    let held = ask_and_do_not_read(&api).await;
    api.stop().await;
    drop(held);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_ends_also_after_an_answer() {
    let mut config = Config::default();
    config.limits.header_timeout_ms = 100;
    let api = Api::start(&config);
    let mut silent = connect(&api).await;
    let mut kept = connect(&api).await;
    kept.write_all(b"GET /v1/queries HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    kept.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    silent.read_to_end(&mut Vec::new()).await.unwrap();
    eventually("both gone", || api.metrics.connections.get() == 0).await;
    api.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let api = Api::start(&Config::default());
    let fill = "x".repeat(20_000);
    let mut stream = connect(&api).await;
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Fill: {fill}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    let bytes = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..bytes]);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    api.stop().await;
}
