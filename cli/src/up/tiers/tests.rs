use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory with a program that is used in place of every tier.
fn tiers(script: &str) -> (tempfile::TempDir, Tiers) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("tier");
    std::fs::write(&program, format!("#!/bin/sh\ncd '{}'\n{script}\n", directory.path().display()))
        .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tiers =
        Tiers { collector: program.clone(), analyzer: program.clone(), access_api: program };
    (directory, tiers)
}

fn settings() -> Settings {
    Settings::read(None).unwrap()
}

const DUMP: &str = "printf '[[query]]\\nname = \"topics\"\\n[service]\\nadmin = \"127.0.0.1:7\"\\n[source.rsvps]\\nmax_message_bytes = 9\\n'";

#[tokio::test]
async fn a_tier_that_is_killed_while_it_is_asked_is_asked_again() {
    let script = format!("if [ ! -e asked ]; then touch asked; kill -9 $$; fi\n{DUMP}");
    let (_directory, tiers) = tiers(&script);
    let asked = tiers.ask(&settings()).await.unwrap();
    assert_eq!(asked.analysis.queries().collect::<Vec<_>>(), ["topics"]);
    assert_eq!(asked.admin[1].port(), 7);
}

#[tokio::test]
async fn a_tier_that_is_always_killed_is_given_up() {
    let (_directory, tiers) = tiers("kill -9 $$");
    let error = tiers.ask(&settings()).await.unwrap_err();
    assert!(matches!(error, Error::Killed { .. }), "{error}");
}

#[tokio::test]
async fn a_tier_that_refuses_its_configuration_is_quoted() {
    let (_directory, tiers) = tiers("echo 'capacity: is 0' >&2; exit 64");
    let error = tiers.ask(&settings()).await.unwrap_err();
    assert!(error.to_string().contains("capacity: is 0"), "{error}");
}

fn wiring<'a>(settings: &'a Settings, properties: &'a [Property]) -> Wiring<'a> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Wiring {
        settings,
        kafka: Kafka { brokers: "kafka:9092".to_owned(), ..Kafka::default() },
        brokers_by: "--brokers",
        own_topics: None,
        collects: true,
        properties,
        feed: None,
        listen: address(9000),
        listen_by: "--port 9000".to_owned(),
        admin: [address(1), address(2), address(3)],
        stack: "up-1".to_owned(),
        log: PathBuf::from("/data/collector"),
        log_filter: None,
    }
}

#[test]
fn properties_of_flags_reach_every_tier_as_toml_whatever_signs_they_have() {
    let settings = settings();
    let properties =
        ["sasl.password=a\"b'c=d".parse().unwrap(), "ssl.ca.location=/x y".parse().unwrap()];
    let wiring = wiring(&settings, &properties);
    for tier in Tier::ALL {
        let said =
            wiring.said(tier).into_iter().find(|said| said.key == "kafka.properties").unwrap();
        let text = said.value.into_string().unwrap();
        assert!(!text.contains('\n'), "{text}");
        let table: toml::Table = toml::from_str(&format!("value = {text}")).unwrap();
        assert_eq!(table["value"]["sasl.password"].as_str(), Some("a\"b'c=d"));
        assert_eq!(table["value"]["ssl.ca.location"].as_str(), Some("/x y"));
    }
}
