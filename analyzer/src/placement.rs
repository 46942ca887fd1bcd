//! Which Kafka partition a query's partials are in.
//!
//! The partials of one query have many keys and must all be in one partition. So the partition is chosen by the
//! query's name, with the function that Java's producer and librdkafka's `murmur2_random` use for keys (Apache
//! Kafka, `Utils.murmur2` and `BuiltInPartitioner.partitionForKey`).

/// The partition, from 0 to `partitions` - 1, that has all partials of `query`.
pub fn partition_of(query: &str, partitions: i32) -> i32 {
    let positive = murmur2(query.as_bytes()) & 0x7fff_ffff;
    i32::try_from(positive % partitions.max(1).unsigned_abs()).unwrap_or(0)
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Apache Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn the_hash_is_the_one_that_kafka_uses() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn every_partition_is_in_range() {
        for query in ["topics", "topics_30m", "countries"] {
            assert_eq!(partition_of(query, 1), 0);
            assert!((0..4).contains(&partition_of(query, 4)));
        }
    }
}
