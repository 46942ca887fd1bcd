//! A collector whose message log is encrypted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use pipeline_tests::{
    collector::Collector,
    sandbox::{run, scratch},
};

/// What each event has, and nothing else.
const NEEDLE: &[u8] = b"rsvp_id";

/// All files below this directory.
fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("one").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// No file below this directory has anything of an event.
fn assert_nothing_is_plain(path: &Path, when: &str) {
    let mut found = files(path);
    // RocksDB may remove some meanwhile.
    found.retain(|file| has_events(&fs::read(file).unwrap_or_default()));
    assert!(found.is_empty(), "{when}: {found:?}");
}

fn has_events(bytes: &[u8]) -> bool {
    bytes.windows(NEEDLE.len()).any(|part| part == NEEDLE)
}

/// A new key, as the documentation makes one.
fn key() -> String {
    let made = std::process::Command::new("openssl").args(["rand", "-base64", "32"]).output();
    String::from_utf8(made.expect("openssl").stdout).expect("text")
}

#[test]
fn an_encrypted_log_shows_nothing_of_its_events_and_all_arrive_after_its_key_was_rotated() {
    let (_directory, path) = scratch();
    let (keys, log, export) = (path.join("keys"), path.join("log"), path.join("waiting.sealed"));
    let (old, new) = (key(), key());
    fs::write(&keys, &old).expect("a key file");
    let file = format!("log.key_file={}", keys.display());
    let mut collector = Collector::start(
        &log,
        &[&file, "log.write_buffer_bytes=200000", "log.write_ahead_bytes=8000000"],
    );
    collector.pushing().await_more(500);
    collector.kafka.kill();
    // They are in table files and in the write-ahead log.
    collector.pushing().await_more(5_000);
    assert!(files(&log).iter().any(|file| file.extension().is_some_and(|kind| kind == "sst")));
    assert_nothing_is_plain(&path, "logged");

    let command = |words: &[&str]| -> Output {
        let directory = log.to_str().expect("text");
        let named: Vec<_> =
            words.iter().map(|word| if *word == "DIR" { directory } else { word }).collect();
        run("millrace", &[&["log"], &named[..]].concat(), &[])
    };
    let (keys_path, export_path) = (keys.to_str().expect("text"), export.to_str().expect("text"));
    let done = command(&["export", "DIR", "--key-file", keys_path, "--out", export_path]);
    assert!(done.status.success(), "{done:?}");
    assert_nothing_is_plain(&path, "also the export");
    let decrypted = command(&["decrypt", export_path, "--key-file", keys_path]);
    assert!(decrypted.status.success() && has_events(&decrypted.stdout), "{decrypted:?}");
    let refused = command(&["verify", "DIR"]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");

    collector.kill();
    fs::write(&keys, new + &old).expect("a key file");
    collector.start_again();
    collector.pushing().await_more(500);
    let verified = command(&["verify", "DIR", "--key-file", keys_path]);
    assert!(verified.status.success(), "{verified:?}");
    assert_nothing_is_plain(&path, "rotated");
    collector.kafka.start_again();
    let pushed = collector.await_all_in_kafka();
    assert!(pushed.acknowledged.len() >= 6_000);
}
