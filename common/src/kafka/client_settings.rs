//! The librdkafka settings of producers and consumers.
//!
//! **Producers** are idempotent with `acks=all`, never give up on a message by themselves
//! (`message.timeout.ms=0`) and have a bounded queue: when it is full the caller waits.
//! **Consumers** read from offsets of their own, whatever was committed, and never skip records silently: a
//! position that the log does not have any more is an error that the caller sees (`auto.offset.reset=error`), not a
//! reset.

use rdkafka::ClientConfig;

use super::{ClientError, Kafka};

impl Kafka {
    /// Settings that clients of every kind share.
    ///
    /// # Errors
    /// When a file of `property_files` cannot be read.
    pub fn client(&self) -> Result<ClientConfig, ClientError> {
        self.with_properties(self.shared())
    }

    fn shared(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "millrace")
            // A broker that was killed is back within seconds; the defaults wait up to ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.nagle.disable", "true")
            .set("topic.metadata.refresh.interval.ms", "30000");
        client
    }

    /// Settings of a producer.
    ///
    /// # Errors
    /// When a file of `property_files` cannot be read.
    pub fn producer(&self) -> Result<ClientConfig, ClientError> {
        let mut producer = self.shared();
        producer
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("message.max.bytes", Self::MAX_RECORD_BYTES.to_string())
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "32768");
        self.with_properties(producer)
    }

    /// Settings of a consumer. An `instance_id` makes its membership of the group static, so that a process
    /// that restarts after a crash gets its partitions back at once, not only after its session timed out.
    ///
    /// # Errors
    /// When a file of `property_files` cannot be read.
    pub fn consumer(
        &self,
        group: Option<&str>,
        instance_id: Option<&str>,
    ) -> Result<ClientConfig, ClientError> {
        let mut consumer = self.shared();
        consumer
            // librdkafka requires a group id even of a consumer that joins no group.
            .set("group.id", group.unwrap_or("millrace-no-group"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1000")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "4194304")
            .set(
                "receive.message.max.bytes",
                (2 * Self::MAX_RECORD_BYTES + (64 << 20)).to_string(),
            );
        if let Some(id) = instance_id {
            consumer.set("group.instance.id", id);
        }
        self.with_properties(consumer)
    }

    fn with_properties(&self, mut client: ClientConfig) -> Result<ClientConfig, ClientError> {
        for (key, value) in self.properties.iter() {
            client.set(key, value);
        }
        for (key, value) in self.property_files.read()? {
            client.set(key, value);
        }
        Ok(client)
    }
}
