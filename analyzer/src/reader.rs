//! Reading topics from start to end, for as long as the broker needs to be there.

use std::time::Duration;

use common::kafka::Kafka;
use common::kafka::reader::{Error, Reader};
use rdkafka::message::BorrowedMessage;
use tokio_util::sync::CancellationToken;

/// How long to wait before reading starts again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Reads `partitions` of `topic`, each from its first to the last record that it has now, all at once;
/// what they hold is put into one `Into`, which is made anew when reading has to start again.
///
/// # Errors
/// When the client cannot be made, or the process is told to stop.
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
                tracing::warn!(%error, topic, "reading starts again");
                std::thread::sleep(RETRY_DELAY);
            }
            Err(error) => return Err(error),
        }
    }
}
