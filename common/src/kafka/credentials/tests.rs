use std::path::Path;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::*;

/// A broker that takes any password, because it does not ask for one.
fn answering(kafka: Kafka) -> (Kafka, MockCluster<'static, DefaultProducerContext>) {
    let cluster = MockCluster::new(1).unwrap();
    let mut kafka = Kafka { brokers: cluster.bootstrap_servers(), ..kafka };
    kafka.properties.clear();
    (kafka, cluster)
}

fn kafka(files: &[(&str, &Path)]) -> Kafka {
    let files = files.iter().map(|(name, path)| ((*name).to_owned(), path.to_path_buf()));
    let mut kafka = Kafka { property_files: PropertyFiles(files.collect()), ..Kafka::default() };
    for (name, value) in [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "ada"),
    ] {
        kafka.properties.insert(name.to_owned(), value.to_owned());
    }
    kafka
}

#[test]
fn a_password_is_read_from_its_file_whenever_a_client_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    let kafka = kafka(&[("sasl.password", &path)]);
    assert_eq!(kafka.problems(), Vec::<String>::new());
    let why = kafka.producer().unwrap_err().to_string();
    assert!(why.contains("sasl.password") && why.contains(path.to_str().unwrap()), "{why}");
    for (text, password) in [("first\n", "first"), ("se cond", "se cond"), ("third \r\n", "third ")]
    {
        std::fs::write(&path, text).unwrap();
        assert_eq!(kafka.producer().unwrap().get("sasl.password"), Some(password));
        assert_eq!(kafka.consumer(None, None).unwrap().get("sasl.password"), Some(password));
    }
}

#[test]
fn what_is_no_secret_or_is_set_twice_is_refused_by_name() {
    let path = Path::new("/run/secrets/kafka");
    for name in ["linger.ms", "sasl.passwrd", "acks"] {
        let problems = kafka(&[(name, path)]).problems();
        assert!(matches!(&problems[..], [one] if one.contains(name)), "{problems:?}");
    }
    let problems = kafka(&[("sasl.username", path)]).problems();
    assert!(matches!(&problems[..], [one] if one.contains("sasl.username is set")), "{problems:?}");
}

#[tokio::test]
async fn a_change_is_told_once_and_only_when_kafka_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "first").unwrap();
    let (kafka, _cluster) = answering(kafka(&[("sasl.password", &path)]));
    let files = kafka.credential_files();
    assert_eq!(files, std::slice::from_ref(&path));
    let mut watched = Files { kafka, known: digest(&files), refused: None, files };
    assert!(!watched.look());
    std::fs::remove_file(&path).unwrap();
    assert!(!watched.look(), "a file that is being replaced is not a new password");
    std::fs::write(&path, "first").unwrap();
    assert!(!watched.look());
    std::fs::write(&path, "second").unwrap();
    assert!(watched.look());
    assert!(!watched.look());
    watched.kafka.brokers = "127.0.0.1:1".to_owned();
    std::fs::write(&path, "third").unwrap();
    assert!(!watched.look(), "Kafka is away, so that nobody knows whether it takes that password");
}

#[tokio::test]
async fn every_clone_of_a_rotation_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "first").unwrap();
    let stop = CancellationToken::new();
    let (kafka, _cluster) = answering(kafka(&[("sasl.password", &path)]));
    let mut one = kafka.watch_credentials(stop.clone());
    let other = one.clone();
    assert!(!one.is_due());
    std::fs::write(&path, "second").unwrap();
    one.due().await;
    assert!(one.is_due() && other.is_due());
    one.acknowledge();
    assert!(!one.is_due() && other.is_due());
    stop.cancel();
}

#[tokio::test]
async fn without_files_there_is_nothing_to_wait_for() {
    let rotation = Kafka::default().watch_credentials(CancellationToken::new());
    assert!(!rotation.is_due());
    assert!(tokio::time::timeout(Duration::ZERO, rotation.due()).await.is_err());
}
