//! Puts the parts together.

use std::net::SocketAddr;
use std::sync::Arc;

use common::clock::Clock;
use common::kafka::Topic;
use common::tier::{Host, Tier};

use crate::config::Config;
use crate::consumer::{Conditions, Consumer};
use crate::descriptors::Caps;
use crate::error::Error;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::routes;
use crate::server::Server;
use crate::session::Shared;

/// The access tier.
#[derive(Debug)]
pub struct AccessApi;

impl Tier for AccessApi {
    const NAME: &'static str = "access-api";
    const ABOUT: &'static str =
        "Serves live results, and the dashboard, to thousands of clients, each at its own pace";
    type Config = Config;
    type Error = Error;

    async fn run(config: Config, host: Host) -> Result<(), Error> {
        App::bind(config, host)?.run().await
    }
}

/// An access-api that has bound its address and accepts no connections yet.
pub struct App {
    config: Config,
    host: Host,
    hub: Arc<Hub>,
    metrics: Metrics,
    server: Server,
    address: SocketAddr,
    conditions: Conditions,
}

impl App {
    /// Binds the address.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn bind(config: Config, host: Host) -> Result<Self, Error> {
        let conditions = Conditions {
            kafka: host.readiness.condition("kafka"),
            results: host.readiness.condition("results"),
        };
        let metrics = Metrics::new(&host.registry)?;
        let hub = Arc::new(Hub::new(config.ring, config.limits, metrics.clone()));
        let bind = |source| Error::Bind { address: config.listen, source };
        let caps = Caps::claim(&config.limits);
        let server =
            Server::bind(config.listen, config.limits, caps, metrics.clone()).map_err(bind)?;
        let address = server.address();
        Ok(Self { config, host, hub, metrics, server, address, conditions })
    }

    /// Where it listens.
    #[cfg(test)]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the host shuts down.
    ///
    /// # Errors
    /// When the results cannot be read.
    pub async fn run(self) -> Result<(), Error> {
        let Self { config, host, hub, metrics, server, address, conditions } = self;
        let (shutdown, tracer) = (host.shutdown, host.tracer);
        let clock = Clock::new(&config.service);
        let shared = Shared {
            hub: Arc::clone(&hub),
            limits: config.limits,
            metrics: metrics.clone(),
            clock,
            shutdown: shutdown.clone(),
        };
        let consumer = async {
            tokio::select! {
                ensured = config.kafka.ensure_topics(&[Topic::Results], Some(&conditions.kafka)) => ensured?,
                () = shutdown.cancelled() => return Ok(()),
            }
            let (kafka, shutdown) = (config.kafka.clone(), shutdown.clone());
            Consumer::new(kafka, hub, metrics, conditions, clock, shutdown, tracer).run().await?;
            Ok(())
        };
        // When the consumer ends, the server drains too; a stop of the host ends both.
        let consumer = async {
            let outcome: Result<(), Error> = consumer.await;
            shutdown.cancel();
            outcome
        };
        tracing::info!(url = %format!("http://{address}"), "listening");
        let routes = routes::all(Arc::new(shared), &config.hosts, &config.allowed_origins);
        let (outcome, ()) = tokio::join!(consumer, server.run(routes, shutdown.clone()));
        outcome
    }
}
