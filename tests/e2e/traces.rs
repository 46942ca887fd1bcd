//! Traces for OpenTelemetry: what is told of an event by all tiers together, and what happens when nobody listens.

use std::collections::{BTreeMap, BTreeSet};

use pipeline_tests::{
    Sandbox, eventually, free_port,
    otlp::{Receiver, Span},
    sandbox::Builder,
};

/// The pipeline, with traces of one in `sample` events sent to `endpoint`.
fn traced(endpoint: &str, sample: u32) -> Builder {
    ["COLLECTOR", "ANALYZER", "ACCESS_API"].into_iter().fold(
        Sandbox::builder().rate(200),
        |pipeline, tier| {
            pipeline
                .environment(&format!("{tier}__TRACE__ENDPOINT"), endpoint)
                .environment(&format!("{tier}__TRACE__SAMPLE"), &sample.to_string())
        },
    )
}

/// What led to the span `frame`, from the receipt of an event on: its links and parents, followed back.
fn path_to(frame: &Span, spans: &[Span]) -> Option<[Span; 5]> {
    let find = |trace: &str, id: &str| spans.iter().find(|one| one.trace == trace && one.id == id);
    let linked = |span: &Span| span.links.first().and_then(|(trace, id)| find(trace, id));
    let parent = |span: &Span| span.parent.as_ref().and_then(|id| find(&span.trace, id));
    let result = linked(frame)?;
    let count = linked(result)?;
    let publish = parent(count)?;
    let receive = parent(publish)?;
    Some([receive, publish, count, result, frame].map(Span::clone))
}

#[test]
fn an_event_is_traced_from_its_receipt_to_the_frame_that_shows_it() {
    let receiver = Receiver::start();
    let mut sandbox = traced(&receiver.endpoint(), 5).start();
    let path = eventually("a frame that leads back to the receipt of an event", || {
        sandbox.assert_running();
        let spans = receiver.spans();
        let mut frames = spans.iter().filter(|span| span.name == "frame");
        frames.find_map(|frame| path_to(frame, &spans))
    });
    let [receive, publish, count, result, frame] = &path;
    let told = path.each_ref().map(|span| (span.service.as_str(), span.name.as_str()));
    let [collector, analyzer] = ["millrace-collector", "millrace-analyzer"];
    let expected = [
        (collector, "receive"),
        (collector, "publish"),
        (analyzer, "count"),
        (analyzer, "result"),
        ("millrace-access-api", "frame"),
    ];
    assert_eq!(told, expected);
    for (one, other) in [(publish, count), (receive, publish)] {
        assert_eq!(one.trace, other.trace, "an event has one trace");
    }
    assert_eq!(result.trace, frame.trace, "a result has one trace");
    assert_ne!(result.trace, count.trace, "which is not that of an event");
    assert!(
        [receive, result, frame].iter().all(|span| span.parent.is_none()),
        "links, not parents"
    );
    assert_eq!(count.attributes["millrace.outcome"], "counted");
    for key in ["messaging.destination.partition.id", "messaging.kafka.offset"] {
        assert_eq!(count.attributes[key], publish.attributes[key]);
    }
    for key in ["millrace.query", "millrace.version"] {
        assert_eq!(frame.attributes[key], result.attributes[key]);
    }
    assert!(path.is_sorted_by_key(|span| span.times.0), "{path:#?}");

    // Of the records, those and only those are sampled whose trace can be found, and the header names it.
    let records = sandbox.topics().read("raw-rsvps");
    let records = records.iter().map(|record| &record.headers);
    let ids: BTreeSet<&String> = records.clone().map(|headers| &headers["mr-id"]).collect();
    let traced =
        records.filter_map(|headers| Some((headers.get("traceparent")?, &headers["mr-id"])));
    let traced: BTreeMap<&String, &String> = traced.collect();
    let sampled: BTreeSet<&String> = traced.values().copied().collect();
    let share = sampled.len() as f64 / ids.len() as f64;
    assert!((0.05..0.45).contains(&share), "{} of {}", sampled.len(), ids.len());
    let traceparent = format!("00-{}-{}-01", receive.trace, receive.id);
    assert_eq!(traced[&traceparent], &receive.attributes["millrace.event.id"]);
    eventually(
        "the analyzer has counted all sampled records, and traced no others of them",
        || {
            let counted: BTreeSet<String> = receiver
                .spans()
                .iter()
                .filter(|span| span.name == "count")
                .map(|span| span.attributes["millrace.event.id"].clone())
                .filter(|id| ids.contains(id))
                .collect();
            assert!(counted.iter().all(|id| sampled.contains(id)), "{counted:?}");
            (counted.len() == sampled.len()).then_some(())
        },
    );
    assert!(sandbox.stop().status.success());
}

#[test]
fn events_are_counted_and_shown_while_nobody_takes_their_traces() {
    let port = free_port();
    let mut sandbox = traced(&format!("http://127.0.0.1:{port}"), 1).start();
    sandbox.await_total("topics", 5_000);
    let told = "traces are not taken";
    eventually("each tier tells of the outage", || {
        sandbox.assert_running();
        (sandbox.log().matches(told).count() >= 3).then_some(())
    });
    let receiver = Receiver::start_at(port);
    eventually("each tier goes on", || {
        let spans = receiver.spans();
        ["receive", "publish", "count", "result", "frame"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name))
            .then_some(())
    });
    assert_eq!(sandbox.log().matches(told).count(), 3, "once for each tier");
    assert!(sandbox.stop().status.success());
}

#[test]
fn nothing_is_traced_by_default() {
    let mut sandbox = Sandbox::builder().rate(200).start();
    sandbox.await_total("topics", 500);
    for topic in ["raw-rsvps", "topn-rsvps-partials", "topn-rsvps"] {
        let records = sandbox.topics().read(topic);
        assert!(!records.is_empty(), "{topic}");
        for record in records {
            let traced =
                ["traceparent", "mr-traces"].iter().any(|name| record.headers.contains_key(*name));
            assert!(!traced, "{topic}: {:?}", record.headers);
        }
    }
    for tier in ["collector", "analyzer", "access-api"] {
        let metrics = eventually("metrics", || sandbox.metrics(tier));
        let spans = format!("millrace_{}_trace_spans_total", tier.replace('-', "_"));
        assert!(metrics.has(&spans) && metrics.sum(&spans).abs() < f64::EPSILON, "{tier}");
    }
    assert!(sandbox.stop().status.success());
}
