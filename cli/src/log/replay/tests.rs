use std::collections::BTreeMap;

use common::event::Reason;
use common::kafka::Reader;
use rdkafka::message::Message;

use super::*;
use crate::broker::MemoryBroker;

/// What a record has: its key, its id, its source and its payload.
type Record = (String, Option<String>, Option<String>, String);

fn which(reason: Option<Reason>) -> Which {
    Which { flags: common::config::Flags::default(), reason, since: None }
}

async fn write_letters(kafka: &Kafka, letters: &[(&str, &str)]) {
    let producer: FutureProducer = kafka.producer().unwrap().create().unwrap();
    for (reason, payload) in letters {
        let headers = OwnedHeaders::new()
            .insert(Header { key: header::REASON, value: Some(*reason) })
            .insert(Header { key: header::SOURCE, value: Some("feed") })
            .insert(Header { key: header::SEQ, value: Some("9f3c:7") });
        let record = FutureRecord::<str, str>::to(kafka.name(Topic::DeadLetters))
            .payload(payload)
            .headers(headers);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
}

fn raw(kafka: &Kafka) -> Vec<Record> {
    let topic = kafka.name(Topic::Raw);
    let reader = Reader::new(kafka).unwrap();
    let spans = reader.spans(topic, &reader.partitions(topic).unwrap()).unwrap();
    let mut records = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    reader
        .read_to_end(topic, &spans, &CancellationToken::new(), |record| {
            assert!(header::value(record, header::SEQ).is_none(), "it is of no log");
            let of = |name| header::value(record, name).map(text);
            let key = text(record.key().unwrap());
            let payload = text(record.payload().unwrap());
            records.push((key, of(header::ID), of(header::SOURCE), payload));
        })
        .unwrap();
    records.sort();
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_an_event_after_a_correction_is_published_once_with_its_key_and_id() {
    let config = Config::default();
    let broker = MemoryBroker::start(&config.kafka).unwrap();
    let kafka = Kafka { brokers: broker.bootstrap_servers(), ..config.kafka.clone() };
    let config = Config { kafka: kafka.clone(), ..config };
    let events = [
        r#"{"rsvp_id": 7,  "response":"yes"}"#,
        r#"{"rsvp_id":8,"response":"no","mtime":5}"#,
        r#"{"rsvp_id":9,"response":"no"}"#,
    ];
    let letters = [
        ("missing_id", events[0]),
        ("not_json", "<html>"),
        ("missing_id", events[1]),
        ("missing_id", r#"{"rsvp_id":8}"#),
        ("refused_by_kafka", events[2]),
    ];
    write_letters(&kafka, &letters).await;

    let run = |reason| {
        let config = config.clone();
        tokio::task::spawn_blocking(move || {
            replay(&config, &which(reason), Duration::from_secs(20), &CancellationToken::new())
        })
    };
    let refused = |reason, count| BTreeMap::from([(Some(reason), count)]);
    let (replayed, done) = run(Some(Reason::MissingId)).await.unwrap().unwrap();
    done.unwrap();
    assert_eq!(
        replayed,
        Replayed { published: 2, refused: refused(Reason::MissingId, 1), ..Replayed::default() }
    );
    let record = |at: usize, number: &str, response: &str| -> Record {
        let id = format!("{number}:{response}");
        (number.to_owned(), Some(id), Some("feed".to_owned()), events[at].to_owned())
    };
    let reading = kafka.clone();
    let published = tokio::task::spawn_blocking(move || raw(&reading)).await.unwrap();
    assert_eq!(published, [record(0, "7", "yes"), record(1, "8", "no")]);

    // A second replay makes copies with the same ids, and takes what the first one was not asked for.
    let (replayed, done) = run(None).await.unwrap().unwrap();
    done.unwrap();
    let still = [(Some(Reason::NotJson), 1), (Some(Reason::MissingId), 1)];
    assert_eq!(
        replayed,
        Replayed { published: 3, refused: BTreeMap::from(still), ..Replayed::default() }
    );
    let published = tokio::task::spawn_blocking(move || raw(&kafka)).await.unwrap();
    let ids: Vec<_> = published.iter().filter_map(|(_, id, ..)| id.as_deref()).collect();
    assert_eq!(ids, ["7:yes", "7:yes", "8:no", "8:no", "9:no"]);
    let said = report(&replayed, &config.kafka);
    assert!(
        said.contains("3 published to raw-rsvps") && said.contains("1 not published: not_json")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_kafka_does_not_take_keeps_no_other_from_being_published() {
    let config = Config::default();
    let broker = MemoryBroker::start(&config.kafka).unwrap();
    let mut kafka = Kafka { brokers: broker.bootstrap_servers(), ..config.kafka.clone() };
    let large = format!(r#"{{"rsvp_id":8,"response":"no","a":"{}"}}"#, "x".repeat(20_000));
    let small = |number| format!(r#"{{"rsvp_id":{number},"response":"no"}}"#);
    let letters = [small(7), large, small(9)];
    let letters: Vec<_> = letters.iter().map(|payload| ("missing_id", payload.as_str())).collect();
    write_letters(&kafka, &letters).await;

    kafka.properties.insert("message.max.bytes".to_owned(), "10000".into());
    let config = Config { kafka: kafka.clone(), ..config };
    let reading = config.clone();
    let replayed = tokio::task::spawn_blocking(move || {
        replay(&reading, &which(None), Duration::from_secs(20), &CancellationToken::new())
    });
    let (replayed, done) = replayed.await.unwrap().unwrap();
    done.unwrap();
    assert_eq!((replayed.published, replayed.not_taken.values().sum::<u64>()), (2, 1));
    assert!(report(&replayed, &config.kafka).contains("1 not published: kafka says"));
    let published = tokio::task::spawn_blocking(move || raw(&kafka)).await.unwrap();
    assert_eq!(published.len(), 2);
}
