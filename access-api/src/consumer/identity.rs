//! Which stream the consumer takes the topic of results for, see the head of [`consumer`](super). Pure.

use common::protocol::StreamId;

/// Which stream the consumer takes the topic for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// No analyzer has named it; the number distinguishes topics that were created one after the other.
    Unnamed(u32),
    /// It had this name when it was last read; the record with the name has not been read again yet.
    Expected(StreamId),
    /// Its record with this name has been read.
    Named(StreamId),
}

impl Identity {
    /// The stream that clients are told. `cluster` is the id of the cluster that the topic is in.
    pub fn stream(self, cluster: &str, topic: &str) -> StreamId {
        match self {
            Self::Expected(stream) | Self::Named(stream) => stream,
            Self::Unnamed(number) => {
                let identity = format!("{cluster}\0{topic}\0{number}");
                StreamId(xxhash_rust::xxh3::xxh3_64(identity.as_bytes()))
            }
        }
    }

    /// A record names the topic `stream`. Returns an identity when the topic has to be read again under it.
    pub fn name(&mut self, stream: StreamId) -> Option<Self> {
        match *self {
            // A later name of the same topic; the first one counts.
            Self::Named(_) => None,
            Self::Expected(expected) if expected == stream => {
                *self = Self::Named(stream);
                None
            }
            Self::Expected(_) | Self::Unnamed(_) => Some(Self::Expected(stream)),
        }
    }

    /// The identity to assume after the topic was replaced by a new one of the same name.
    pub const fn of_a_new_topic(self) -> Self {
        match self {
            Self::Unnamed(number) => Self::Unnamed(number.wrapping_add(1)),
            // Never 0, the number with which every process begins, so that the stream differs from that one.
            Self::Expected(StreamId(bits)) | Self::Named(StreamId(bits)) => {
                Self::Unnamed((bits as u32) | 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unnamed_topic_has_the_same_identity_in_every_process_and_one_of_its_own() {
        let stream = |cluster, topic, number| Identity::Unnamed(number).stream(cluster, topic);
        let own = stream("c", "t", 0);
        assert_eq!(own, stream("c", "t", 0));
        let others =
            [stream("d", "t", 0), stream("c", "u", 0), stream("c", "t", 1), stream("ct", "", 0)];
        assert!(others.iter().all(|&other| other != own));
    }

    #[test]
    fn the_first_name_of_a_topic_holds() {
        let (a, b) = (StreamId(1), StreamId(2));
        assert_eq!(Identity::Unnamed(0).name(a), Some(Identity::Expected(a)));
        let mut identity = Identity::Expected(a);
        assert_eq!(identity.name(a), None);
        assert_eq!((identity, identity.name(b)), (Identity::Named(a), None));
        assert_eq!(Identity::Expected(a).name(b), Some(Identity::Expected(b)));
    }

    #[test]
    fn a_new_topic_is_another_stream_than_the_one_before() {
        for before in
            [Identity::Unnamed(0), Identity::Named(StreamId(0)), Identity::Expected(StreamId(7))]
        {
            let after = before.of_a_new_topic();
            assert_ne!(after.stream("c", "t"), before.stream("c", "t"));
            assert_ne!(after, Identity::Unnamed(0));
        }
    }
}
