//! The section of a source of kind `mqtt`.

use std::path::PathBuf;
use std::time::Duration;

use common::config::duration;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::{Common, Connect, Resume, Transport};
use crate::config::Framing;

/// Topics of an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The broker.
    #[serde(flatten, skip_deserializing)]
    pub connect: Connect,
    /// The version of the protocol.
    pub version: MqttVersion,
    /// The filters of the topics that are subscribed to, such as `sensors/+/temperature`.
    pub topics: Vec<String>,
    /// 1 if messages are acknowledged when they are safe, 0 if they are sent once.
    pub qos: u8,
    /// The id of the session, which nobody else may use; empty for `millrace-` and the source's name.
    pub client_id: String,
    /// How long the broker keeps the session after the connection has ended (version 5).
    #[serde(with = "duration")]
    pub session_expiry: Duration,
    /// The user; empty for the one in `url`, or none.
    pub username: String,
    /// A file with nothing but the password, read at every connect; empty for the one in `url`, or none.
    pub password_file: PathBuf,
    /// How many messages the payload of a publication holds.
    pub framing: Framing,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MqttVersion {
    /// Version 5.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// Version 3.1.1.
    #[serde(rename = "3.1.1")]
    V3,
}

impl Mqtt {
    /// Whether the broker keeps what comes during an interruption. If so, its session has the position.
    pub fn resume(&self) -> Resume {
        if self.qos == 0 { Resume::None } else { Resume::LastEventId }
    }

    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, connect: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.connect.problems(&self.common, Transport::Mqtt);
        let Connect { headers, headers_from_file, bearer_token_file, .. } = &self.connect;
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        if !headers.is_empty() || is_set(headers_from_file) || is_set(bearer_token_file) {
            problems.push(
                "headers, headers_from_file, bearer_token_file: MQTT has no headers; set username and password_file"
                    .to_owned(),
            );
        }
        if self.topics.is_empty() {
            problems.push(
                "topics: write the filters to subscribe to, such as [\"sensors/#\"]".to_owned(),
            );
        }
        for filter in &self.topics {
            if mqtt_proto::TopicFilter::try_from(filter.as_str()).is_err() {
                problems.push(format!(
                    "topics: {filter:?} is no filter; + stands for a whole level, and # for all that follow at the end"
                ));
            }
        }
        if self.qos > 1 {
            problems.push(format!("qos: is {}; write 1 (acknowledged when safe) or 0", self.qos));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into()))
            .contains(&self.session_expiry)
        {
            problems.push("session_expiry: must be from 1s to 4294967295s".to_owned());
        }
        problems
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            common: Common::default(),
            connect: Connect::default(),
            version: MqttVersion::default(),
            topics: Vec::new(),
            qos: 1,
            client_id: String::new(),
            session_expiry: Duration::from_secs(7 * 24 * 60 * 60),
            username: String::new(),
            password_file: PathBuf::new(),
            framing: Framing::default(),
        }
    }
}
