use std::fs;

use mqtt_proto::{Pid, QosPid, TopicName, v3, v5};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{Connect, MqttVersion};
use crate::intake::Message;
use crate::receipt::Receipts;
use crate::source::feed::following::{Following, follow, until};
use common::event::Reason;
use common::message_log::Sequence;

/// A broker, played by the test.
struct Broker {
    listener: TcpListener,
    version: MqttVersion,
}

/// A session of a client.
struct Session {
    socket: TcpStream,
    version: MqttVersion,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Connect { client_id: String, is_clean: bool, user: Option<String>, password: Option<Vec<u8>> },
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    Puback(u16),
    Ping,
    Leave,
    Ended,
}

impl Broker {
    async fn new(version: MqttVersion) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), version }
    }

    fn section(&self) -> Section {
        let url = format!("mqtt://ada:s3cret@{}", self.listener.local_addr().unwrap());
        let connect = Connect {
            url: url.as_str().into(),
            reconnect_base_ms: 1,
            reconnect_cap_ms: 1,
            ..Connect::default()
        };
        Section {
            connect,
            version: self.version,
            topics: vec!["a/#".to_owned()],
            ..Section::default()
        }
    }

    fn source(&self, section: &Section) -> Mqtt {
        Mqtt::new(&"sensors".into(), section).unwrap()
    }

    /// The next session. `is_known` says that it was there before.
    async fn session(&self, is_known: bool) -> (Session, Sent) {
        let (socket, _) = self.listener.accept().await.unwrap();
        let mut session = Session { socket, version: self.version };
        let connect = session.next().await;
        session.answer(is_known, 0).await;
        (session, connect)
    }
}

impl Session {
    async fn next(&mut self) -> Sent {
        let Ok(kind) = self.socket.read_u8().await else { return Sent::Ended };
        // The packets of these tests are short.
        let length = self.socket.read_u8().await.unwrap();
        assert!(length < 0x80);
        let mut packet = vec![kind, length];
        packet.resize(2 + usize::from(length), 0);
        self.socket.read_exact(&mut packet[2..]).await.unwrap();
        match self.version {
            MqttVersion::V5 => match v5::Packet::decode(&packet).unwrap().unwrap() {
                v5::Packet::Connect(connect) => Sent::Connect {
                    client_id: connect.client_id.to_string(),
                    is_clean: connect.clean_start,
                    user: connect.username.map(|user| user.to_string()),
                    password: connect.password.map(|password| password.to_vec()),
                },
                v5::Packet::Subscribe(subscribe) => Sent::Subscribe(
                    subscribe.topics.iter().map(|(topic, _)| topic.to_string()).collect(),
                ),
                v5::Packet::Unsubscribe(given_up) => {
                    Sent::Unsubscribe(given_up.topics.iter().map(ToString::to_string).collect())
                }
                v5::Packet::Puback(ack) => Sent::Puback(ack.pid.value()),
                v5::Packet::Pingreq => Sent::Ping,
                v5::Packet::Disconnect(_) => Sent::Leave,
                other => panic!("{other:?}"),
            },
            MqttVersion::V3 => match v3::Packet::decode(&packet).unwrap().unwrap() {
                v3::Packet::Connect(connect) => Sent::Connect {
                    client_id: connect.client_id.to_string(),
                    is_clean: connect.clean_session,
                    user: connect.username.map(|user| user.to_string()),
                    password: connect.password.map(|password| password.to_vec()),
                },
                v3::Packet::Subscribe(subscribe) => Sent::Subscribe(
                    subscribe.topics.iter().map(|(topic, _)| topic.to_string()).collect(),
                ),
                v3::Packet::Unsubscribe(given_up) => {
                    Sent::Unsubscribe(given_up.topics.iter().map(ToString::to_string).collect())
                }
                v3::Packet::Puback(pid) => Sent::Puback(pid.value()),
                v3::Packet::Pingreq => Sent::Ping,
                v3::Packet::Disconnect => Sent::Leave,
                other => panic!("{other:?}"),
            },
        }
    }

    async fn send(&mut self, packet: &[u8]) {
        self.socket.write_all(packet).await.unwrap();
    }

    /// Answers that the session is open, or why not.
    async fn answer(&mut self, is_known: bool, code: u8) {
        let known = u8::from(is_known);
        match self.version {
            MqttVersion::V5 => self.send(&[0x20, 3, known, code, 0]).await,
            MqttVersion::V3 => self.send(&[0x20, 2, known, code]).await,
        }
    }

    /// Expects the subscription, and takes it.
    async fn subscribed(&mut self) {
        assert_eq!(self.next().await, Sent::Subscribe(vec!["a/#".to_owned()]));
        match self.version {
            MqttVersion::V5 => self.send(&[0x90, 4, 0, 1, 0, 1]).await,
            MqttVersion::V3 => self.send(&[0x90, 3, 0, 1, 1]).await,
        }
    }

    async fn publish(&mut self, pid: Option<u16>, payload: impl AsRef<[u8]>) {
        let qos = pid.map_or(QosPid::Level0, |pid| QosPid::Level1(Pid::try_from(pid).unwrap()));
        let topic = TopicName::try_from("a/b").unwrap();
        let payload = bytes::Bytes::copy_from_slice(payload.as_ref());
        let packet = match self.version {
            MqttVersion::V5 => v5::Packet::Publish(v5::Publish::new(qos, topic, payload)).encode(),
            MqttVersion::V3 => v3::Packet::Publish(v3::Publish::new(qos, topic, payload)).encode(),
        };
        self.send(packet.unwrap().as_ref()).await;
    }
}

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
        receipts.release(Sequence::from_opaque(2));
        receipts.release(Sequence::from_opaque(1));
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
    receipts.release(Sequence::from_opaque(2));
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
        session.subscribed().await;
        session.publish(Some(1), event(1)).await;
        let cursor = kept(&mut source, &receipts, 2).await.cursor.unwrap();
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
    receipts.release_before(Sequence::from_opaque(3));
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
    receipts.release(Sequence::from_opaque(3));
    receipts.release(Sequence::from_opaque(1));
    receipts.release(Sequence::from_opaque(2));
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
