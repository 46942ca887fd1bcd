//! Reads a topic from start to end, and starts again until it succeeds.

use std::time::Duration;

use common::kafka::Kafka;
use common::kafka::reader::{Error, Reader};
use rdkafka::message::BorrowedMessage;
use tokio_util::sync::CancellationToken;

/// How long to wait before reading starts again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Reads `partitions` of `topic` together, each from its first to the last record that it has now. `take` puts
/// each record into the value that `empty` creates; if reading has to start again, that value is created again.
///
/// # Errors
/// An error that trying again cannot solve, or any error after `stop` was cancelled.
pub fn read<Into>(
    kafka: &Kafka,
    topic: &str,
    partitions: &[i32],
    stop: &CancellationToken,
    empty: impl Fn() -> Into,
    take: impl Fn(&mut Into, &BorrowedMessage<'_>),
) -> Result<Into, Error> {
    let reader = Reader::new(kafka)?;
    loop {
        let mut into = empty();
        let read = reader.spans(topic, partitions).and_then(|spans| {
            reader.read_to_end(topic, &spans, stop, |message| take(&mut into, message))
        });
        match read {
            Ok(()) => return Ok(into),
            Err(error) if error.retryable() && !stop.is_cancelled() => {
                tracing::warn!(%error, topic, "cannot read the topic to its end, starting again");
                std::thread::sleep(RETRY_DELAY);
            }
            Err(error) => return Err(error),
        }
    }
}
