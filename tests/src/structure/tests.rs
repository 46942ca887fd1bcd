use super::*;

fn sources(files: &[(&str, &str)]) -> Sources {
    Sources::parse(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())))
}

fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    circles(&sources(files).edges())
}

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use crate::{c, a::A}; pub struct B(Box<A>);"),
        ("c.rs", "use std::fmt;"),
    ];
    assert_eq!(circles_of(&files), [["a", "b"]]);
    let without = [files[0], files[1], ("b.rs", "use crate::c;"), files[3]];
    assert_eq!(circles_of(&without), Vec::<Vec<String>>::new());
}

#[test]
fn a_path_in_the_code_is_an_import_too() {
    let files = [("a.rs", "fn a() { crate::b::b() }"), ("b.rs", "pub fn b(_: crate::a::A) {}")];
    assert_eq!(circles_of(&files), [["a", "b"]]);
}

#[test]
fn a_parent_and_its_child_can_be_a_circle() {
    let files = [
        ("a.rs", "mod part; use part::Part; pub struct Whole(Part);"),
        ("a/part.rs", "use super::Whole; pub struct Part(Option<Box<Whole>>);"),
    ];
    assert_eq!(circles_of(&files), [["a", "a/part"]]);
}

#[test]
fn an_import_through_a_re_export_leads_to_the_file_that_defines_the_name() {
    let files = [
        ("a.rs", "mod x; mod y; pub use x::X;"),
        ("a/x.rs", "pub struct X;"),
        ("a/y.rs", "use super::X; pub struct Y(X);"),
    ];
    let edges = sources(&files).edges();
    assert_eq!(edges["a/y"], BTreeSet::from(["a/x".to_owned()]));
    assert_eq!(edges["a"], BTreeSet::new());
}

#[test]
fn tests_are_left_out() {
    let files = [
        ("a.rs", "#[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] use crate::b;"),
        ("b.rs", "use crate::a::A;"),
        ("a/tests.rs", "use crate::b::B;"),
    ];
    assert_eq!(circles_of(&files), Vec::<Vec<String>>::new());
}

#[test]
fn a_wall_refuses_everything_that_depends_on_more_than_arguments() {
    for (text, import) in [
        ("use std::time::{Duration, Instant};", "std::time::Instant"),
        (
            "fn now() -> std::time::SystemTime { std::time::SystemTime::now() }",
            "std::time::SystemTime",
        ),
        ("use std::fs;", "std::fs"),
        ("use std::thread::spawn;", "std::thread::spawn"),
        (
            "use std::collections::hash_map::{Entry, RandomState};",
            "std::collections::hash_map::RandomState",
        ),
        ("use rdkafka::Message;", "rdkafka::Message"),
        ("fn say() { tracing::info!(\"x\") }", "tracing::info"),
        ("fn roll() -> u8 { rand::random() }", "rand::random"),
        ("use common::clock;", "common::clock"),
        ("use crate::stage::tally;", "crate::stage::tally"),
        ("use super::super::app::run;", "crate::app::run"),
        ("fn say() { println!(\"x\") }", "println!"),
    ] {
        let breaches = sources(&[("core/window.rs", text)]).breaches("core");
        assert!(
            breaches.iter().any(|breach| breach.import == import && breach.module == "core/window"),
            "{text}: {breaches:?}"
        );
    }
}

#[test]
fn a_wall_allows_what_depends_on_arguments_only() {
    let text = "use std::{collections::BTreeMap, time::Duration}; use common::event::Pointer; use crate::core::plan; \
                use super::sketch; use common::result::TopN; #[cfg(test)] mod tests { use std::fs; }";
    let files =
        [("core/window.rs", text), ("stage.rs", "use std::time::Instant; use tokio::time;")];
    assert_eq!(sources(&files).breaches("core"), BTreeSet::new());
}
