//! Further librdkafka properties: which of them are secrets, and which would break a guarantee of Millrace.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use rdkafka::ClientConfig;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::secret::MASK;

/// librdkafka properties by their names. Values that hold a secret are masked wherever they are shown or
/// serialised.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Properties(BTreeMap<String, String>);

/// A property whose name contains one of these is a secret: a password, a private key, or a configuration
/// that holds one.
const SECRET: [&str; 7] =
    ["password", "passwd", "secret", "token", "credential", ".pem", "sasl.oauthbearer.config"];

/// A property on which a guarantee depends: its names, the values that keep it, and what another value would do.
type Fixed = (&'static [&'static str], &'static [&'static str], &'static str);

/// The first two are about what is lost or written twice.
const FIXED: [Fixed; 6] = [
    (
        &["acks", "request.required.acks"],
        &["all", "-1"],
        "an event that only one broker has is lost with it",
    ),
    (&["enable.idempotence"], &["true"], "without it a retry changes the order and writes twice"),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        &["0"],
        "the producer would drop events during an outage",
    ),
    (
        &["enable.auto.commit", "enable.auto.offset.store"],
        &["false"],
        "positions are kept with the results",
    ),
    (&["auto.offset.reset"], &["error"], "a position that is lost must be seen"),
    (
        &["bootstrap.servers", "metadata.broker.list"],
        &[],
        "set kafka.brokers instead, which is what every message names",
    ),
];

impl Properties {
    /// What is wrong with the properties, one line for each fault, which names the key.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.broken(&FIXED);
        if let Some(name) = self.no_retries() {
            problems.push(format!(
                "kafka.properties: {name} = 0: an event would be given up at the first failure; remove it"
            ));
        }
        problems.extend(self.not_understood());
        problems
    }

    /// The same for a client whose records may be lost, and must not be written twice.
    pub(super) fn problems_at_most_once(&self) -> Vec<String> {
        let (may_lose, fixed) = FIXED.split_at(2);
        let mut problems = self.broken(fixed);
        let is_idempotent =
            self.0.get("enable.idempotence").is_none_or(|value| value.trim() != "false");
        let loses = !self.broken(may_lose).is_empty();
        problems.extend(
            match (is_idempotent, self.no_retries()) {
                (true, _) if loses => {
                    Some("acks: other values than all need enable.idempotence = false")
                }
                (true, Some(_)) => Some("retries = 0 needs enable.idempotence = false"),
                (false, None) => {
                    Some("enable.idempotence = false: a retry would write twice; set retries = 0")
                }
                (true, None) | (false, Some(_)) => None,
            }
            .map(|why| format!("kafka.properties: {why}")),
        );
        problems.extend(self.not_understood());
        problems
    }

    /// A line for each property that breaks one of these guarantees.
    fn broken(&self, fixed: &[Fixed]) -> Vec<String> {
        let mut problems = Vec::new();
        for (names, kept_by, why) in fixed {
            for name in *names {
                let Some(value) = self.0.get(*name) else { continue };
                let value = value.trim().to_lowercase();
                if !kept_by.contains(&value.as_str()) {
                    problems.push(format!("kafka.properties: {name} = {value}: {why}; remove it"));
                }
            }
        }
        problems
    }

    /// The property that says that nothing is sent a second time.
    fn no_retries(&self) -> Option<&'static str> {
        let is_zero = |name: &&str| self.0.get(*name).is_some_and(|value| value.trim() == "0");
        ["retries", "message.send.max.retries"].into_iter().find(is_zero)
    }

    /// A line for each property that librdkafka does not take.
    fn not_understood(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in &self.0 {
            // The message leaves out the value: it may be a secret, even if the name is mistyped.
            if ClientConfig::new().set(name, value).create_native_config().is_err() {
                problems.push(format!(
                    "kafka.properties: '{name}' is not a property of librdkafka, or does not take this value"
                ));
            }
        }
        problems
    }
}

/// Whether the value of the property of this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Properties {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, if is_secret(name) { MASK } else { value })?;
        }
        map.end()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |(name, value): (&String, &String)| {
            (name.clone(), if is_secret(name) { MASK.to_owned() } else { value.clone() })
        };
        f.debug_map().entries(self.0.iter().map(masked)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(entries: &[(&str, &str)]) -> Properties {
        Properties(
            entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_shown() {
        let given = properties(&[
            ("sasl.password", "s3cret"),
            ("ssl.key.password", "s3cret"),
            ("ssl.keystore.password", "s3cret"),
            ("ssl.key.pem", "s3cret"),
            ("sasl.oauthbearer.client.secret", "s3cret"),
            ("sasl.oauthbearer.config", "s3cret"),
            ("sasl.username", "ada"),
            ("security.protocol", "sasl_ssl"),
        ]);
        for shown in [format!("{given:?}"), toml::to_string(&given).unwrap()] {
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("ada") && shown.contains("sasl_ssl"), "{shown}");
        }
    }

    #[test]
    fn what_would_break_a_promise_is_refused_by_name() {
        for (name, value) in [
            ("acks", "1"),
            ("acks", "0"),
            ("request.required.acks", "1"),
            ("enable.idempotence", "false"),
            ("message.timeout.ms", "300000"),
            ("delivery.timeout.ms", "300000"),
            ("enable.auto.commit", "true"),
            ("auto.offset.reset", "earliest"),
            ("bootstrap.servers", "elsewhere:9092"),
            ("message.send.max.retries", "0"),
        ] {
            let problems = properties(&[(name, value)]).problems();
            assert!(
                matches!(&problems[..], [one] if one.contains(name)),
                "{name}={value}: {problems:?}"
            );
        }
        let kept =
            [("acks", "-1"), ("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "9")];
        for one in kept {
            assert_eq!(properties(&[one]).problems(), Vec::<String>::new(), "{one:?}");
        }
    }

    #[test]
    fn what_may_be_lost_needs_no_second_broker_but_must_not_be_written_twice() {
        let once = [("acks", "1"), ("enable.idempotence", "false"), ("retries", "0")];
        assert_eq!(properties(&once).problems_at_most_once(), Vec::<String>::new());
        assert_eq!(properties(&once).problems().len(), 3, "for whoever must not lose any");
        for (entries, named) in [
            (&once[..1], "enable.idempotence"),
            (&once[1..2], "retries"),
            (&once[..2], "retries"),
            (&[("message.timeout.ms", "5")][..], "message.timeout.ms"),
        ] {
            let problems = properties(entries).problems_at_most_once();
            assert!(matches!(&problems[..], [one] if one.contains(named)), "{problems:?}");
        }
    }

    #[test]
    fn a_mistyped_property_is_refused_without_its_value() {
        for (name, value) in [("sasl.passwrd", "s3cret"), ("linger.ms", "s3cret")] {
            let problems = properties(&[(name, value)]).problems();
            assert!(
                matches!(&problems[..], [one] if one.contains(name) && !one.contains(value)),
                "{problems:?}"
            );
        }
    }
}
