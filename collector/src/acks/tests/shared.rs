//! What collectors tell each other: its bounds, and through a broker.

use std::time::Duration;

use common::kafka::Kafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::super::record::{Text, Watermark};
use super::super::unpublished::NOTES;
use super::super::{book, others};
use super::*;

const HOUR_MS: i64 = 3_600_000;

fn watermark(before: usize) -> Record {
    Record::Watermark(Watermark {
        before: Text(sequence(before)),
        aside: Vec::new(),
        lost_since: Text(Sequence::ZERO),
        dead_letters_since: [("orders".to_owned(), Text(Sequence::ZERO))].into(),
    })
}

fn letter(number: usize) -> Record {
    let (sequence, source) = (sequence(number), "orders".into());
    Record::Note(Note::DeadLetter { sequence, source, reason: Some(Reason::MissingId) })
}

#[test]
fn a_log_that_nobody_has_heard_of_is_not_known_and_only_while_kafka_is_not_read_that_may_change() {
    let acks = acks(&Recovered::default());
    assert_eq!(acks.find("orders", "orders.18.1-1"), Err(Unknown::NotRead));
    acks.others().current(true);
    assert_eq!(acks.find("orders", "orders.18.1-1"), Err(Unknown::NotKept));
    acks.heard("18", &letter(1), 5);
    assert_eq!(acks.find("orders", "orders.18.1-1"), Err(Unknown::NotKept), "only a note");
    acks.heard("18", &watermark(2), 7);
    let fate = acks.find("orders", "orders.18.1-1").unwrap();
    assert_eq!((fate.state, fate.as_of_ms), (State::InKafka, Some(7)));
    assert_eq!(fate.dead_letters, [("18:1".to_owned(), Reason::MissingId)]);
    assert_eq!(state(&acks, "orders.18.1-9"), State::Logged);
    acks.others().current(false);
    assert_eq!(state(&acks, "orders.18.1-1"), State::InKafka, "from what it has");
    // It is told to the source alone that has acknowledged.
    assert_eq!(acks.find("other", "orders.18.1-1"), Err(Unknown::OtherSource));
    acks.others().current(true);
    assert_eq!(acks.find("other", "other.18.1-1"), Err(Unknown::NotKept));
    // Nobody tells a collector about its own log.
    acks.heard("17", &watermark(9), 7);
    assert_eq!(acks.find("orders", "orders.17.1-1"), Err(Unknown::NotGiven));
}

#[test]
fn what_is_heard_is_answered_when_the_topic_was_once_read_to_its_end() {
    let acks = acks(&Recovered::default());
    acks.heard("18", &watermark(2), 1);
    let find = || acks.find("orders", "orders.18.1-1").map(|fate| fate.state);
    assert_eq!(find(), Err(Unknown::NotRead), "its dead letters may come yet");
    acks.others().current(true);
    assert_eq!(find(), Ok(State::InKafka));
    acks.others().current(false);
    assert_eq!(find(), Ok(State::InKafka));
    acks.others().begin();
    assert_eq!(find(), Err(Unknown::NotRead), "what was missed may be deleted");
}

#[test]
fn a_log_is_forgotten_a_day_after_its_last_word_also_if_only_this_collector_speaks() {
    let acks = acks(&Recovered::default());
    acks.others().current(true);
    acks.heard("18", &watermark(2), HOUR_MS);
    acks.heard("17", &watermark(2), HOUR_MS + others::KEPT_MS);
    assert_eq!(state(&acks, "orders.18.1-1"), State::InKafka);
    acks.heard("17", &watermark(2), HOUR_MS + others::KEPT_MS + 1);
    assert_eq!(acks.find("orders", "orders.18.1-1"), Err(Unknown::NotKept));
}

#[test]
fn a_log_is_forgotten_a_day_after_its_last_word() {
    let acks = acks(&Recovered::default());
    acks.others().current(true);
    acks.heard("18", &watermark(2), HOUR_MS);
    acks.heard("19", &watermark(2), 25 * HOUR_MS);
    assert_eq!(state(&acks, "orders.18.1-1"), State::InKafka);
    acks.heard("19", &watermark(2), HOUR_MS + others::KEPT_MS + 1);
    assert_eq!(acks.find("orders", "orders.18.1-1"), Err(Unknown::NotKept));
    assert_eq!(state(&acks, "orders.19.1-1"), State::InKafka);
}

#[test]
fn of_too_many_logs_that_is_forgotten_which_is_silent_for_longest() {
    let acks = acks(&Recovered::default());
    acks.others().current(true);
    for number in 0..=others::INSTANCES {
        acks.heard(&format!("i{number}"), &watermark(2), 10 + i64::try_from(number).unwrap());
    }
    assert_eq!(acks.find("orders", "orders.i0.1-1"), Err(Unknown::NotKept));
    assert_eq!(state(&acks, "orders.i1.1-1"), State::InKafka);
}

#[test]
fn of_too_many_dead_letters_the_oldest_are_forgotten_and_the_answer_says_so() {
    let acks = acks(&Recovered::default());
    acks.others().current(true);
    let each = book::DEAD_LETTERS;
    let logs = others::DEAD_LETTERS / each + 1;
    for log in 0..logs {
        for number in 0..each {
            acks.heard(&format!("i{log}"), &letter(number), 1);
            // Of the last log twice, as after a round that failed: it is one dead letter.
            if log == logs - 1 {
                acks.heard(&format!("i{log}"), &letter(number), 1);
            }
        }
        acks.heard(&format!("i{log}"), &watermark(each), 1);
    }
    for (log, is_known) in [("i0", false), ("i1", true)] {
        let fate = acks.find("orders", &format!("orders.{log}.3-3")).unwrap();
        assert_eq!((fate.state, fate.is_complete), (State::InKafka, is_known), "{log}");
        assert_eq!(fate.dead_letters.len(), usize::from(is_known), "{log}");
    }
}

#[test]
fn notes_that_kafka_does_not_take_are_bounded_and_others_are_told_that_some_are_missing() {
    // Of two sources, so that this collector itself remembers all of them.
    let (acks, reader, sources) = (Acks::default(), Acks::default(), ["orders", "returns"]);
    reader.others().current(true);
    for source in sources {
        acks.follow(&source.into());
    }
    acks.begin("17", &Recovered::default());
    let all = NOTES + 100;
    acks.give("orders", span(0, all));
    for number in 0..all {
        acks.dead_letter(sequence(number), &(Reason::MissingId, sources[number % 2].into()));
        if number == 50 {
            let round = acks.begin_round(Instant::now()).unwrap();
            acks.end_round(round, false);
        }
    }
    acks.settled_before(sequence(all));
    let round = acks.begin_round(Instant::now()).unwrap();
    assert_eq!(round.notes.len(), NOTES);
    for note in &round.notes {
        reader.heard("17", &Record::Note(note.clone()), 1);
    }
    reader.heard("17", &Record::Watermark(round.watermark), 1);
    let is_complete = |acks: &Acks, number: usize| {
        let source = sources[number % 2];
        let fate = acks.find(source, &format!("{source}.17.{number}-{number}")).unwrap();
        assert!(!fate.is_complete || fate.dead_letters.len() == 1);
        fate.is_complete
    };
    assert!([0, 99, 100, all - 1].into_iter().all(|number| is_complete(&acks, number)));
    assert!(!is_complete(&reader, 99));
    assert!(is_complete(&reader, 100) && is_complete(&reader, all - 1));
}

#[test]
fn many_entries_that_are_kept_apart_make_the_watermark_lower_and_not_larger() {
    let acks = acks(&Recovered::default());
    for number in 0..2 * book::ASIDE {
        // Ranges of two.
        acks.put_aside(sequence(10 + 3 * number));
        acks.put_aside(sequence(11 + 3 * number));
    }
    acks.settled_before(sequence(10_000));
    let round = acks.begin_round(Instant::now()).unwrap();
    assert_eq!(round.watermark.aside.len(), book::ASIDE);
    assert_eq!(round.watermark.before.0, sequence(10 + 3 * book::ASIDE));
}

#[test]
fn others_are_told_what_is_new_or_after_ten_minutes_that_nothing_is() {
    let (acks, start) = (acks(&Recovered::default()), Instant::now());
    let is_told = |after: Duration| {
        let round = acks.begin_round(start + after);
        round.map(|round| acks.end_round(round, true)).is_some()
    };
    assert!(is_told(Duration::ZERO), "that there is such a log");
    assert!(!is_told(Duration::from_secs(599)));
    assert!(is_told(Duration::from_secs(600)));
    assert!(!is_told(Duration::from_secs(601)));
    acks.settled_before(sequence(1));
    assert!(is_told(Duration::from_secs(602)));
    acks.lost(sequence(1), sequence(2));
    assert!(is_told(Duration::from_secs(603)));
    let round = acks.begin_round(start + Duration::from_secs(2000)).unwrap();
    acks.end_round(round, false);
    assert!(is_told(Duration::from_secs(2001)), "it may not be there");
}

#[test]
fn of_what_is_older_than_a_day_the_dead_letters_may_be_missing() {
    let (acks, start) = (acks(&Recovered::default()), Instant::now());
    let hour = |number: u32| start + number * Duration::from_secs(3600);
    let floor = |number: u32| {
        acks.give("orders", span(0, 10 * number as usize));
        let round = acks.begin_round(hour(number)).unwrap();
        let since = round.watermark.dead_letters_since["orders"].0;
        assert_eq!(round.watermark.lost_since.0, since);
        acks.end_round(round, true);
        since
    };
    let floors: Vec<_> = (0..=27).map(floor).collect();
    assert!(floors[..25].iter().all(|floor| *floor <= sequence(1)), "{floors:?}");
    assert_eq!(floors[25..], [sequence(11), sequence(21), sequence(31)]);
}

/// A broker in this process, and the configuration of its clients.
fn broker() -> (MockCluster<'static, DefaultProducerContext>, Kafka) {
    let cluster = MockCluster::new(1).unwrap();
    let kafka = Kafka { brokers: cluster.bootstrap_servers(), ..Kafka::default() };
    cluster.create_topic("collector-acks", 1, 1).unwrap();
    (cluster, kafka)
}

/// A collector whose log is this instance.
fn collector(instance: &str) -> Acks {
    let acks = Acks::default();
    acks.follow(&"orders".into());
    acks.begin(instance, &Recovered::default());
    acks
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_collector_answers_also_when_the_one_that_has_acknowledged_is_gone() {
    let (_cluster, kafka) = broker();
    let (one, two) = (collector("17"), collector("18"));
    let sharing = one.share(&kafka).unwrap().unwrap();
    let [delivered, waiting] = [span(0, 1), span(2, 3)].map(|span| one.give("orders", span));
    one.dead_letter(sequence(1), &(Reason::MissingId, "orders".into()));
    one.settled_before(sequence(2));
    let reading = two.share(&kafka).unwrap().unwrap();
    let find = |acks: &Acks, id: &str| acks.find("orders", id);
    until(|| find(&two, &delivered).is_ok_and(|fate| fate.state == State::InKafka)).await;
    let own = find(&one, &delivered).unwrap();
    let fate = find(&two, &delivered).unwrap();
    assert!(fate.as_of_ms.is_some_and(|time_ms| time_ms > 0) && fate.is_complete);
    assert_eq!(Fate { as_of_ms: None, ..fate }, own);
    assert_eq!(find(&two, &waiting).unwrap().state, State::Logged);
    until(|| find(&two, "orders.19.1-1") == Err(Unknown::NotKept)).await;

    // It says its last word when it is stopped.
    one.settled_before(sequence(4));
    sharing.close().await;
    until(|| find(&two, &waiting).unwrap().state == State::InKafka).await;

    // One that starts later reads all of it.
    reading.close().await;
    let three = collector("20");
    let _sharing = three.share(&kafka).unwrap().unwrap();
    until(|| find(&three, &waiting).is_ok_and(|fate| fate.state == State::InKafka)).await;
    assert_eq!(find(&three, &delivered).unwrap().dead_letters, own.dead_letters);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_what_is_known_is_answered_and_then_the_newest_is_told() {
    let (cluster, kafka) = broker();
    let (one, two) = (collector("17"), collector("18"));
    let id = one.give("orders", span(0, 9));
    cluster.broker_down(1).unwrap();
    let _sharing = [&one, &two].map(|acks| acks.share(&kafka).unwrap());
    assert_eq!(two.find("orders", &id), Err(Unknown::NotRead));
    for low in 1..=10 {
        one.settled_before(sequence(low));
    }
    cluster.broker_up(1).unwrap();
    until(|| two.find("orders", &id).is_ok_and(|fate| fate.state == State::InKafka)).await;
    cluster.broker_down(1).unwrap();
    until(|| two.find("orders", "orders.19.1-1") == Err(Unknown::NotRead)).await;
    assert_eq!(state(&two, &id), State::InKafka);
}

#[tokio::test]
async fn without_a_source_that_acknowledges_nothing_is_shared() {
    let kafka = Kafka { brokers: "127.0.0.1:1".to_owned(), ..Kafka::default() };
    assert!(Acks::default().share(&kafka).unwrap().is_none());
}
