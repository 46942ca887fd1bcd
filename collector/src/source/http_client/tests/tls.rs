//! Servers that know their clients by certificates.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate and its key, as PEM.
type Identity = (String, String);

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn issue(issuer: &Issuer<'static, KeyPair>) -> Identity {
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

/// Accepts only clients that this authority has issued certificates to.
fn acceptor(ca: &str, (certificate, key): &Identity) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        );
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

#[tokio::test]
async fn a_certificate_says_who_the_collector_is_and_a_renewed_one_is_used_at_the_next_connect() {
    let (ca, issuer) = authority();
    let acceptor = acceptor(&ca, &issue(&issuer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let present =
        |(certificate, key): &Identity| (write("tls.crt", certificate), write("tls.key", key));
    let (certificate_file, key_file) = present(&issue(&issuer));
    let client = client(&Connect {
        url: format!("https://localhost:{}/", listener.local_addr().unwrap().port()).into(),
        ca_file: write("ca.pem", &ca),
        certificate_file,
        key_file,
        ..Connect::default()
    });
    let serve = async || {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        stream.write_all(response("200 OK", "", "yes").as_bytes()).await.ok()
    };
    let (answer, served) = tokio::join!(get(&client), serve());
    assert_eq!(served, Some(()));
    assert_eq!(body(answer.unwrap()).await.unwrap(), b"yes");

    let (_, stranger) = authority();
    present(&issue(&stranger));
    let (answer, served) = tokio::join!(get(&client), serve());
    assert_eq!(served, None);
    assert!(answer.is_err());

    present(&issue(&issuer));
    let (answer, served) = tokio::join!(get(&client), serve());
    assert_eq!((served, answer.is_ok()), (Some(()), true));

    write("tls.key", "not a key");
    let lost = get(&client).await.err().unwrap();
    assert!(lost.why.contains("tls.key"), "{lost:?}");
}
