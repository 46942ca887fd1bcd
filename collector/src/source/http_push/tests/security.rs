//! Tokens, signatures and TLS on the socket.

use std::fs;

use ring::hmac;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::*;

#[tokio::test]
async fn without_its_token_nobody_sends_or_asks() {
    let folder = TempDir::new().unwrap();
    let token_file = folder.path().join("token");
    fs::write(&token_file, "s3cret\n").unwrap();
    let bench = Bench::new(Section { token_file, ..Section::default() });
    let answer = bench.post("", rsvp(1)).await;
    assert_eq!((answer.status, &answer.body["reason"]), (401, &json!("unauthorized")));
    assert!(answer.head.contains("www-authenticate: bearer"));
    assert_eq!(bench.fate("orders.17.1-1").await.status, 401);
    assert_eq!(bench.post("Authorization: Bearer s3cre\r\n", rsvp(1)).await.status, 401);
    assert_eq!(bench.post("Authorization: Bearer s3cret\r\n", rsvp(2)).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(2)]);
}

#[tokio::test]
async fn a_body_whose_signature_is_wrong_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let secret_file = folder.path().join("secret");
    fs::write(&secret_file, "s3cret\n").unwrap();
    let bench = Bench::new(Section { secret_file, ..Section::default() });
    let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"s3cret"), rsvp(1).as_bytes());
    let hex: String = code.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let header = format!("X-Hub-Signature-256: sha256={hex}\r\n");
    assert_eq!(bench.post("", rsvp(1)).await.status, 401);
    assert_eq!(bench.post(&header, rsvp(2)).await.status, 401);
    assert_eq!(bench.post(&header, rsvp(1)).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(1)]);
}

struct Certificate {
    folder: TempDir,
    section: Section,
}

impl Certificate {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (certificate_file, key_file) = (folder.path().join("cert"), folder.path().join("key"));
        let own =
            Self { folder, section: Section { certificate_file, key_file, ..Section::default() } };
        own.issue();
        own
    }

    fn issue(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&self.section.certificate_file, made.cert.pem()).unwrap();
        fs::write(&self.section.key_file, made.signing_key.serialize_pem()).unwrap();
        fs::write(self.folder.path().join("ca"), made.cert.pem()).unwrap();
    }

    /// Sends an event as a client that trusts the newest certificate.
    async fn send(&self, bench: &Bench, event: &str) -> Option<u16> {
        let settings = tls::client(&self.folder.path().join("ca")).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(settings));
        let mut stream = connector.connect(name, bench.connect().await).await.ok()?;
        stream.write_all(&post("Content-Type: application/json\r\n", event)).await.ok()?;
        Some(Answer::read(&mut stream).await.status)
    }
}

#[tokio::test]
async fn with_tls_only_tls_is_spoken_and_a_new_certificate_is_taken_up() {
    let certificate = Certificate::new();
    let bench = Bench::new(certificate.section.clone());
    assert_eq!(certificate.send(&bench, &rsvp(1)).await, Some(202));
    let mut plain = bench.connect().await;
    plain.write_all(&post("Content-Type: application/json\r\n", rsvp(9))).await.unwrap();
    let mut rest = Vec::new();
    let _reset = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    certificate.issue();
    while certificate.send(&bench, &rsvp(2)).await != Some(202) {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.end().await, [rsvp(1), rsvp(2)]);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let certificate = Certificate::new();
    fs::write(&certificate.section.key_file, "no key").unwrap();
    let metrics = Metrics::new(&Registry::new()).unwrap().of_push("orders");
    let connections = Connections::new(Readiness::default().condition("source"));
    let (name, stop): (Arc<str>, _) = ("orders".into(), CancellationToken::new());
    let section = Section { listen: "127.0.0.1:0".parse().unwrap(), ..certificate.section };
    let made = HttpPush::new(&name, &section, metrics, connections.of(&name), &stop);
    assert!(matches!(made, Err(Error::Push(_))));
}
