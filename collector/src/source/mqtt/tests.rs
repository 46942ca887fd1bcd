use std::fs;

use super::*;
use crate::config::MqttVersion;
use crate::intake::Message;
use crate::receipt::Receipts;
use crate::source::feed::following::{Following, follow, until};
use broker::{Broker, Sent, Session};
use common::event::Reason;
use common::message_log::Sequence;

mod broker;

fn event(number: u16) -> String {
    format!(r#"{{"rsvp_id":{number}}}"#)
}

/// The next message, whose receipt is kept under this number.
async fn kept(source: &mut Following, receipts: &Receipts, number: usize) -> Message {
    let mut message = source.next().await;
    let receipt = message.receipt.take().unwrap();
    receipts.add(Sequence::from_opaque(number), receipt, None);
    message
}

#[tokio::test]
async fn messages_are_acknowledged_in_their_order_when_they_are_safe() {
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let (broker, receipts) = (Broker::new(version).await, Receipts::default());
        let mut source = follow(broker.source(&broker.section()), None);
        let (mut session, connect) = broker.session(false).await;
        let expected = Sent::Connect {
            client_id: "millrace-sensors".to_owned(),
            is_clean: false,
            user: Some("ada".to_owned()),
            password: Some(b"s3cret".to_vec()),
        };
        assert_eq!(connect, expected);
        session.subscribed().await;
        for number in 1..=3 {
            session.publish(Some(number), event(number)).await;
            let message = kept(&mut source, &receipts, number.into()).await;
            assert_eq!(message.payload, event(number));
        }
        receipts.acknowledged(Sequence::from_opaque(2));
        receipts.acknowledged(Sequence::from_opaque(1));
        assert_eq!(
            [session.next().await, session.next().await],
            [Sent::Puback(1), Sent::Puback(2)]
        );
        // What is not safe is not acknowledged at a stop, and comes again.
        source.shutdown.cancel();
        drop(receipts);
        assert_eq!(session.next().await, Sent::Leave);
        source.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_session_goes_on_after_an_interruption_and_a_lost_one_is_a_gap() {
    let (broker, receipts) = (Broker::new(MqttVersion::V5).await, Receipts::default());
    let mut source = follow(broker.source(&broker.section()), None);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    session.publish(Some(1), event(1)).await;
    kept(&mut source, &receipts, 1).await;
    drop(session);
    let (mut session, _) = broker.session(true).await;
    session.publish(Some(1), event(1)).await;
    kept(&mut source, &receipts, 2).await;
    receipts.acknowledged(Sequence::from_opaque(2));
    assert_eq!(session.next().await, Sent::Puback(1), "and no second subscription");
    assert_eq!(source.metrics.gaps.get(), 0);
    drop(session);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    drop(session);
    // The gap is still open, though this session is known.
    let (mut session, _) = broker.session(true).await;
    session.publish(Some(1), event(2)).await;
    source.next().await;
    assert_eq!(source.metrics.gaps.get(), 1);
}

#[tokio::test]
async fn a_session_that_has_brought_nothing_yet_has_no_gap_at_an_interruption() {
    let broker = Broker::new(MqttVersion::V5).await;
    let mut source = follow(broker.source(&broker.section()), None);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    source.ready().await;
    drop(session);
    let (mut session, _) = broker.session(true).await;
    session.publish(Some(1), event(1)).await;
    source.next().await;
    assert_eq!(source.metrics.gaps.get(), 0);
}

#[tokio::test]
async fn a_source_is_ready_when_the_broker_has_taken_the_subscription() {
    let (broker, receipts) = (Broker::new(MqttVersion::V5).await, Receipts::default());
    let mut source = follow(broker.source(&broker.section()), Some("x".into()));
    let (mut session, _) = broker.session(true).await;
    assert!(matches!(session.next().await, Sent::Subscribe(_)));
    // What the session has kept comes before.
    session.publish(Some(1), event(1)).await;
    kept(&mut source, &receipts, 1).await;
    assert_eq!(source.metrics.connected.get(), 0);
    assert!(source.readiness.unmet().contains_key("source"));
    session.send(&[0x90, 4, 0, 1, 0, 1]).await;
    source.ready().await;
    assert_eq!(source.metrics.connected.get(), 1);
}

#[tokio::test]
async fn after_silence_a_source_is_ready_when_it_is_subscribed_and_a_message_has_come() {
    let (broker, receipts) = (Broker::new(MqttVersion::V5).await, Receipts::default());
    let mut section = broker.section();
    section.connect.silence_timeout = Some(Duration::from_millis(500));
    let mut source = follow(broker.source(&section), None);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    source.unready("silence_timeout").await;
    // An attempt that fails does not end the silence.
    drop(broker.listener.accept().await.unwrap());
    let (mut session, _) = broker.session(true).await;
    until(|| source.metrics.connected.get() == 1).await;
    assert!(source.readiness.unmet().contains_key("source"));
    drop(session);
    // Nor does what comes before the subscription is taken.
    (session, _) = broker.session(false).await;
    assert!(matches!(session.next().await, Sent::Subscribe(_)));
    session.publish(Some(1), event(1)).await;
    kept(&mut source, &receipts, 1).await;
    assert!(source.readiness.unmet().contains_key("source"));
    session.send(&[0x90, 4, 0, 1, 0, 1]).await;
    source.ready().await;
}

#[tokio::test]
async fn a_filter_that_is_not_configured_any_more_is_given_up() {
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let (broker, receipts) = (Broker::new(version).await, Receipts::default());
        let topics = ["a/#", "b/+"].map(str::to_owned).to_vec();
        let section = Section { topics: topics.clone(), ..broker.section() };
        let mut source = follow(broker.source(&section), None);
        let (mut session, _) = broker.session(false).await;
        assert_eq!(session.next().await, Sent::Subscribe(topics));
        session.publish(Some(1), event(1)).await;
        let cursor = kept(&mut source, &receipts, 1).await.cursor.unwrap();
        source.shutdown.cancel();
        drop((session, receipts));
        source.task.await.unwrap();

        let receipts = Receipts::default();
        let mut source = follow(broker.source(&broker.section()), Some(cursor.0));
        let given_up = Sent::Unsubscribe(vec!["b/+".to_owned()]);
        // Until the broker has confirmed it.
        let (mut session, _) = broker.session(true).await;
        assert_eq!(session.next().await, given_up);
        session.publish(Some(1), event(1)).await;
        kept(&mut source, &receipts, 1).await;
        drop(session);
        let (mut session, _) = broker.session(true).await;
        assert_eq!(session.next().await, given_up);
        session.unsubscribed(0x87).await;
        session.subscribed().await;
        session.publish(Some(1), event(1)).await;
        let cursor = kept(&mut source, &receipts, 2).await.cursor.unwrap();
        assert_eq!(
            filters::read(&cursor.0[8..]).len(),
            usize::from(version == MqttVersion::V5) + 1
        );
        drop((session, source));
        let mut source = follow(broker.source(&broker.section()), Some(cursor.0));
        let (mut session, _) = broker.session(true).await;
        if version == MqttVersion::V5 {
            assert_eq!(session.next().await, given_up, "the broker has refused it");
            session.unsubscribed(0).await;
        }
        session.subscribed().await;
        session.publish(Some(1), event(1)).await;
        let cursor = kept(&mut source, &receipts, 3).await.cursor.unwrap();
        drop((session, source));

        let _source = follow(broker.source(&broker.section()), Some(cursor.0));
        let (mut session, _) = broker.session(true).await;
        session.subscribed().await;
    }
}

#[tokio::test]
async fn a_subscription_that_was_not_confirmed_is_sent_again_on_the_next_connection() {
    let (broker, receipts) = (Broker::new(MqttVersion::V5).await, Receipts::default());
    let mut source = follow(broker.source(&broker.section()), None);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    session.publish(Some(1), event(1)).await;
    kept(&mut source, &receipts, 1).await;
    drop(session);
    // The broker has forgotten the session, takes the subscription, and is gone before it says so.
    let (mut session, _) = broker.session(false).await;
    assert_eq!(session.next().await, Sent::Subscribe(vec!["a/#".to_owned()]));
    drop(session);
    // It knows the session that it has just made; whether that has the subscription nobody knows.
    let (mut session, _) = broker.session(true).await;
    session.subscribed().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_a_dead_letter_and_the_next_one_comes() {
    let (broker, receipts) = (Broker::new(MqttVersion::V5).await, Receipts::default());
    let mut section = broker.section();
    section.connect.max_message_bytes = 2000;
    let mut source = follow(broker.source(&section), None);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    session.publish(Some(1), vec![b'x'; 1 << 20]).await;
    session.publish(Some(2), event(2)).await;
    let cut = kept(&mut source, &receipts, 1).await;
    assert_eq!((cut.identity, cut.payload.len()), (Err(Reason::TooLarge), 1024));
    assert_eq!(kept(&mut source, &receipts, 2).await.payload, event(2));
    receipts.synced_before(Sequence::from_opaque(3));
    assert_eq!([session.next().await, session.next().await], [Sent::Puback(1), Sent::Puback(2)]);
}

#[tokio::test]
async fn messages_of_one_publication_are_acknowledged_together() {
    let (broker, receipts) = (Broker::new(MqttVersion::V3).await, Receipts::default());
    let framing = crate::config::Framing::Array(None);
    let mut source = follow(broker.source(&Section { framing, ..broker.section() }), None);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    session.publish(Some(1), "[]").await;
    assert_eq!(session.next().await, Sent::Puback(1), "an empty one at once");
    session.publish(Some(2), format!("[{},{}]", event(1), event(2))).await;
    session.publish(Some(3), "no array").await;
    for number in 1..=3 {
        kept(&mut source, &receipts, number).await;
    }
    receipts.acknowledged(Sequence::from_opaque(3));
    receipts.acknowledged(Sequence::from_opaque(1));
    receipts.acknowledged(Sequence::from_opaque(2));
    assert_eq!([session.next().await, session.next().await], [Sent::Puback(2), Sent::Puback(3)]);
}

#[tokio::test]
async fn without_acknowledgements_each_message_comes_once() {
    let broker = Broker::new(MqttVersion::V5).await;
    let mut source = follow(broker.source(&Section { qos: 0, ..broker.section() }), None);
    let (mut session, connect) = broker.session(false).await;
    assert!(matches!(connect, Sent::Connect { is_clean: true, .. }), "{connect:?}");
    session.subscribed().await;
    session.publish(None, event(1)).await;
    let message = source.next().await;
    assert!(message.receipt.is_none());
    drop(session);
    let (mut session, _) = broker.session(false).await;
    session.subscribed().await;
    session.publish(None, event(2)).await;
    source.next().await;
    assert_eq!(source.metrics.gaps.get(), 1, "an interruption is a gap");
}

#[tokio::test]
async fn an_interruption_is_a_gap_where_the_session_does_not_keep_all() {
    for granted in [0, 1] {
        let broker = Broker::new(MqttVersion::V5).await;
        let mut source = follow(broker.source(&broker.section()), None);
        let (mut session, _) = broker.session(false).await;
        assert!(matches!(session.next().await, Sent::Subscribe(_)));
        session.send(&[0x90, 4, 0, 1, 0, granted]).await;
        source.ready().await;
        if granted == 1 {
            // A publisher may have sent it so.
            session.publish(None, event(1)).await;
            assert!(source.next().await.receipt.is_none());
        }
        drop(session);
        let (mut session, _) = broker.session(true).await;
        session.publish(Some(1), event(2)).await;
        let message = source.next().await;
        assert_eq!(source.metrics.gaps.get(), 1);
        drop(source);

        // So is that between two processes.
        let mut source = follow(broker.source(&broker.section()), Some(message.cursor.unwrap().0));
        let (mut session, _) = broker.session(true).await;
        session.subscribed().await;
        session.publish(Some(1), event(3)).await;
        source.next().await;
        assert_eq!(source.metrics.gaps.get(), 1);
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_what_to_do() {
    for (version, code, advice) in [
        (MqttVersion::V5, 0x86, "check username and password_file"),
        (MqttVersion::V5, 0x84, "set version = \"3.1.1\""),
        (MqttVersion::V3, 2, "set another client_id"),
    ] {
        let broker = Broker::new(version).await;
        let source = follow(broker.source(&broker.section()), None);
        let (socket, _) = broker.listener.accept().await.unwrap();
        let mut session = Session { socket, version };
        session.next().await;
        session.answer(false, code).await;
        source.unready(advice).await;
    }
    let broker = Broker::new(MqttVersion::V3).await;
    let source = follow(broker.source(&broker.section()), None);
    let (mut session, _) = broker.session(false).await;
    session.next().await;
    session.send(&[0x90, 3, 0, 1, 0x80]).await;
    source.unready("refuses the subscription to a/#").await;
    let (mut session, _) = broker.session(true).await;
    session.next().await;
    session.send(&[0x90, 2, 0, 1]).await;
    source.unready("answers to 0 of 1 subscriptions").await;
    let (mut session, _) = broker.session(true).await;
    session.subscribed().await;
}

#[tokio::test]
async fn the_password_is_read_at_every_connect() {
    let broker = Broker::new(MqttVersion::V5).await;
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    fs::write(&password_file, "one\n").unwrap();
    let section = Section {
        username: "grace".to_owned(),
        password_file: password_file.clone(),
        client_id: "c-1".to_owned(),
        ..broker.section()
    };
    let _source = follow(broker.source(&section), None);
    for wanted in ["one", "two"] {
        let (_session, connect) = broker.session(false).await;
        let Sent::Connect { client_id, user, password, .. } = connect else {
            panic!("{connect:?}")
        };
        assert_eq!((&*client_id, user.as_deref()), ("c-1", Some("grace")));
        assert_eq!(password.unwrap(), wanted.as_bytes());
        fs::write(&password_file, "two").unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_kept_alive_and_a_broker_that_is_gone_is_noticed() {
    let broker = Broker::new(MqttVersion::V5).await;
    let source = follow(broker.source(&broker.section()), None);
    let (socket, _) = broker.listener.accept().await.unwrap();
    let mut session = Session { socket, version: broker.version };
    session.next().await;
    // The broker wants to hear something every second.
    session.send(&[0x20, 6, 0, 0, 3, 0x13, 0, 1]).await;
    session.subscribed().await;
    assert_eq!(session.next().await, Sent::Ping);
    session.send(&[0xd0, 0]).await;
    assert_eq!(session.next().await, Sent::Ping);
    source.unready("does not answer to pings").await;
}
