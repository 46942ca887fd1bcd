//! A broker, played by a test.

use mqtt_proto::{Pid, QosPid, TopicName, v3, v5};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Mqtt, Section};
use crate::config::{Connect, MqttVersion};

/// A broker, played by the test.
pub(super) struct Broker {
    pub(super) listener: TcpListener,
    pub(super) version: MqttVersion,
}

/// A session of a client.
pub(super) struct Session {
    pub(super) socket: TcpStream,
    pub(super) version: MqttVersion,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Connect { client_id: String, is_clean: bool, user: Option<String>, password: Option<Vec<u8>> },
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    Puback(u16),
    Ping,
    Leave,
    Ended,
}

impl Broker {
    pub(super) async fn new(version: MqttVersion) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), version }
    }

    pub(super) fn section(&self) -> Section {
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

    pub(super) fn source(&self, section: &Section) -> Mqtt {
        Mqtt::new(&"sensors".into(), section).unwrap()
    }

    /// The next session. `is_known` says that it was there before.
    pub(super) async fn session(&self, is_known: bool) -> (Session, Sent) {
        let (socket, _) = self.listener.accept().await.unwrap();
        let mut session = Session { socket, version: self.version };
        let connect = session.next().await;
        session.answer(is_known, 0).await;
        (session, connect)
    }
}

impl Session {
    pub(super) async fn next(&mut self) -> Sent {
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

    pub(super) async fn send(&mut self, packet: &[u8]) {
        self.socket.write_all(packet).await.unwrap();
    }

    /// Answers that the session is open, or why not.
    pub(super) async fn answer(&mut self, is_known: bool, code: u8) {
        let known = u8::from(is_known);
        match self.version {
            MqttVersion::V5 => self.send(&[0x20, 3, known, code, 0]).await,
            MqttVersion::V3 => self.send(&[0x20, 2, known, code]).await,
        }
    }

    /// Expects the subscription, and takes it.
    pub(super) async fn subscribed(&mut self) {
        assert_eq!(self.next().await, Sent::Subscribe(vec!["a/#".to_owned()]));
        match self.version {
            MqttVersion::V5 => self.send(&[0x90, 4, 0, 1, 0, 1]).await,
            MqttVersion::V3 => self.send(&[0x90, 3, 0, 1, 1]).await,
        }
    }

    /// Answers that a filter is given up, or why not, which version 3.1.1 cannot say.
    pub(super) async fn unsubscribed(&mut self, code: u8) {
        match self.version {
            MqttVersion::V5 => self.send(&[0xb0, 4, 0, 2, 0, code]).await,
            MqttVersion::V3 => self.send(&[0xb0, 2, 0, 2]).await,
        }
    }

    pub(super) async fn publish(&mut self, pid: Option<u16>, payload: impl AsRef<[u8]>) {
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
