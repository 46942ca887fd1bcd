//! Events from an MQTT broker: what it has acknowledged to their senders is in Kafka, whatever happens to the collector.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pipeline_tests::{
    Sandbox, eventually,
    mosquitto::Mosquitto,
    numbered::{await_in_kafka, lines},
    sandbox::scratch,
};
use tempfile::TempDir;

/// A configuration that subscribes at this broker.
fn configuration(broker: &Mosquitto, keys: &str) -> (TempDir, PathBuf) {
    let (directory, path) = scratch();
    let file = path.join("mqtt.toml");
    let url = broker.url();
    let text = format!(
        "[source.sensors]\nkind = \"mqtt\"\nurl = \"{url}\"\ntopics = [\"sensors/#\"]\n{keys}\n"
    );
    fs::write(&file, text).expect("a file");
    (directory, file)
}

fn start(file: &Path) -> Sandbox {
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    // A broker keeps nothing for a session that was never opened.
    eventually("the session is open", || {
        let metrics = sandbox.metrics("collector")?;
        (metrics.sum("millrace_collector_source_connected") == 1.0).then_some(())
    });
    sandbox
}

/// Waits until all events below `end` are in Kafka, each entry of the log once.
fn assert_all(sandbox: &mut Sandbox, end: u64) {
    await_in_kafka(sandbox, |found| found.len() as u64 == end);
}

#[test]
fn no_publication_is_lost_whenever_the_collector_is_killed() {
    for version in ["5", "3.1.1"] {
        let broker = Mosquitto::start(None);
        let (_directory, file) = configuration(&broker, &format!("version = \"{version}\""));
        let mut sandbox = start(&file);
        let mut end = 0;
        for _ in 0..3 {
            broker.publish("sensors/a", &lines(end..end + 5_000), None);
            end += 5_000;
            eventually("some of it is received", || {
                let metrics = sandbox.metrics("collector")?;
                (metrics.sum("millrace_collector_received_messages_total") > 0.0).then_some(())
            });
            sandbox.kill9("collector");
            // The broker has the session, and keeps this for it.
            broker.publish("sensors/b", &lines(end..end + 2_000), None);
            end += 2_000;
        }
        assert_all(&mut sandbox, end);
        assert!(!sandbox.log().contains("does not know the session"), "no gap");
        sandbox.stop();
    }
}

#[test]
fn a_password_that_is_corrected_in_its_file_is_taken_without_a_restart() {
    let login = Some(("ada", "right"));
    let broker = Mosquitto::start(login);
    let (_secret, secret) = scratch();
    let password = secret.join("password");
    fs::write(&password, "wrong\n").expect("a file");
    let keys = format!("username = \"ada\"\npassword_file = {password:?}");
    let (_directory, file) = configuration(&broker, &keys);
    let mut sandbox = Sandbox::builder().argument("--config").argument(&file).start();
    eventually("the password is refused", || {
        let (_, why) = sandbox.admin("collector", "/ready")?;
        why.contains("check username and password_file").then_some(())
    });
    fs::write(&password, "right\n").expect("a file");
    eventually("the session is open", || {
        let metrics = sandbox.metrics("collector")?;
        (metrics.sum("millrace_collector_source_connected") == 1.0).then_some(())
    });
    // The session is there when the subscription is.
    eventually("the collector is ready", || {
        sandbox.admin("collector", "/ready").filter(|(status, _)| *status == 200)
    });
    broker.publish("sensors/a", &lines(0..100), login);
    assert_all(&mut sandbox, 100);
    sandbox.stop();
}
