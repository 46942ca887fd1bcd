use common::message_log::Ranges;

use super::book::{DEAD_LETTERS, LISTED, LOST};
use super::*;

mod equality;
mod shared;

fn sequence(number: usize) -> Sequence {
    Sequence::from_opaque(number)
}

fn span(first: usize, last: usize) -> Span {
    Span { first: sequence(first), last: sequence(last) }
}

fn acks(found: &Recovered) -> Acks {
    let acks = Acks::default();
    acks.follow(&"orders".into());
    acks.begin("17", found);
    acks
}

fn state(acks: &Acks, id: &str) -> State {
    acks.find("orders", id).unwrap().state
}

#[test]
fn a_request_is_logged_until_all_of_it_is_in_kafka() {
    let acks = acks(&Recovered::default());
    let id = acks.give("orders", span(3, 5));
    assert_eq!(id, "orders.17.3-5");
    acks.settled_before(sequence(5));
    assert_eq!(state(&acks, &id), State::Logged);
    acks.put_aside(sequence(4));
    acks.settled_before(sequence(6));
    assert_eq!(state(&acks, &id), State::Logged, "one is stuck");
    acks.taken_back(sequence(4));
    assert_eq!(state(&acks, &id), State::InKafka);
    acks.lost(sequence(5), sequence(9));
    assert_eq!(state(&acks, &id), State::Lost);
}

#[test]
fn a_request_has_the_dead_letters_of_its_source_and_says_whether_some_are_forgotten() {
    let found = Recovered { settled: Ranges::below(sequence(2)), ..Recovered::default() };
    let acks = acks(&found);
    acks.give("orders", span(0, 40_000));
    let letter = |number, source: &str| {
        acks.dead_letter(sequence(number), &(Reason::MissingId, source.into()));
    };
    letter(4, "orders");
    letter(5, "other");
    letter(6, "orders");
    let fate = |text| {
        let fate = acks.find("orders", text).unwrap();
        (fate.dead_letters, fate.is_complete)
    };
    let dead = |number: usize| (format!("17:{number}"), Reason::MissingId);
    assert_eq!(fate("orders.17.4-5"), (vec![dead(4)], true));
    assert_eq!(fate("orders.17.0-9"), (vec![dead(4), dead(6)], false), "before the start");
    for number in 0..DEAD_LETTERS {
        letter(100 + number, "orders");
    }
    assert_eq!(fate("orders.17.4-5"), (vec![], false));
    assert_eq!(fate("orders.17.7-100"), (vec![dead(100)], true));
    let (listed, is_complete) = fate("orders.17.100-1000");
    assert_eq!((listed.len(), is_complete), (LISTED, false));
}

#[test]
fn an_answer_says_when_it_is_not_known_any_more_what_was_lost() {
    let is_complete = |acks: &Acks, id| acks.find("orders", id).unwrap().is_complete;
    let found = Recovered { settled: Ranges::below(sequence(6)), ..Recovered::default() };
    let found = Recovered { end: sequence(9), ..found };
    let acks = acks(&found);
    assert_eq!(state(&acks, "orders.17.3-5"), State::InKafka, "as far as the log says");
    assert!(!is_complete(&acks, "orders.17.3-5"), "some may have been lost before the start");
    assert!(is_complete(&acks, "orders.17.6-8"));
    acks.give("orders", span(9, 9_000));
    for number in 0..=LOST {
        acks.lost(sequence(100 + 2 * number), sequence(101 + 2 * number));
    }
    assert!(!is_complete(&acks, "orders.17.100-100"), "the first is forgotten");
    assert!(is_complete(&acks, "orders.17.101-101"));
    for number in 0..=LOST {
        acks.lost(sequence(5_000 + number), sequence(5_001 + number));
    }
    assert!(is_complete(&acks, "orders.17.103-103"), "those that follow each other are one");
}

#[test]
fn an_id_that_nobody_gave_is_not_known() {
    let acks = acks(&Recovered::default());
    acks.give("orders", span(3, 5));
    for (id, unknown) in [
        ("", Unknown::Malformed),
        ("orders.17", Unknown::Malformed),
        ("orders.17.3-5.6", Unknown::Malformed),
        ("orders.17.5-3", Unknown::Malformed),
        ("orders.17.+3-5", Unknown::Malformed),
        ("orders.17.3-99999999999999999999", Unknown::Malformed),
        ("orders.18.3-5", Unknown::NotRead),
        ("other.17.3-5", Unknown::OtherSource),
        ("orders.17.3-6", Unknown::NotGiven),
    ] {
        assert_eq!(acks.find("orders", id), Err(unknown), "{id}");
    }
}

#[tokio::test]
async fn whoever_waits_for_kafka_is_told_when_the_last_message_is_there() {
    let acks = acks(&Recovered::default());
    let waiting = tokio::spawn({
        let acks = acks.clone();
        async move { acks.settled(span(1, 2)).await }
    });
    acks.put_aside(sequence(1));
    acks.settled_before(sequence(3));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    acks.taken_back(sequence(1));
    assert_eq!(waiting.await.unwrap(), State::InKafka);
}

#[tokio::test]
async fn whoever_waits_for_kafka_is_told_when_a_message_is_lost() {
    for lose in [
        |acks: &Acks| {
            acks.put_aside(sequence(1));
            acks.settled_before(sequence(3));
            acks.lost(sequence(1), sequence(2));
            acks.taken_back(sequence(1));
        },
        |acks: &Acks| {
            acks.lost(sequence(1), sequence(3));
            acks.settled_before(sequence(3));
        },
    ] {
        let acks = acks(&Recovered::default());
        let waiting = tokio::spawn({
            let acks = acks.clone();
            async move { acks.settled(span(1, 2)).await }
        });
        tokio::task::yield_now().await;
        lose(&acks);
        assert_eq!(waiting.await.unwrap(), State::Lost);
    }
}
