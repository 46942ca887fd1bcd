use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use common::event::Reason;
use common::message_log::{self, Entry, Family, Keyring, MessageLog, Options, Ranges, Settlement};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::exit;
use crate::run::Failure;
use crate::verbosity::Verbosity;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
    #[command(flatten)]
    verbosity: Verbosity,
}

async fn log(words: &[&str], dir: &Path) -> Result<ExitCode, Error> {
    let words = words.iter().map(|&word| if word == "DIR" { dir.to_str().unwrap() } else { word });
    let Cli { args, verbosity } = Cli::try_parse_from(["log"].into_iter().chain(words)).unwrap();
    run(args, verbosity, CancellationToken::new()).await
}

fn entry(payload: &'static str, reason: Option<Reason>) -> Entry {
    Entry {
        source: "feed".into(),
        received_ms: 1_000,
        identity: None,
        reason,
        payload: payload.into(),
    }
}

/// A log with four entries, each a group, whose second one was refused.
fn written(dir: &Path) -> (MessageLog, message_log::Appender) {
    written_with(dir, None)
}

fn written_with(dir: &Path, keys: Option<Arc<Keyring>>) -> (MessageLog, message_log::Appender) {
    let options = Options { keys, ..Options::default() };
    let (log, mut appender, found) = MessageLog::open(dir, options).unwrap();
    let mut settled = Ranges::below(found.settled.low());
    settled.insert(settled.low(), found.end);
    let payloads = [
        (r#"{"n":1}"#, None),
        (r#"{"n":2}"#, None),
        ("{\n}", None),
        ("<html>", Some(Reason::NotJson)),
    ];
    let mut sequences = Vec::new();
    for (payload, reason) in payloads {
        let sequence = appender.allot();
        appender.append(&[(sequence, entry(payload, reason))], &[("feed", b"9")]).unwrap();
        sequences.push(sequence);
    }
    appender.sync().unwrap();
    settled.insert(sequences[1], sequences[2]);
    let refused = entry(payloads[1].0, Some(Reason::RefusedByKafka));
    let moved = [(Family::Failed, sequences[1], refused)];
    let change =
        Settlement { settled: &settled, moved: &moved, removed: &[], cursors: &[], positions: &[] };
    log.settle(&change).unwrap();
    (log, appender)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_log_in_use_has_what_was_asked_for_in_the_order_of_arrival() {
    let place = TempDir::new().unwrap();
    let dir = place.path().join("log");
    let _open = written(&dir);
    let out = place.path().join("out.jsonl");
    let to = out.to_str().unwrap();
    let (first, second) = ("{\"n\":1}\n", "{\"n\":2}\n");
    let lines = "{\"millrace_base64\":\"ewp9\"}\n";
    let page = "{\"millrace_base64\":\"PGh0bWw+\"}\n";
    let cases: [(&[&str], String); 5] = [
        (&[], [first, second, lines, page].concat()),
        (&["--all"], [first, second, lines, page].concat()),
        (&["--failed"], second.to_owned()),
        (&["--pending"], [first, lines, page].concat()),
        (&["--reason", "not_json"], page.to_owned()),
    ];
    for (which, expected) in cases {
        let words = [&["export", "DIR", "--out", to], which].concat();
        assert_eq!(log(&words, &dir).await.unwrap(), ExitCode::SUCCESS);
        assert_eq!(fs::read_to_string(&out).unwrap(), expected, "{which:?}");
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
        let again = log(&words, &dir).await.unwrap_err();
        assert!(matches!(again, Error::Exists { .. }), "{again}");
        assert_eq!(again.exit_code(), exit::USAGE);
        fs::remove_file(&out).unwrap();
    }
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "the log alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_whether_a_log_is_whole_damaged_or_absent() {
    let place = TempDir::new().unwrap();
    drop(written(place.path()));
    let commands: [&[&str]; 4] = [
        &["verify", "DIR"],
        &["inspect", "DIR"],
        &["inspect", "DIR", "--json", "--entries", "2"],
        &["export", "DIR"],
    ];
    for words in commands {
        assert_eq!(log(words, place.path()).await.unwrap(), ExitCode::SUCCESS, "{words:?}");
    }
    let files = fs::read_dir(place.path()).unwrap().map(|file| file.unwrap().path());
    let is_log = |file: &std::path::PathBuf| file.extension().is_some_and(|kind| kind == "log");
    let file = files.filter(is_log).max().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(3).position(|at| at == b"{\n}").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    for words in commands {
        let code = log(words, place.path()).await.unwrap();
        assert_eq!(code, ExitCode::from(exit::DATA), "{words:?}");
    }
    let absent = place.path().join("absent");
    for words in commands {
        let error = log(words, &absent).await.unwrap_err();
        assert_eq!(error.exit_code(), exit::NO_INPUT, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_log_is_read_with_its_keys_and_its_export_is_encrypted() {
    let place = TempDir::new().unwrap();
    let [keys, other] = [("keys", 7_u8), ("other", 8)].map(|(name, byte)| {
        let path = place.path().join(name);
        fs::write(&path, STANDARD.encode([byte; 32])).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let dir = place.path().join("log");
    let ring = Keyring::read(Path::new(&keys)).unwrap();
    let _open = written_with(&dir, Some(Arc::new(ring)));
    let [sealed, lines, plain] = ["out.sealed", "lines", "plain"]
        .map(|name| place.path().join(name).to_str().unwrap().to_owned());
    for command in ["inspect", "verify", "export"] {
        for more in [&[][..], &["--key-file", &other]] {
            let error = log(&[&[command, "DIR"], more].concat(), &dir).await.unwrap_err();
            assert_eq!(error.exit_code(), exit::USAGE, "{error}");
        }
    }
    let export = ["export", "DIR", "--key-file", &keys, "--out"];
    let done: [&[&str]; 5] = [
        &["inspect", "DIR", "--key-file", &keys],
        &["verify", "DIR", "--key-file", &keys],
        &[&export[..], &[&sealed]].concat(),
        &[&export[..], &[&plain, "--decrypt"]].concat(),
        &["decrypt", &sealed, "--key-file", &keys, "--out", &lines],
    ];
    for words in done {
        assert_eq!(log(words, &dir).await.unwrap(), ExitCode::SUCCESS, "{words:?}");
    }
    let plain = fs::read(plain).unwrap();
    assert!(plain.starts_with(b"{\"n\":1}\n"));
    assert_eq!(fs::read(&lines).unwrap(), plain);
    let bytes = fs::read(&sealed).unwrap();
    assert!(!bytes.windows(7).any(|part| part == b"{\"n\":1}"));
    assert_eq!(fs::metadata(&lines).unwrap().permissions().mode() & 0o777, 0o600);

    let error = log(&["decrypt", &sealed, "--key-file", &other], &dir).await.unwrap_err();
    assert_eq!(error.exit_code(), exit::USAGE, "{error}");
    fs::write(&sealed, &bytes[..bytes.len() - 1]).unwrap();
    for file in [&sealed, &lines] {
        let cut = place.path().join("cut");
        let words = ["decrypt", file, "--key-file", &keys, "--out", cut.to_str().unwrap()];
        let error = log(&words, &dir).await.unwrap_err();
        assert_eq!(error.exit_code(), exit::DATA, "{error}");
        assert!(!cut.exists());
    }
}
