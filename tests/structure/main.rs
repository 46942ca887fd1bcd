//! Checks which parts of the sources may import which (see `pipeline_tests::structure`), and that the commands in the
//! documentation name what exists.
#![expect(clippy::expect_used, reason = "a test's failure is the message")]

mod capacity;
mod commands;
mod objects;

use std::path::{Path, PathBuf};

use pipeline_tests::structure::{Sources, circles};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn no_two_files_of_a_crate_import_each_other() {
    for package in ["access-api", "analyzer", "cli", "collector", "common", "tests"] {
        let circles = circles(&Sources::read(&workspace().join(package).join("src")).edges());
        assert!(
            circles.is_empty(),
            "{package}: files that import each other in a circle: {circles:#?}"
        );
    }
}

#[test]
fn the_analyzers_core_depends_on_its_arguments_alone() {
    let breaches = Sources::read(&workspace().join("analyzer/src")).breaches("core");
    assert!(breaches.is_empty(), "the core imports what it may not: {breaches:#?}");
}
