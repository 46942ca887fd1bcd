//! What librdkafka logs about its connections. The error of a call says only that no broker answers; why it does not, such
//! as a refused password, is in the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::{ClientError, Kafka, untrusted};

/// How long it takes to hear what a client reports.
const EVENTS: Duration = Duration::from_millis(20);
const CLOSED: &str = "the broker closes the connection without an answer";

/// Callbacks of a client that keep the newest reason why there is no connection; clones share it. librdkafka calls them
/// when the client is polled.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Option<String>>>);

/// What a broker, or this client, does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The broker's certificate.
    Broker,
    /// The client's certificate.
    Client,
    /// The user or the password.
    User,
    /// The protocol.
    Protocol,
}

impl Heard {
    /// A client whose only purpose is to ask Kafka something, and to hear why it does not answer.
    ///
    /// # Errors
    /// When it cannot be made from the settings.
    pub(super) fn client(kafka: &Kafka) -> Result<BaseProducer<Self>, ClientError> {
        let mut settings = kafka.client()?;
        // What a broker does that expects another protocol is no error to librdkafka.
        settings.set_log_level(RDKafkaLogLevel::Info);
        Ok(settings.create_with_context(Self::default())?)
    }

    /// Whether Kafka was reached and refuses the connection, so that waiting for an answer is in vain.
    pub fn is_refusal(&self) -> bool {
        self.lock().as_deref().is_some_and(|reason| Refusal::of(reason).is_some())
    }

    /// Why a call failed with `error`, and what to do about it. It may open a connection to find out what is wrong with a
    /// certificate, and takes a few seconds then at most. Blocks.
    pub fn explain(&self, error: &KafkaError, kafka: &Kafka) -> String {
        let reason = self.lock().clone();
        let advice = match reason.as_deref().and_then(Refusal::of) {
            Some(Refusal::Broker) => {
                untrusted::advice(reason.as_deref().unwrap_or_default(), kafka)
            }
            Some(Refusal::User) => {
                "Kafka does not know this user, or not with this password: check sasl.username, \
                 sasl.password and sasl.mechanism in [kafka.properties] and [kafka.property_files]"
                    .to_owned()
            }
            Some(Refusal::Client) => {
                "Kafka does not accept this client's certificate: check that the one in \
                 ssl.certificate.location has not expired, and that Kafka trusts its authority"
                    .to_owned()
            }
            Some(Refusal::Protocol) => {
                "check the port in kafka.brokers, and security.protocol in [kafka.properties]"
                    .to_owned()
            }
            None => "check that the broker runs and that kafka.brokers names it".to_owned(),
        };
        format!("{}; {advice}", reason.unwrap_or_else(|| error.to_string()))
    }

    fn note(&self, reason: &str) {
        // librdkafka begins with its thread, and adds how often it has logged the same.
        let reason = reason.rsplit("]: ").next().unwrap_or(reason);
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        // "n/n brokers are down" follows the reason, and is none.
        if !reason.contains("brokers are down") {
            *self.lock() = Some(reason.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        use RDKafkaLogLevel as Level;
        tracing::debug!(?level, "{message}");
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
                self.note(message);
            }
            // The first request is not answered, as by a broker that expects TLS.
            Level::Info if message.contains("APIVERSION_QUERY") => self.note(CLOSED),
            Level::Notice | Level::Info | Level::Debug => {}
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.note(reason);
    }
}

impl ConsumerContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// Logs what a client reports. A connection that Kafka refuses is a warning, because trying again does not help; the rest
/// mends itself, or is returned by the calls that it concerns.
pub fn log_report(error: &KafkaError, reason: &str) {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::SSL | Code::Authentication | Code::SaslAuthenticationFailed) => {
            tracing::warn!(%error, reason, "kafka refuses the connection");
        }
        _ => tracing::debug!(%error, reason, "kafka"),
    }
}

/// Lists all topics. Waits up to `deadline` for the answer, unless Kafka refuses the connection. Blocks.
pub(super) fn list_topics(
    client: &BaseProducer<Heard>,
    deadline: Duration,
) -> Result<Metadata, KafkaError> {
    let asked = Instant::now();
    loop {
        // A slow cluster gets longer each time, so that one of the answers comes in time.
        let patience = (asked.elapsed() + deadline / 10).min(deadline);
        let outcome = client.client().fetch_metadata(None, patience);
        client.poll(EVENTS);
        if outcome.is_ok() || client.context().is_refusal() || asked.elapsed() >= deadline {
            return outcome;
        }
    }
}

impl Refusal {
    /// What a reason of librdkafka says, if it says that.
    fn of(reason: &str) -> Option<Self> {
        let says = |part: &str| reason.contains(part);
        if says("could not be verified") {
            Some(Self::Broker)
        } else if says("SASL authentication error")
            || says("Authentication failed")
            || says("mechanism handshake failed")
        {
            Some(Self::User)
        } else if says(" alert ") || says("client SSL authentication might be required") {
            Some(Self::Client)
        } else if says("PLAINTEXT broker listener") || says(CLOSED) {
            Some(Self::Protocol)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_reason_is_explained_without_what_librdkafka_adds() {
        let (heard, kafka) = (Heard::default(), Kafka::default());
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        assert!(heard.explain(&error, &kafka).contains("check that the broker runs"));
        heard.note(
            "[thrd:sasl_ssl://k:9093/bootstrap]: sasl_ssl://k:9093/bootstrap: SASL authentication error: \
             Authentication failed (after 5ms in state AUTH_REQ, 3 identical error(s) suppressed)",
        );
        heard.note("1/1 brokers are down");
        let why = heard.explain(&error, &kafka);
        assert!(
            why.starts_with("sasl_ssl://k:9093/bootstrap: SASL") && why.contains("sasl.password"),
            "{why}"
        );
        assert!(!why.contains("suppressed"), "{why}");
    }
}
