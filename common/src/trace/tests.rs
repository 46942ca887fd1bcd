use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prometheus::Registry;
use proptest::prelude::*;
use serde_json::Value as Json;
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::event::identity::{hash, identify};

/// A receiver that answers every request with `status`.
struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<Json>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self {
            address,
            status: Arc::new(AtomicU16::new(status)),
            asked: Arc::default(),
            taken: Arc::default(),
        };
        let (status, taken) = (Arc::clone(&receiver.status), Arc::clone(&receiver.taken));
        let asked = Arc::clone(&receiver.asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (status, taken) = (Arc::clone(&status), Arc::clone(&taken));
                let asked = Arc::clone(&asked);
                let service = service_fn(move |request: Request<Incoming>| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let (status, taken) = (Arc::clone(&status), Arc::clone(&taken));
                    async move {
                        assert_eq!(request.uri().path(), "/otlp/v1/traces");
                        assert_eq!(request.headers()["x-token"], "s3cret");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let status = status.load(Ordering::Relaxed);
                        if status == 200 {
                            taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                        }
                        let answer = Response::builder().status(status);
                        Ok::<_, Infallible>(
                            answer.body(Full::new(Bytes::from_static(b"{}"))).unwrap(),
                        )
                    }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        receiver
    }

    fn spans(&self) -> usize {
        let spans = |body: &Json| {
            body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
        };
        self.taken.lock().unwrap().iter().map(spans).sum()
    }
}

fn section(address: SocketAddr) -> Trace {
    let mut trace = Trace {
        endpoint: format!("http://{address}/otlp").as_str().into(),
        sample: 1,
        ..Trace::default()
    };
    trace.headers.insert("X-Token".to_owned(), "s3cret".into());
    trace
}

fn span(id: &str) -> Span {
    let context = Context { trace: TraceId::of_event(id), span: SpanId::random() };
    Span {
        context,
        parent: None,
        name: "receive",
        kind: Kind::Internal,
        start_ns: 1,
        end_ns: 2,
        attributes: Vec::new(),
        links: Vec::new(),
        unlinked: 0,
    }
}

fn counted(registry: &Registry, outcome: &str) -> u64 {
    let families = registry.gather();
    let family =
        families.iter().find(|family| family.name().ends_with("_trace_spans_total")).unwrap();
    let metric = family.get_metric().iter().find(|metric| metric.get_label()[0].value() == outcome);
    metric.unwrap().get_counter().get_value() as u64
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn on(sample: u64) -> Tracer {
    let (queue, _) = tokio::sync::mpsc::channel(1);
    let dropped = prometheus::IntCounter::new("dropped", "help").unwrap();
    Tracer::new(queue, sample, Clock::default(), dropped)
}

proptest! {
    /// The collector reads the id from the event; the analyzer has the hash and, for a sampled event, reads it too.
    #[test]
    fn an_event_has_the_same_trace_wherever_its_id_is_read(number in any::<u32>(), sample in 1_u64..100) {
        let schema = crate::event::Schema::default();
        let one = format!(r#"{{"rsvp_id":{number},"response":"yes","mtime":1}}"#);
        let again = format!(r#"{{"mtime":1000, "response":"yes", "rsvp_id": {number}}}"#);
        let ids = [one, again].map(|event| identify(event.as_bytes(), &schema).unwrap().id.unwrap());
        prop_assert_eq!(TraceId::of_event(&ids[0]), TraceId::of_event(&ids[1]));
        let (first, second) = (on(sample), on(sample));
        prop_assert_eq!(
            first.samples(hash(ids[0].as_bytes())),
            second.samples(hash(ids[1].as_bytes()))
        );
    }
}

#[test]
fn one_event_in_so_many_is_sampled() {
    for sample in [1, 2, 10, 100] {
        let tracer = on(sample);
        let events = 100_000_u64;
        let sampled =
            (0..events).filter(|id| tracer.samples(hash(format!("{id}:yes").as_bytes()))).count();
        let expected = (events / sample) as f64;
        // Six standard deviations of a binomial distribution.
        let tolerance = 6.0 * (expected * (1.0 - 1.0 / sample as f64)).sqrt();
        assert!(
            (sampled as f64 - expected).abs() <= tolerance,
            "{sampled} of {events} at {sample}"
        );
    }
}

#[test]
fn whoever_samples_more_samples_also_what_the_others_do() {
    let (rare, frequent) = (on(100), on(10));
    let ids = (0..10_000_u64).map(|id| hash(&id.to_be_bytes()));
    assert!(ids.filter(|id| rare.samples(*id)).all(|id| frequent.samples(id)));
}

#[tokio::test]
async fn what_is_off_samples_nothing_and_sends_nothing() {
    let registry = Registry::new();
    let (tracer, exporter) =
        start(Some(&Trace::default()), "access-api", Clock::default(), &registry).unwrap();
    assert!(!tracer.is_on());
    assert!((0..1000_u64).all(|id| !tracer.samples(id)));
    assert_eq!(tracer.now_ns(), 0);
    tracer.record(span("1"));
    assert_eq!(format!("{exporter:?}"), "Exporter(None)", "no task runs");
    exporter.finish(Duration::from_secs(60)).await;
    assert_eq!((counted(&registry, "exported"), counted(&registry, "dropped")), (0, 0));
}

#[tokio::test]
async fn a_stop_sends_what_was_recorded() {
    let receiver = Receiver::start(200).await;
    let registry = Registry::new();
    let (tracer, exporter) =
        start(Some(&section(receiver.address)), "analyzer", Clock::default(), &registry).unwrap();
    (0..700).for_each(|id| tracer.record(span(&id.to_string())));
    exporter.finish(Duration::from_secs(60)).await;
    assert_eq!(receiver.spans(), 700);
    assert_eq!((counted(&registry, "exported"), counted(&registry, "dropped")), (700, 0));
    tracer.record(span("too late"));
    assert_eq!(counted(&registry, "dropped"), 1);
}

#[tokio::test]
async fn what_an_outage_leaves_no_room_for_is_counted_and_the_rest_is_sent_after_it() {
    let receiver = Receiver::start(503).await;
    let registry = Registry::new();
    let (tracer, exporter) =
        start(Some(&section(receiver.address)), "analyzer", Clock::default(), &registry).unwrap();
    tracer.record(span("0"));
    until(|| receiver.asked.load(Ordering::Relaxed) > 0).await;
    (1..10_000).for_each(|id| tracer.record(span(&id.to_string())));
    let dropped = counted(&registry, "dropped");
    assert!((1..10_000).contains(&dropped), "{dropped}");
    receiver.status.store(200, Ordering::Relaxed);
    until(|| receiver.spans() as u64 == 10_000 - dropped).await;
    exporter.finish(Duration::from_secs(60)).await;
    assert_eq!(counted(&registry, "exported"), 10_000 - dropped);
    assert_eq!(counted(&registry, "dropped"), dropped);
}

#[tokio::test]
async fn spans_that_are_refused_are_dropped_and_the_next_ones_are_sent() {
    let receiver = Receiver::start(400).await;
    let registry = Registry::new();
    let (tracer, exporter) =
        start(Some(&section(receiver.address)), "analyzer", Clock::default(), &registry).unwrap();
    tracer.record(span("1"));
    until(|| counted(&registry, "dropped") == 1).await;
    receiver.status.store(200, Ordering::Relaxed);
    tracer.record(span("2"));
    until(|| counted(&registry, "exported") == 1).await;
    exporter.finish(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_receiver_that_is_not_there_delays_no_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let registry = Registry::new();
    let (tracer, exporter) =
        start(Some(&section(address)), "analyzer", Clock::default(), &registry).unwrap();
    tracer.record(span("1"));
    exporter.finish(Duration::from_secs(60)).await;
    assert_eq!(counted(&registry, "dropped"), 1, "it is asked once more, and not waited for");
}
