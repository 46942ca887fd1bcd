//! What became of a record, and which of Kafka's error codes say what.

use rdkafka::error::RDKafkaErrorCode;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Every replica in sync has it.
    Delivered,
    /// Kafka does not want it, or another record of its batch.
    Refused(RDKafkaErrorCode),
    /// It was taken back before it was sent.
    Returned,
    /// Kafka's answer is one that we know nothing about.
    Unknown(RDKafkaErrorCode),
    /// It may or may not have arrived, and this producer will not find out.
    Lost(RDKafkaErrorCode),
}

impl Report {
    /// What an error says about its record.
    pub(super) fn of(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::UnsupportedForMessageFormat => Self::Refused(code),
            // These go away by themselves or when somebody acts: a broker that is gone, a producer that is
            // fenced, a topic that is being made, a right that is being granted.
            Code::AllBrokersDown
            | Code::Authentication
            | Code::BrokerDestroy
            | Code::BrokerNotAvailable
            | Code::BrokerTransportFailure
            | Code::ClusterAuthorizationFailed
            | Code::ConcurrentTransactions
            | Code::Fatal
            | Code::Fenced
            | Code::FencedLeaderEpoch
            | Code::GaplessGuarantee
            | Code::ISRInsufficient
            | Code::InvalidMessage
            | Code::InvalidRequiredAcks
            | Code::ThrottlingQuotaExceeded
            | Code::TimedOutQueue
            | Code::UnknownLeaderEpoch
            | Code::UnknownTopicId
            | Code::UnsupportedCompressionType
            | Code::UnsupportedVersion
            | Code::Inconsistent
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::KafkaStorageError
            | Code::LeaderNotAvailable
            | Code::MessageTimedOut
            | Code::NetworkException
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotLeaderForPartition
            | Code::OperationTimedOut
            | Code::OutOfOrderSequenceNumber
            | Code::ProducerFenced
            | Code::PurgeInflight
            | Code::QueueFull
            | Code::ReplicaNotAvailable
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::SaslAuthenticationFailed
            | Code::SSL
            | Code::State
            | Code::TopicAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnknownPartition
            | Code::UnknownProducerId
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition => Self::Lost(code),
            Code::PurgeQueue => Self::Returned,
            _ => Self::Unknown(code),
        }
    }

    /// Whether this error is about the record itself.
    pub fn is_refusal(code: RDKafkaErrorCode) -> bool {
        matches!(Self::of(code), Self::Refused(_))
    }
}
