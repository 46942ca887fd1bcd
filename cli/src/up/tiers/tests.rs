use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory with a program in it that stands for the analyzer.
fn analyzer(script: &str) -> (tempfile::TempDir, Tiers) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("analyzer");
    std::fs::write(&program, format!("#!/bin/sh\ncd '{}'\n{script}\n", directory.path().display()))
        .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tiers = Tiers { collector: PathBuf::new(), analyzer: program, access_api: PathBuf::new() };
    (directory, tiers)
}

#[tokio::test]
async fn an_analyzer_that_is_killed_while_it_is_asked_is_asked_again() {
    let script = "if [ ! -e asked ]; then touch asked; kill -9 $$; fi\nprintf '[[query]]\\nname = \"topics\"\\n[kafka]\\n'";
    let (_directory, tiers) = analyzer(script);
    let analysis = tiers.analysis().await.unwrap();
    assert_eq!(analysis.queries().collect::<Vec<_>>(), ["topics"]);
}

#[tokio::test]
async fn an_analyzer_that_is_always_killed_is_given_up() {
    let (directory, tiers) = analyzer("echo >> asked; kill -9 $$");
    let error = tiers.analysis().await.unwrap_err();
    assert!(matches!(error, Error::Killed { .. }), "{error}");
    let asked = std::fs::read(directory.path().join("asked")).unwrap();
    assert_eq!(asked.len(), QUESTIONS as usize);
}

#[tokio::test]
async fn an_analyzer_that_refuses_its_configuration_is_asked_once_and_quoted() {
    let (directory, tiers) = analyzer("echo >> asked; echo 'capacity: is 0' >&2; exit 64");
    let error = tiers.analysis().await.unwrap_err();
    assert!(error.to_string().contains("capacity: is 0"), "{error}");
    assert_eq!(std::fs::read(directory.path().join("asked")).unwrap().len(), 1);
}
