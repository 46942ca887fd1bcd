//! Feeds over TLS.

use super::*;

/// A TLS feed that sends one message to each of `connections`.
fn tls_feed(connections: usize) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("../testdata/feed.pem"))
        .map(Result::unwrap)
        .collect();
    let key =
        rustls::pki_types::PrivateKeyDer::from_pem_slice(include_bytes!("../testdata/feed.key"))
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // Fails when the client does not trust this certificate.
            if let Ok(mut socket) =
                tokio_tungstenite::tungstenite::accept(rustls::StreamOwned::new(tls, stream))
            {
                socket.send(Message::text("over tls")).unwrap();
                while socket.read().is_ok() {}
            }
        }
    });
    (address, server)
}

#[tokio::test]
async fn a_wss_feed_is_followed_if_its_authority_is_trusted() {
    let (address, server) = tls_feed(1);
    let directory = tempfile::TempDir::new().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, include_bytes!("../testdata/ca.pem")).unwrap();
    let unused = Feed::listen().await;
    let mut source = follow(&unused, None, |source| {
        source.connect.url = format!("wss://localhost:{}/2/rsvps", address.port()).into();
        source.connect.ca_file = ca_file;
    });
    assert_eq!(source.payload().await, "over tls");
    source.shutdown.cancel();
    source.task.await.unwrap();
    server.join().unwrap();
}

#[tokio::test]
async fn a_wss_feed_of_an_unknown_authority_is_not_followed() {
    let (address, server) = tls_feed(1);
    let unused = Feed::listen().await;
    let source = follow(&unused, None, |source| {
        source.connect.url = format!("wss://localhost:{}/2/rsvps", address.port()).into();
    });
    tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
    source.shutdown.cancel();
    source.task.await.unwrap();
    assert_eq!(source.metrics.connects.get(), 0);
}
