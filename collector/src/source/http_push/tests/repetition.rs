//! Requests that come twice.

use super::*;

const KEY: &str = "Idempotency-Key: 7f1c\r\n";

#[tokio::test]
async fn a_repetition_with_its_key_gets_the_same_answer_and_is_taken_once() {
    let bench = Bench::new(Section::default());
    let first = bench.post(KEY, rsvp(1)).await;
    let again = bench.post(KEY, rsvp(1)).await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.body, again.body);
    assert!(
        again.head.contains("idempotency-replayed: true")
            && !first.head.contains("idempotency-replayed")
    );
    let other = bench.post(KEY, rsvp(2)).await;
    assert_eq!((other.status, &other.body["reason"]), (422, &json!("idempotency_key")));
    assert_eq!(bench.post("Idempotency-Key: 8\r\n", rsvp(2)).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(1), rsvp(2)]);
}

#[tokio::test]
async fn a_repetition_while_the_first_is_in_hand_is_told_to_wait() {
    let bench = Bench::new(Section::default());
    bench.gate.send_replace(Gate::Taken);
    let mut first = bench.connect().await;
    let request = post(&format!("Content-Type: application/json\r\n{KEY}"), rsvp(1));
    first.write_all(&request).await.unwrap();
    while bench.taken().is_empty() {
        tokio::task::yield_now().await;
    }
    let again = bench.ask(&request).await;
    assert_eq!((again.status, &again.body["reason"]), (409, &json!("in_hand")));
    assert!(again.head.contains("retry-after: 1"));
    bench.gate.send_replace(Gate::Logged);
    assert_eq!(Answer::read(&mut first).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(1)]);
}

#[tokio::test]
async fn a_client_that_goes_away_finds_its_answer_when_it_asks_again() {
    let bench = Bench::new(Section::default());
    bench.gate.send_replace(Gate::Taken);
    let request = post(&format!("Content-Type: application/json\r\n{KEY}"), rsvp(1));
    let mut first = bench.connect().await;
    first.write_all(&request).await.unwrap();
    while bench.taken().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(first);
    bench.gate.send_replace(Gate::Logged);
    let answer = loop {
        let answer = bench.ask(&request).await;
        if answer.status != 409 {
            break answer;
        }
    };
    assert!(answer.status == 202 && answer.head.contains("idempotency-replayed"), "{answer:?}");
    assert_eq!(bench.end().await, [rsvp(1)]);
}

#[tokio::test]
async fn after_an_answer_that_says_no_a_repetition_is_a_new_attempt() {
    let bench = Bench::new(Section { accept_timeout_ms: 50, ..Section::default() });
    bench.gate.send_replace(Gate::Shut);
    assert_eq!(bench.post(KEY, rsvp(1)).await.status, 503);
    bench.gate.send_replace(Gate::Logged);
    assert_eq!(bench.post(KEY, rsvp(1)).await.status, 202);
    assert_eq!(bench.end().await, [rsvp(1)]);
}
