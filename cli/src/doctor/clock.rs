//! A Kafka elsewhere: whether it answers, and how far its clock is from ours.
//!
//! Kafka's protocol has no request for the time. Instead records are written to a topic with broker timestamps
//! (`LogAppendTime`), because the acknowledgement of such a record contains its timestamp.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::kafka::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::finding::Finding;

const TOPIC: &str = "millrace-doctor";
const PATIENCE: Duration = Duration::from_secs(10);
/// A larger difference of the clocks is a warning. Kafka 4 refuses records dated more than an hour ahead, but windows are
/// wrong long before that.
const BEARABLE_MS: i64 = 2_000;

pub(super) async fn kafka(brokers: &str) -> Vec<Finding> {
    let kafka = Kafka { brokers: brokers.to_owned(), ..Kafka::default() };
    let asked = kafka.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = asked.consumer(None, None).ok()?.create().ok()?;
        let metadata = client.fetch_metadata(None, PATIENCE).ok()?;
        Some((metadata.brokers().len(), metadata.topics().len()))
    });
    let Ok(Some((nodes, topics))) = answer.await else {
        return vec![Finding::missing(
            "kafka",
            format!(
                "no answer from {brokers} within {} s; check that it runs there",
                PATIENCE.as_secs()
            ),
        )];
    };
    let found =
        Finding::fine("kafka", format!("{brokers} answers: {nodes} broker(s), {topics} topic(s)"));
    let clock = match offset(&kafka).await {
        Ok(offset) if offset.abs() <= BEARABLE_MS => {
            Finding::fine("clock", format!("{offset} ms from Kafka's"))
        }
        Ok(offset) => Finding::warning(
            "clock",
            format!(
                "{offset} ms ahead of Kafka's (negative: behind); correct this machine's clock, or the broker's"
            ),
        ),
        Err(why) => Finding::warning("clock", format!("cannot be compared with Kafka's: {why}")),
    };
    vec![found, clock]
}

/// How far our clock is ahead of Kafka's, in milliseconds.
async fn offset(kafka: &Kafka) -> Result<i64, String> {
    let text = |error: rdkafka::error::KafkaError| error.to_string();
    let settings = kafka.client().map_err(|error| error.to_string())?;
    let admin: AdminClient<DefaultClientContext> = settings.create().map_err(text)?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(-1))
        .set("message.timestamp.type", "LogAppendTime")
        .set("retention.ms", "60000");
    admin.create_topics([&topic], &options).await.map_err(text)?;
    let offset = stamped(kafka).await;
    // If it cannot be deleted it does no harm: it holds a few empty records that nobody reads.
    let _left = admin.delete_topics(&[TOPIC], &options).await;
    offset
}

async fn stamped(kafka: &Kafka) -> Result<i64, String> {
    let mut settings = kafka.producer().map_err(|error| error.to_string())?;
    settings.set("message.timeout.ms", PATIENCE.as_millis().to_string()).set("linger.ms", "0");
    let producer: FutureProducer = settings.create().map_err(|error| error.to_string())?;
    let mut best: Option<(i64, i64)> = None;
    // The first record also waits for connections. The fastest of them gives the most exact difference.
    for _ in 0..3 {
        let sent = now_ms();
        let record = FutureRecord::<str, str>::to(TOPIC).payload("");
        let delivery =
            producer.send(record, PATIENCE).await.map_err(|(error, _)| error.to_string())?;
        let (acknowledged, stamp) = (now_ms(), delivery.timestamp.to_millis());
        let stamp = stamp.ok_or("it gives records no timestamp")?;
        let took = acknowledged - sent;
        let offset = sent + took / 2 - stamp;
        if best.is_none_or(|(shortest, _)| took < shortest) {
            best = Some((took, offset));
        }
    }
    best.map(|(_, offset)| offset).ok_or_else(|| "no record was written".to_owned())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
