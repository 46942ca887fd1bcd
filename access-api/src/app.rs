//! Puts the parts together.

use std::net::SocketAddr;
use std::sync::Arc;

use common::admin::Condition;
use common::clock::Clock;
use common::kafka::Topic;
use common::tier::{Host, Tier};

use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::routes;
use crate::server::Server;
use crate::session::Service;

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

/// An access-api that listens but does not serve yet.
pub struct App {
    config: Config,
    host: Host,
    hub: Arc<Hub>,
    metrics: Metrics,
    server: Server,
    address: SocketAddr,
    caught_up: Condition,
}

impl App {
    /// Binds the address.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn bind(config: Config, host: Host) -> Result<Self, Error> {
        let caught_up = host.readiness.condition("results");
        let metrics = Metrics::new(&host.registry)?;
        let hub = Arc::new(Hub::new(&config, metrics.clone()));
        let bind = |source| Error::Bind { address: config.listen, source };
        let server = Server::bind(config.listen, config.limits, metrics.clone()).map_err(bind)?;
        let address = server.address().map_err(bind)?;
        Ok(Self { config, host, hub, metrics, server, address, caught_up })
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
        let Self { config, host, hub, metrics, server, address, caught_up } = self;
        let shutdown = host.shutdown;
        let service = Service {
            hub: Arc::clone(&hub),
            limits: config.limits,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let consumer = async {
            tokio::select! {
                ensured = config.kafka.ensure_topics(&[Topic::Results]) => ensured?,
                () = shutdown.cancelled() => return Ok(()),
            }
            Consumer::new(
                config.kafka.clone(),
                hub,
                metrics,
                caught_up,
                Clock::new(&config.service),
                shutdown.clone(),
            )
            .run()
            .await?;
            Ok(())
        };
        // Whoever ends first, the other one drains too.
        let consumer = async {
            let outcome: Result<(), Error> = consumer.await;
            shutdown.cancel();
            outcome
        };
        tracing::info!(url = %format!("http://{address}"), "listening");
        let routes = routes::all(Arc::new(service), &config.allowed_origins);
        let (outcome, ()) = tokio::join!(consumer, server.run(routes, shutdown.clone()));
        outcome
    }
}
