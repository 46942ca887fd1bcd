//! The admin port of every tier: `/live`, `/ready` and `/metrics`.
//!
//! `/live` answers 200 as long as the process can answer at all. It does not depend on Kafka, because
//! restarting a tier does not repair a broker. `/ready` answers 200 when every named condition holds,
//! else 503 with the ones that do not. `/metrics` is Prometheus' text format; 503 while earlier scrapes hang.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::accept::Acceptor;

/// More connections than probes and scrapers open at once; any further one waits in the listen queue.
const MAX_CONNECTIONS: usize = 64;

/// Scrapes that may be under way at once. Each has a thread until it ends, even if its client has gone.
const MAX_SCRAPES: usize = 2;

/// The conditions under which a tier can do its work.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// For each condition why it does not hold; `None` while it does.
    conditions: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One named condition of a [`Readiness`].
#[derive(Debug, Clone)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a condition, which does not hold until [`Condition::set`].
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition { name, readiness: self.clone() };
        condition.unset("starting");
        condition
    }

    /// The conditions that do not hold, with the reason; empty means ready.
    pub fn unmet(&self) -> BTreeMap<&'static str, String> {
        self.lock().iter().filter_map(|(&name, why)| Some((name, why.clone()?))).collect()
    }

    /// Every condition, and whether it holds.
    pub fn conditions(&self) -> BTreeMap<&'static str, bool> {
        self.lock().iter().map(|(&name, why)| (name, why.is_none())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// Says that the condition holds now.
    pub fn set(&self) {
        if self.readiness.lock().insert(self.name, None).flatten().is_some() {
            tracing::info!(condition = self.name, "condition holds");
        }
    }

    /// Says that the condition does not hold now, and why.
    pub fn unset(&self, why: impl Into<String>) {
        let why = why.into();
        let before = self.readiness.lock().insert(self.name, Some(why.clone()));
        if before == Some(None) {
            tracing::warn!(condition = self.name, why, "condition does not hold any more");
        } else {
            tracing::debug!(condition = self.name, why, "condition does not hold");
        }
    }
}

/// Binds the admin port and serves it for the life of the process. Returns the address that was bound.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let sources = Sources::new(registry, readiness);
    tokio::spawn(answer_all(Acceptor::new(listener, "admin"), sources));
    Ok(bound)
}

async fn answer_all(mut acceptor: Acceptor, sources: Sources) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let (stream, _) = acceptor.accept().await;
        let sources = sources.clone();
        tokio::spawn(async move {
            let service = service_fn(async |request: Request<Incoming>| {
                let (method, path) = (request.method(), request.uri().path());
                Ok::<_, Infallible>(sources.answer(method, path).await)
            });
            // Nothing needs to be done about a client that breaks the connection off.
            let _ended = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(5))
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

/// What the answers are made of.
#[derive(Clone)]
struct Sources {
    registry: Registry,
    readiness: Readiness,
    /// A permit for each scrape that may be under way.
    scrapes: Arc<Semaphore>,
}

impl Sources {
    fn new(registry: Registry, readiness: Readiness) -> Self {
        Self { registry, readiness, scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)) }
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        }
        match path {
            "/live" => text(StatusCode::OK, "live\n".to_owned()),
            "/ready" => {
                let unmet = self.readiness.unmet();
                if unmet.is_empty() {
                    return text(StatusCode::OK, "ready\n".to_owned());
                }
                let lines =
                    unmet.iter().map(|(name, why)| format!("not ready: {name}: {why}\n")).collect();
                text(StatusCode::SERVICE_UNAVAILABLE, lines)
            }
            "/metrics" => {
                let Ok(permit) = Arc::clone(&self.scrapes).try_acquire_owned() else {
                    let why = format!("{MAX_SCRAPES} scrapes are still under way\n");
                    return text(StatusCode::SERVICE_UNAVAILABLE, why);
                };
                match gather(self.registry.clone(), permit).await {
                    Ok(metrics) => text(StatusCode::OK, metrics),
                    Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }
            _ => {
                text(StatusCode::NOT_FOUND, "not found; try /live, /ready or /metrics\n".to_owned())
            }
        }
    }
}

/// All metrics as text. Some of them ask the system when they are read, and a disk may take its time: the permit is
/// held until they are read, also when nobody waits for them any more.
async fn gather(registry: Registry, permit: OwnedSemaphorePermit) -> std::io::Result<String> {
    let gathered = tokio::task::spawn_blocking(move || {
        let families = registry.gather();
        drop(permit);
        TextEncoder::new().encode_to_string(&families).map_err(std::io::Error::other)
    });
    gathered.await?
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use prometheus::core::{Collector, Desc};
    use prometheus::proto::MetricFamily;

    use super::*;

    async fn status(readiness: &Readiness, path: &str) -> StatusCode {
        let sources = Sources::new(Registry::new(), readiness.clone());
        sources.answer(&Method::GET, path).await.status()
    }

    /// Metrics that hang until the other end of the channel is dropped.
    struct Hanging(Mutex<Receiver<()>>);

    impl Collector for Hanging {
        fn desc(&self) -> Vec<&Desc> {
            Vec::new()
        }

        fn collect(&self) -> Vec<MetricFamily> {
            let _dropped = self.0.lock().unwrap().recv();
            Vec::new()
        }
    }

    #[tokio::test]
    async fn scrapes_do_not_pile_up_while_one_hangs() {
        let (end, hanging) = channel();
        let registry = Registry::new();
        registry.register(Box::new(Hanging(Mutex::new(hanging)))).unwrap();
        let sources = Sources::new(registry, Readiness::default());
        let scrape = async || sources.answer(&Method::GET, "/metrics").await.status();
        for _ in 0..MAX_SCRAPES {
            let given_up = tokio::time::timeout(Duration::from_millis(1), scrape()).await;
            assert!(given_up.is_err(), "it hangs");
        }
        assert_eq!(scrape().await, StatusCode::SERVICE_UNAVAILABLE);
        drop(end);
        let all = u32::try_from(MAX_SCRAPES).unwrap();
        drop(sources.scrapes.acquire_many(all).await.unwrap());
        assert_eq!(scrape().await, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_tier_is_ready_when_every_condition_holds_and_live_in_any_case() {
        let readiness = Readiness::default();
        let log = readiness.condition("log");
        let kafka = readiness.condition("kafka");
        log.set();
        assert_eq!(status(&readiness, "/ready").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(readiness.unmet().into_keys().collect::<Vec<_>>(), ["kafka"]);
        assert_eq!(readiness.conditions(), BTreeMap::from([("kafka", false), ("log", true)]));
        kafka.set();
        assert_eq!(status(&readiness, "/ready").await, StatusCode::OK);
        log.unset("disk full");
        assert_eq!(status(&readiness, "/ready").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(readiness.conditions(), BTreeMap::from([("kafka", true), ("log", false)]));
        assert_eq!(status(&readiness, "/live").await, StatusCode::OK);
        assert_eq!(status(&readiness, "/nothing").await, StatusCode::NOT_FOUND);
    }
}
