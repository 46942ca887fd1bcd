//! What is sent to a broker, and what comes from it, in both versions of the protocol.
//!
//! Packets are read and written by `mqtt-proto`, but for PUBLISH: of one that is too large only the beginning is kept.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use mqtt_proto::{Pid, Protocol, QoS, TopicFilter, v3, v5};

use crate::config::MqttVersion;
use crate::source::feed::CUT_BYTES;

/// Packets that are not messages are no larger.
const MAX_PACKET_BYTES: usize = 256 << 10;
/// Topic and properties of a message are no larger.
const MAX_HEAD_BYTES: usize = 128 << 10;
/// How many messages a broker sends before it waits for an acknowledgement (version 5).
const RECEIVE_MAXIMUM: u16 = 1000;

/// How a session is opened.
pub(super) struct Opening<'a> {
    pub(super) client_id: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) keep_alive_s: u16,
    pub(super) session_expiry_s: u32,
    pub(super) is_lasting: bool,
}

/// What comes from a broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The session is open; whether it was there before, and how often the broker wants to hear something, in seconds.
    Open { is_known: bool, keep_alive_s: Option<u16> },
    /// The broker does not open a session.
    Refused(String),
    /// For each filter, the quality of service at most with which messages come, or why none do.
    Subscribed(Vec<Result<u8, String>>),
    /// For each filter, whether it is given up; and why not. Version 3.1.1 gives up all, and says nothing of each.
    Unsubscribed(Option<Vec<Result<(), String>>>),
    /// A message. `pid` is there if it is to be acknowledged, `cut` if it was too large: how large it was.
    Message { pid: Option<u16>, payload: Bytes, cut: Option<u64> },
    /// The answer to a ping, or something else without a meaning here.
    Other,
    /// The broker closes the connection.
    Closing(String),
}

/// Takes packets out of what has arrived.
pub(super) struct Packets {
    version: MqttVersion,
    limit: usize,
    /// How much of a message that was too large is still to come.
    skipped: usize,
}

/// The fixed head of a packet.
struct Head {
    kind: u8,
    /// Its own length, and that of what follows.
    own: usize,
    rest: usize,
}

impl Packets {
    /// Messages above `limit` bytes are cut.
    pub(super) const fn new(version: MqttVersion, limit: usize) -> Self {
        Self { version, limit, skipped: 0 }
    }

    /// Takes the next packet out of what has arrived; `None` if more has to arrive.
    ///
    /// # Errors
    /// Why the packet is not one.
    pub(super) fn next(&mut self, arrived: &mut BytesMut) -> Result<Option<Incoming>, String> {
        let skipped = self.skipped.min(arrived.len());
        arrived.advance(skipped);
        self.skipped -= skipped;
        if self.skipped > 0 {
            return Ok(None);
        }
        let Some(head) = Head::of(arrived)? else { return Ok(None) };
        if head.kind >> 4 == 3 {
            return self.message(&head, arrived);
        }
        if head.rest > MAX_PACKET_BYTES {
            return Err(format!(
                "the broker sends a packet of {} bytes that is no message",
                head.rest
            ));
        }
        if arrived.len() < head.own + head.rest {
            return Ok(None);
        }
        let packet = arrived.split_to(head.own + head.rest);
        match self.version {
            MqttVersion::V5 => of_version_5(&packet),
            MqttVersion::V3 => of_version_3(&packet),
        }
        .map(Some)
    }

    fn message(&mut self, head: &Head, arrived: &mut BytesMut) -> Result<Option<Incoming>, String> {
        let whole = head.own + head.rest;
        let limit = self.limit + MAX_HEAD_BYTES;
        if arrived.len() < whole.min(head.own + limit) {
            return Ok(None);
        }
        let known = &arrived[head.own..arrived.len().min(whole)];
        let is_v5 = self.version == MqttVersion::V5;
        let (pid, begin) = message_head(head.kind, is_v5, known)
            .ok_or("the broker sends a message that is not one")?;
        let size = head.rest - begin;
        if size <= self.limit {
            if arrived.len() < whole {
                return Ok(None);
            }
            let mut packet = arrived.split_to(whole);
            // Copied, because a part would keep all that has arrived in memory.
            let payload = Bytes::copy_from_slice(&packet.split_off(head.own + begin));
            return Ok(Some(Incoming::Message { pid, payload, cut: None }));
        }
        let end = (begin + CUT_BYTES.min(self.limit)).min(known.len());
        let payload = Bytes::copy_from_slice(&known[begin..end]);
        let there = arrived.len().min(whole);
        arrived.advance(there);
        self.skipped = whole - there;
        Ok(Some(Incoming::Message { pid, payload, cut: Some(size as u64) }))
    }
}

impl Head {
    fn of(arrived: &[u8]) -> Result<Option<Self>, String> {
        let Some((&kind, lengths)) = arrived.split_first() else { return Ok(None) };
        match number(lengths) {
            Number::Of(rest, bytes) => Ok(Some(Self { kind, own: 1 + bytes, rest })),
            Number::Open => Ok(None),
            Number::None => Err("the broker does not speak MQTT".to_owned()),
        }
    }
}

/// A number of variable length at the beginning.
enum Number {
    /// Its value, and how many bytes it has.
    Of(usize, usize),
    /// More bytes have to arrive.
    Open,
    None,
}

fn number(bytes: &[u8]) -> Number {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Number::Of(value, at + 1);
        }
    }
    if bytes.len() < 4 { Number::Open } else { Number::None }
}

/// The id by which a message is acknowledged, and where its payload begins.
fn message_head(kind: u8, is_v5: bool, packet: &[u8]) -> Option<(Option<u16>, usize)> {
    let short = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let mut at = 2 + usize::from(short(0)?);
    let pid = match (kind >> 1) & 3 {
        0 => None,
        1 => Some(short(at).filter(|pid| *pid > 0)?),
        // More was not subscribed to.
        _ => return None,
    };
    at += if pid.is_some() { 2 } else { 0 };
    if is_v5 {
        let Number::Of(properties, bytes) = number(packet.get(at..)?) else { return None };
        at += bytes + properties;
    }
    (at <= packet.len()).then_some((pid, at))
}

fn of_version_5(packet: &[u8]) -> Result<Incoming, String> {
    let packet = v5::Packet::decode(packet).map_err(|error| unreadable(&error))?;
    let text = |code: &dyn std::fmt::Debug, given: Option<Arc<str>>| match given {
        Some(given) => format!("{code:?} ({given})"),
        None => format!("{code:?}"),
    };
    Ok(match packet {
        Some(v5::Packet::Connack(answer))
            if answer.reason_code == v5::ConnectReasonCode::Success =>
        {
            let keep_alive_s = answer.properties.server_keep_alive;
            Incoming::Open { is_known: answer.session_present, keep_alive_s }
        }
        Some(v5::Packet::Connack(answer)) => {
            Incoming::Refused(text(&answer.reason_code, answer.properties.reason_string))
        }
        Some(v5::Packet::Suback(answer)) => {
            use v5::SubscribeReasonCode as Code;
            let outcome = |code| match code {
                Code::GrantedQoS0 => Ok(0),
                Code::GrantedQoS1 => Ok(1),
                Code::GrantedQoS2 => Ok(2),
                refused => Err(text(&refused, None)),
            };
            Incoming::Subscribed(answer.topics.into_iter().map(outcome).collect())
        }
        Some(v5::Packet::Unsuback(answer)) => {
            use v5::UnsubscribeReasonCode as Code;
            let outcome = |code| match code {
                Code::Success | Code::NoSubscriptionExisted => Ok(()),
                refused => Err(text(&refused, None)),
            };
            Incoming::Unsubscribed(Some(answer.topics.into_iter().map(outcome).collect()))
        }
        Some(v5::Packet::Disconnect(why)) => {
            Incoming::Closing(text(&why.reason_code, why.properties.reason_string))
        }
        Some(_) => Incoming::Other,
        None => return Err("the broker sends a packet that is too short".to_owned()),
    })
}

fn of_version_3(packet: &[u8]) -> Result<Incoming, String> {
    let packet = v3::Packet::decode(packet).map_err(|error| unreadable(&error))?;
    Ok(match packet {
        Some(v3::Packet::Connack(answer)) if answer.code == v3::ConnectReturnCode::Accepted => {
            Incoming::Open { is_known: answer.session_present, keep_alive_s: None }
        }
        Some(v3::Packet::Connack(answer)) => Incoming::Refused(format!("{:?}", answer.code)),
        Some(v3::Packet::Suback(answer)) => {
            let outcome = |code| match code {
                v3::SubscribeReturnCode::MaxLevel0 => Ok(0),
                v3::SubscribeReturnCode::MaxLevel1 => Ok(1),
                v3::SubscribeReturnCode::MaxLevel2 => Ok(2),
                v3::SubscribeReturnCode::Failure => Err("Failure".to_owned()),
            };
            Incoming::Subscribed(answer.topics.into_iter().map(outcome).collect())
        }
        Some(v3::Packet::Unsuback(_)) => Incoming::Unsubscribed(None),
        Some(_) => Incoming::Other,
        None => return Err("the broker sends a packet that is too short".to_owned()),
    })
}

fn unreadable(error: &dyn std::fmt::Display) -> String {
    format!("the broker sends a packet that cannot be read: {error}")
}

// === what is sent ===

/// Opens a session.
///
/// # Errors
/// When something does not fit into the packet.
pub(super) fn connect(version: MqttVersion, opening: &Opening<'_>) -> Result<Vec<u8>, String> {
    let (client_id, user) = (Arc::from(opening.client_id), opening.user.map(Arc::from));
    let password = opening.password.map(|password| Bytes::copy_from_slice(password.as_bytes()));
    match version {
        MqttVersion::V5 => {
            let mut connect = v5::Connect::new(client_id, opening.keep_alive_s);
            connect.clean_start = !opening.is_lasting;
            (connect.username, connect.password) = (user, password);
            connect.properties.session_expiry_interval =
                opening.is_lasting.then_some(opening.session_expiry_s);
            connect.properties.receive_max = Some(RECEIVE_MAXIMUM);
            encoded(v5::Packet::Connect(connect).encode())
        }
        MqttVersion::V3 => {
            let mut connect = v3::Connect::new(client_id, opening.keep_alive_s);
            connect.protocol = Protocol::V311;
            connect.clean_session = !opening.is_lasting;
            (connect.username, connect.password) = (user, password);
            encoded(v3::Packet::Connect(connect).encode())
        }
    }
}

/// Subscribes to these filters.
///
/// # Errors
/// When one is not a filter.
pub(super) fn subscribe(
    version: MqttVersion,
    filters: &[String],
    qos: u8,
) -> Result<Vec<u8>, String> {
    let qos = if qos == 0 { QoS::Level0 } else { QoS::Level1 };
    let (filters, pid) = (parsed(filters)?, Pid::default());
    match version {
        MqttVersion::V5 => {
            let mut options = v5::SubscriptionOptions::new(qos);
            // Retained messages come once, and not at every connect.
            options.retain_handling = v5::RetainHandling::SendAtSubscribeIfNotExist;
            let topics = filters.into_iter().map(|filter| (filter, options)).collect();
            encoded(v5::Packet::Subscribe(v5::Subscribe::new(pid, topics)).encode())
        }
        MqttVersion::V3 => {
            let topics = filters.into_iter().map(|filter| (filter, qos)).collect();
            encoded(v3::Packet::Subscribe(v3::Subscribe::new(pid, topics)).encode())
        }
    }
}

/// Gives these filters up.
///
/// # Errors
/// When one is not a filter.
pub(super) fn unsubscribe(version: MqttVersion, filters: &[String]) -> Result<Vec<u8>, String> {
    // Another one than that of the subscription, which may not be answered yet.
    let (filters, pid) = (parsed(filters)?, Pid::default() + 1);
    match version {
        MqttVersion::V5 => {
            encoded(v5::Packet::Unsubscribe(v5::Unsubscribe::new(pid, filters)).encode())
        }
        MqttVersion::V3 => {
            encoded(v3::Packet::Unsubscribe(v3::Unsubscribe::new(pid, filters)).encode())
        }
    }
}

fn parsed(filters: &[String]) -> Result<Vec<TopicFilter>, String> {
    let filter =
        |text: &String| TopicFilter::try_from(text.as_str()).map_err(|error| error.to_string());
    filters.iter().map(filter).collect()
}

fn encoded<E: std::fmt::Display>(
    packet: Result<mqtt_proto::VarBytes, E>,
) -> Result<Vec<u8>, String> {
    packet.map(|packet| packet.as_ref().to_vec()).map_err(|error| error.to_string())
}

/// Acknowledges a message; the same in both versions.
pub(super) const fn acknowledge(pid: u16) -> [u8; 4] {
    let [high, low] = pid.to_be_bytes();
    [0x40, 2, high, low]
}

/// Asks whether the broker is there; the same in both versions.
pub(super) const PING: [u8; 2] = [0xc0, 0];
/// Takes leave; the same in both versions.
pub(super) const LEAVE: [u8; 2] = [0xe0, 0];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERSIONS: [MqttVersion; 2] = [MqttVersion::V5, MqttVersion::V3];

    fn publish(version: MqttVersion, pid: Option<u16>, payload: &[u8]) -> Vec<u8> {
        let qos = match pid {
            Some(pid) => mqtt_proto::QosPid::Level1(Pid::try_from(pid).unwrap()),
            None => mqtt_proto::QosPid::Level0,
        };
        let (topic, payload) =
            (mqtt_proto::TopicName::try_from("a/b").unwrap(), Bytes::copy_from_slice(payload));
        match version {
            MqttVersion::V5 => {
                let mut publish = v5::Publish::new(qos, topic, payload);
                publish.properties.content_type = Some("application/json".into());
                encoded(v5::Packet::Publish(publish).encode())
            }
            MqttVersion::V3 => {
                encoded(v3::Packet::Publish(v3::Publish::new(qos, topic, payload)).encode())
            }
        }
        .unwrap()
    }

    /// What comes out when the bytes come in parts of this size.
    fn all(
        version: MqttVersion,
        limit: usize,
        bytes: &[u8],
        size: usize,
    ) -> Result<Vec<Incoming>, String> {
        let (mut packets, mut arrived) = (Packets::new(version, limit), BytesMut::new());
        let mut found = Vec::new();
        for part in bytes.chunks(size) {
            arrived.extend_from_slice(part);
            while let Some(packet) = packets.next(&mut arrived)? {
                found.push(packet);
            }
        }
        Ok(found)
    }

    #[test]
    fn messages_are_found_and_what_is_too_large_is_cut_and_skipped() {
        for version in VERSIONS {
            let large = vec![b'x'; 300_000];
            let stream = [
                publish(version, Some(7), b"{}"),
                publish(version, Some(8), &large),
                PING.to_vec()
                    .into_iter()
                    .map(|byte| if byte == 0xc0 { 0xd0 } else { byte })
                    .collect(),
                publish(version, None, b"last"),
            ]
            .concat();
            for size in [1, 1000, usize::MAX] {
                let found = all(version, 2000, &stream, size).unwrap();
                let message = |pid, payload: &[u8], cut| Incoming::Message {
                    pid,
                    payload: Bytes::copy_from_slice(payload),
                    cut,
                };
                let expected = [
                    message(Some(7), b"{}", None),
                    message(Some(8), &large[..CUT_BYTES], Some(300_000)),
                    Incoming::Other,
                    message(None, b"last", None),
                ];
                assert_eq!(found, expected, "{version:?}");
            }
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = v5::Connack::new(false, v5::ConnectReasonCode::BadUserNameOrPassword);
        let bytes = encoded(v5::Packet::Connack(refused).encode()).unwrap();
        let found = all(MqttVersion::V5, 100, &bytes, 100).unwrap();
        assert_eq!(found, [Incoming::Refused("BadUserNameOrPassword".to_owned())]);
        let found = all(MqttVersion::V3, 100, &[0x20, 2, 0, 5], 100).unwrap();
        assert_eq!(found, [Incoming::Refused("NotAuthorized".to_owned())]);
        let found = all(MqttVersion::V3, 100, &[0x90, 4, 0, 1, 1, 0x80], 100).unwrap();
        assert_eq!(found, [Incoming::Subscribed(vec![Ok(1), Err("Failure".to_owned())])]);
    }

    #[test]
    fn what_is_sent_is_the_same_in_both_versions_where_it_is_written_by_hand() {
        let pid = Pid::try_from(513).unwrap();
        for sent in [
            encoded(v5::Packet::Puback(v5::Puback::new_success(pid)).encode()).unwrap(),
            encoded(v3::Packet::Puback(pid).encode()).unwrap(),
        ] {
            assert_eq!(sent, acknowledge(513));
        }
        assert_eq!(encoded(v5::Packet::Pingreq.encode()).unwrap(), PING);
        let leave = v5::Packet::Disconnect(v5::Disconnect::new_normal());
        assert_eq!(encoded(leave.encode()).unwrap(), LEAVE);
        assert_eq!(encoded(v3::Packet::Disconnect.encode()).unwrap(), LEAVE);
    }

    proptest! {
        #[test]
        fn any_bytes_are_packets_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1..50_usize) {
            for version in VERSIONS {
                let _found = all(version, 20, &bytes, size);
            }
        }
    }
}
