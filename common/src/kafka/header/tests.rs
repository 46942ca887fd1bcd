use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rdkafka::mocking::MockCluster;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::kafka::{Kafka, Reader};

/// A request of Kafka's protocol that produces one record with these headers. It is built by hand because
/// rdkafka does not write a name that is not UTF-8.
fn produce(topic: &str, headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    fn varint(value: usize) -> Vec<u8> {
        let (mut rest, mut bytes) = (value << 1, Vec::new());
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }
    let sized = |bytes: &[u8]| [&varint(bytes.len()), bytes].concat();
    let i32 = |value: usize| (value as u32).to_be_bytes();

    // Attributes, time, offset; no key (-1).
    let mut record = [&[0, 0, 0, 1], sized(b"payload").as_slice(), &varint(headers.len())].concat();
    for (name, value) in headers {
        record.extend([sized(name), sized(value)].concat());
    }
    let record = sized(&record);
    let nobody = [&[0xff; 8][..], &[0xff; 2], &[0xff; 4]].concat();
    let checked = [&[0; 2][..], &i32(0), &[0; 8], &[0; 8], &nobody, &i32(1), &record].concat();
    let rest = [&i32(0)[..], &[2], &crc32c(&checked).to_be_bytes(), &checked].concat();
    let batch = [&[0; 8][..], &i32(rest.len()), &rest].concat();

    let api = [0, 0, 0, 3, 0, 0, 0, 7, 0xff, 0xff];
    let options = [&[0xff, 0xff, 0, 1][..], &i32(1_000)].concat();
    let name = [&(topic.len() as u16).to_be_bytes(), topic.as_bytes()].concat();
    let data = [&i32(1)[..], &name, &i32(1), &i32(0), &i32(batch.len()), &batch].concat();
    let request = [&api[..], &options, &data].concat();
    [&i32(request.len())[..], &request].concat()
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

#[test]
fn a_header_whose_name_is_not_utf8_hides_only_what_follows_it_in_its_record() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("raw", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut broker = TcpStream::connect(&brokers).unwrap();
    let records: [&[(&[u8], &[u8])]; 4] = [
        &[(b"\xff\xfe", b"x"), (b"mr-seq", b"1")],
        &[(b"mr-seq", b"2"), (b"\xff\xfe", b"x")],
        &[],
        &[(b"other", b"x"), (b"mr-seq", b"3"), (b"mr-seq", b"4")],
    ];
    for headers in records {
        broker.write_all(&produce("raw", headers)).unwrap();
        let mut size = [0; 4];
        broker.read_exact(&mut size).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        broker.read_exact(&mut answer).unwrap();
    }

    let reader = Reader::new(&Kafka { brokers, ..Kafka::default() }).unwrap();
    let spans = reader.spans("raw", &[0]).unwrap();
    assert_eq!(spans[&0].end, 4, "the broker took all of them");
    let mut found = Vec::new();
    reader
        .read_to_end("raw", &spans, &CancellationToken::new(), |record| {
            assert_eq!(record.payload(), Some(&b"payload"[..]));
            found.push(value(record, SEQ).map(<[u8]>::to_vec));
        })
        .unwrap();
    assert_eq!(found, [None, Some(b"2".to_vec()), None, Some(b"3".to_vec())]);
}

#[test]
fn a_panic_elsewhere_is_printed_as_before() {
    assert_eq!(quietly(|| 7), Some(7));
    assert_eq!(quietly(|| -> u8 { panic!("not printed") }), None);
    assert!(!EXPECTED.get(), "the next one is");
}
