use std::ops::Range;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};

use super::*;

const TOPIC: &str = "topic";

struct Bench<'c> {
    _cluster: MockCluster<'c, DefaultProducerContext>,
    producer: FutureProducer,
    reader: Reader,
}

impl Bench<'_> {
    fn new(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let kafka = Kafka { brokers: cluster.bootstrap_servers(), ..Kafka::default() };
        let producer = kafka.producer().unwrap().create().unwrap();
        Self { reader: Reader::new(&kafka).unwrap(), _cluster: cluster, producer }
    }

    async fn write(&self, partition: i32, payloads: Range<usize>) {
        for payload in payloads {
            let payload = payload.to_string();
            let record = FutureRecord::<(), _>::to(TOPIC).partition(partition).payload(&payload);
            self.producer.send(record, ANSWER_DEADLINE).await.unwrap();
        }
    }

    fn read(&self, spans: &BTreeMap<i32, Span>) -> Result<BTreeMap<i32, Vec<usize>>, Error> {
        let mut found: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        self.reader.read_to_end(TOPIC, spans, &CancellationToken::new(), |record| {
            let payload = std::str::from_utf8(record.payload().unwrap()).unwrap();
            found.entry(record.partition()).or_default().push(payload.parse().unwrap());
        })?;
        Ok(found)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_before_the_end_is_shown_and_none_after_it() {
    let bench = Bench::new(3);
    bench.write(0, 0..40).await;
    bench.write(2, 40..50).await;
    let partitions = bench.reader.partitions(TOPIC).unwrap();
    assert_eq!(partitions, [0, 1, 2]);
    let mut spans = bench.reader.spans(TOPIC, &partitions).unwrap();
    assert_eq!(spans[&1], Span { start: 0, end: 0 });
    // This was written after the reading began.
    bench.write(0, 50..60).await;
    bench.write(1, 60..70).await;
    let all = [(0, (0..40).collect()), (2, (40..50).collect())];
    assert_eq!(bench.read(&spans).unwrap(), all.into());

    spans.get_mut(&0).unwrap().start = 38;
    spans.remove(&2);
    assert_eq!(
        bench.read(&spans).unwrap(),
        [(0, vec![38, 39])].into(),
        "and from where it is told"
    );
    assert_eq!(bench.read(&BTreeMap::new()).unwrap(), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_log_does_not_have_is_an_error_and_not_the_end() {
    let bench = Bench::new(1);
    bench.write(0, 0..3).await;
    for span in [Span { start: 0, end: 7 }, Span { start: 5, end: 7 }] {
        let outcome = bench.read(&[(0, span)].into());
        assert!(matches!(outcome, Err(Error::PositionLost { .. })), "{span:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_stops_when_it_is_told_to() {
    let bench = Bench::new(1);
    bench.write(0, 0..3).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let spans = bench.reader.spans(TOPIC, &[0]).unwrap();
    let outcome = bench.reader.read_to_end(TOPIC, &spans, &stop, |_| panic!("nothing is read"));
    assert!(matches!(outcome, Err(Error::Stopped(_))));
}
