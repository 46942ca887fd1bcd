//! A receiver of OpenTelemetry's traces (OTLP over HTTP, as JSON) that keeps what arrives. It shares no code with the
//! tiers, which send to it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

/// A running receiver, which ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    _runtime: Runtime,
}

/// A span as it arrived; ids are hexadecimal.
#[derive(Debug, Clone)]
pub struct Span {
    /// The service that sent it.
    pub service: String,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of its parent, if it has one.
    pub parent: Option<String>,
    /// What it is called.
    pub name: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Traces and ids of the spans that it links to.
    pub links: Vec<(String, String)>,
}

impl Receiver {
    /// Listens at any free port.
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// Listens at this port of the loopback address.
    pub fn start_at(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listening = TcpListener::bind(("127.0.0.1", port));
        let listener = runtime.block_on(listening).expect("a port to listen at");
        let address = listener.local_addr().expect("its address");
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = Arc::clone(&spans);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request| take(request, Arc::clone(&kept)));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        Self { address, spans, _runtime: runtime }
    }

    /// Its address, as it is configured in `trace.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that have arrived.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Span>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let is_export = *request.method() == Method::POST && request.uri().path() == "/v1/traces";
    let body = request.into_body().collect().await;
    let arrived = body.ok().and_then(|body| decode(&body.to_bytes())).filter(|_| is_export);
    let mut response = Response::new(Empty::new());
    match arrived {
        Some(arrived) => spans.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived),
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

/// The spans of a request; `None` if it is not one that the specification allows.
fn decode(body: &[u8]) -> Option<Vec<Span>> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let mut spans = Vec::new();
    for resource in request["resourceSpans"].as_array()? {
        let service = attributes(&resource["resource"])?.remove("service.name")?;
        for scope in resource["scopeSpans"].as_array()? {
            for span in scope["spans"].as_array()? {
                spans.push(decode_span(&service, span)?);
            }
        }
    }
    Some(spans)
}

fn decode_span(service: &str, span: &Value) -> Option<Span> {
    let time = |name: &str| span[name].as_str()?.parse().ok();
    let links = span["links"].as_array().map_or(&[][..], Vec::as_slice);
    let links =
        links.iter().map(|link| Some((id(&link["traceId"], 32)?, id(&link["spanId"], 16)?)));
    Some(Span {
        service: service.to_owned(),
        trace: id(&span["traceId"], 32)?,
        id: id(&span["spanId"], 16)?,
        parent: span
            .get("parentSpanId")
            .map(|parent| id(parent, 16))
            .map_or(Some(None), |id| id.map(Some))?,
        name: span["name"].as_str()?.to_owned(),
        times: (time("startTimeUnixNano")?, time("endTimeUnixNano")?),
        attributes: attributes(span)?,
        links: links.collect::<Option<_>>()?,
    })
}

fn id(value: &Value, digits: usize) -> Option<String> {
    let text = value.as_str()?;
    let is_id = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_id && text.bytes().any(|digit| digit != b'0')).then(|| text.to_owned())
}

fn attributes(of: &Value) -> Option<BTreeMap<String, String>> {
    let attribute = |one: &Value| {
        let value = one["value"].get("stringValue").or_else(|| one["value"].get("intValue"))?;
        Some((one["key"].as_str()?.to_owned(), value.as_str()?.to_owned()))
    };
    of["attributes"].as_array().map_or(&[][..], Vec::as_slice).iter().map(attribute).collect()
}
