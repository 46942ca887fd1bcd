use bytes::Bytes;
use common::event::Schema;
use serde::Deserialize;
use toml::Table;

use super::*;

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    preset: Table,
    #[serde(default)]
    source: Table,
    event: Schema,
    query: Vec<Table>,
}

fn written(target: &str, source: Source, options: Options, events: &str) -> File {
    let mut watched = Watched { source: Some(source), ..Watched::default() };
    for event in events.lines() {
        watched.shape.observe(event.as_bytes(), 1_800_000_000_000).unwrap();
        watched.sample.keep(&Bytes::copy_from_slice(event.as_bytes()));
    }
    let proposal = Proposal::of(&watched.shape, &watched.sample);
    let target = Target::of(target).unwrap();
    let text = preset(&target, &options, &watched, &proposal).unwrap();
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    assert_eq!(file.event.problems(), Vec::<String>::new(), "{text}");
    file
}

#[test]
fn a_recording_is_served_by_up() {
    let events = include_str!("../../../fixtures/meetup.jsonl");
    let file = written("a/b.jsonl", Source::Recording, Options::default(), events);
    let path = file.preset["recording"].as_str().unwrap();
    assert!(path.starts_with('/') && path.ends_with("a/b.jsonl"), "{path}");
    assert!(file.source.is_empty());
    assert_eq!(file.query[0]["name"].as_str(), Some("topic_name"));
    assert_eq!(file.query[1]["window"]["kind"].as_str(), Some("sliding"));
    let mut names: Vec<_> = file.query.iter().map(|query| query["name"].as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), file.query.len());
}

#[test]
fn a_socket_has_its_first_messages_and_headers() {
    let options = Options {
        headers: vec!["X-Key: a\"b".parse().unwrap()],
        first_messages: vec!["{\"subscribe\":'all'}".to_owned()],
        ..Options::default()
    };
    let events = include_str!("../../../fixtures/bitflyer.jsonl");
    let file = written("wss://u:p@ws.Example.org/x?a=b", Source::Websocket, options, events);
    let source = file.source["ws_example_org"].as_table().unwrap();
    assert_eq!(source["url"].as_str(), Some("wss://u:p@ws.example.org/x?a=b"));
    assert_eq!(source["headers"]["X-Key"].as_str(), Some("a\"b"));
    assert_eq!(source["first_message"][0].as_str(), Some("{\"subscribe\":'all'}"));
    assert!(!source.contains_key("framing"));
    assert_eq!(file.event.id, common::event::Id::Payload);
}

#[test]
fn framing_is_written_where_it_is_not_the_default_of_the_kind() {
    let events = include_str!("../../../fixtures/wikipedia.jsonl");
    let framing = |source| {
        let file = written("http://host/", source, Options::default(), events);
        let source = file.source["host"].as_table().unwrap().clone();
        source.get("framing").map(ToString::to_string)
    };
    assert_eq!(framing(Source::HttpStream(Framing::Lines)), None);
    assert_eq!(framing(Source::LongPoll(Framing::Array(None))), None);
    assert_eq!(framing(Source::Sse), None);
    assert_eq!(
        framing(Source::HttpStream(Framing::Concatenated)).as_deref(),
        Some("\"concatenated\"")
    );
    let within = Framing::Array(Some("/data/items".to_owned()));
    assert_eq!(framing(Source::LongPoll(within)).as_deref(), Some("{ array = \"/data/items\" }"));
}

#[test]
fn events_with_nothing_but_numbers_have_a_query_all_the_same() {
    let file =
        written("x", Source::Recording, Options::default(), "{\"n\":1}\n{\"n\":1}\n{\"n\":2}");
    assert_eq!(file.query[0]["item"].as_str(), Some("/n"));
}

#[test]
fn names_are_made_of_any_text() {
    let names =
        [("/a/topicName", "topic_name"), ("/x/*", "x"), ("/日本", "items"), ("/$type", "type")];
    for (path, expected) in names {
        assert_eq!(name(last_steps(path, 1), "items"), expected);
    }
    assert_eq!(name(last_steps("/repo/*/name", 2), "items"), "repo_name");
}
