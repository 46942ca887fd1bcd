//! The form in which spans are sent: OTLP 1.x as JSON, as in the specification's "JSON Protobuf Encoding". Ids are
//! hexadecimal, 64-bit numbers are strings, and a value that is absent is left out.

use serde_json::{Value as Json, json};

use super::span::{Span, Value};

/// What all spans of a process have in common.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    attributes: Vec<Json>,
}

impl Resource {
    /// This process of the tier `tier`.
    pub(super) fn of(tier: &str) -> Self {
        let mut known = vec![
            ("service.namespace", "millrace".to_owned()),
            ("service.name", format!("millrace-{tier}")),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", format!("{:016x}", rand::random::<u64>())),
        ];
        // Only Linux has this file; elsewhere the host stays unnamed.
        if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
            known.push(("host.name", host.trim().to_owned()));
        }
        let attributes =
            known.into_iter().map(|(key, text)| attribute(key, &text.into())).collect();
        Self { attributes }
    }

    /// The body of a request that exports these spans.
    pub(super) fn request(&self, spans: &[Span]) -> Vec<u8> {
        let spans: Vec<Json> = spans.iter().map(span).collect();
        let scope = json!({"name": "millrace", "version": env!("CARGO_PKG_VERSION")});
        let request = json!({"resourceSpans": [{
            "resource": {"attributes": self.attributes},
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }]});
        request.to_string().into_bytes()
    }
}

/// How many spans the answer to a request says were not taken, and why.
pub(super) fn rejected(answer: &[u8]) -> Option<(u64, String)> {
    let answer: Json = serde_json::from_slice(answer).ok()?;
    let partial = answer.get("partialSuccess")?;
    let count = partial.get("rejectedSpans")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    let why = partial.get("errorMessage").and_then(Json::as_str).unwrap_or_default();
    (count > 0).then(|| (count, why.to_owned()))
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> =
        span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let links: Vec<Json> = span
        .links
        .iter()
        .map(|to| json!({"traceId": to.trace.to_string(), "spanId": to.span.to_string()}))
        .collect();
    let mut written = json!({
        "traceId": span.context.trace.to_string(),
        "spanId": span.context.span.to_string(),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.max(span.start_ns).to_string(),
        "attributes": attributes,
        "links": links,
        "droppedLinksCount": span.unlinked,
    });
    if let Some(parent) = span.parent {
        written["parentSpanId"] = parent.to_string().into();
    }
    written
}

fn attribute(key: &str, value: &Value) -> Json {
    match value {
        Value::Text(text) => json!({"key": key, "value": {"stringValue": text}}),
        Value::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::{Context, SpanId, TraceId};
    use super::super::span::Kind;
    use super::*;

    #[test]
    fn a_span_is_written_as_the_specification_says() {
        let trace = TraceId::of_event("1525:yes");
        let (publish, count) = (SpanId::of_record(trace, 3, 1042), SpanId::random());
        let other = Context { trace: TraceId::of_event("7:no"), span: SpanId::random() };
        let written = Span {
            context: Context { trace, span: count },
            parent: Some(publish),
            name: "count",
            kind: Kind::Consumer,
            start_ns: 1_700_000_000_000_000_000,
            end_ns: 1_700_000_000_000_000_001,
            attributes: vec![("outcome", "counted".into()), ("offset", 1042_i64.into())],
            links: vec![other],
            unlinked: 2,
        };
        let body: Json =
            serde_json::from_slice(&Resource::of("analyzer").request(&[written])).unwrap();
        let resource = &body["resourceSpans"][0];
        let names = resource["resource"]["attributes"].as_array().unwrap();
        let name = json!({"key": "service.name", "value": {"stringValue": "millrace-analyzer"}});
        assert!(names.contains(&name), "{names:?}");
        assert_eq!(
            resource["scopeSpans"][0]["spans"][0],
            json!({
                "traceId": trace.to_string(),
                "spanId": count.to_string(),
                "parentSpanId": publish.to_string(),
                "name": "count",
                "kind": 5,
                "startTimeUnixNano": "1700000000000000000",
                "endTimeUnixNano": "1700000000000000001",
                "attributes": [
                    {"key": "outcome", "value": {"stringValue": "counted"}},
                    {"key": "offset", "value": {"intValue": "1042"}},
                ],
                "links": [{"traceId": other.trace.to_string(), "spanId": other.span.to_string()}],
                "droppedLinksCount": 2,
            })
        );
    }

    #[test]
    fn an_answer_tells_how_many_spans_were_not_taken() {
        for (answer, expected) in [
            (
                r#"{"partialSuccess":{"rejectedSpans":"5","errorMessage":"full"}}"#,
                Some((5, "full")),
            ),
            (r#"{"partialSuccess":{"rejectedSpans":5}}"#, Some((5, ""))),
            (r#"{"partialSuccess":{"rejectedSpans":"0"}}"#, None),
            (r#"{"partialSuccess":{}}"#, None),
            ("{}", None),
            ("", None),
        ] {
            let expected = expected.map(|(count, why)| (count, why.to_owned()));
            assert_eq!(rejected(answer.as_bytes()), expected, "{answer}");
        }
    }
}
