//! The plan of a run: the command and the configuration are checked before any process is started.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use common::kafka::{Kafka, Topics};
use tokio::time::timeout;

use super::args::{Args, DEFAULT_PORT, Limits};
use super::cluster::Cluster;
use super::data_dir::{self, DataDir};
use super::feed::RunningFeed;
use super::settings::Settings;
use super::tiers::{Asked, OwnFeed, Tier, Tiers, Wiring};
use super::{Error, ports};
use crate::presets::{Place, Preset};
use crate::simulate::{Feed, SyntheticOptions};
use crate::verbosity::Verbosity;

/// See the [module](self).
pub struct Plan {
    /// The flags.
    pub args: Args,
    /// When `--once` stops collecting; `None` if the feed ends by itself.
    pub limits: Option<Limits>,
    /// The flag that sets the topics; `None` if they are the configured ones.
    own_topics: Option<&'static str>,
    /// How much is logged.
    pub verbosity: Verbosity,
    /// The feed that this program serves; `None` if the events come from elsewhere.
    pub feed: Option<Feed>,
    /// The tiers' programs.
    pub tiers: Tiers,
    /// The tiers' effective configurations.
    pub asked: Asked,
    /// How to reach Kafka, except for its address.
    pub kafka: Kafka,
    /// The address of an existing Kafka.
    pub brokers: Option<String>,
    /// The data directory.
    pub dir: DataDir,
    /// The address of the dashboard.
    pub listen: SocketAddr,
    settings: Settings,
    admin: [SocketAddr; 3],
}

impl Plan {
    /// Checks the command and the configuration.
    ///
    /// # Errors
    /// When one of them is not valid, or the machine lacks something.
    pub async fn new(mut args: Args, verbosity: Verbosity) -> Result<Self, Error> {
        let mut dir = None;
        match args.preset.clone() {
            None => {}
            Some(Preset { place: Place::File(path), recording, .. }) => {
                args.config = Some(path);
                args.recording = args.recording.or(recording);
            }
            // The tiers read it, so that it has to be a file.
            Some(Preset { place: Place::BuiltIn(text), .. }) => {
                let made = directory(&args)?;
                args.config = Some(made.write("preset.toml", text)?);
                dir = Some(made);
            }
        }
        let settings = Settings::read(args.config.as_deref())?;
        let of_file = settings.brokers().map(str::to_owned);
        let brokers = if args.memory { None } else { args.brokers.clone().or(of_file) };
        if args.topic.is_some() && brokers.is_none() {
            return Err(Error::TopicWithoutBrokers);
        }
        let elsewhere = settings.names_feed();
        if let Some(preset) = &args.preset
            && !(preset.is_simulated || elsewhere || args.topic.is_some())
            && args.recording.is_none()
        {
            return Err(Error::PresetWithoutFeed { name: preset.name.clone() });
        }
        let limits = args.limits(elsewhere);
        if args.once && limits.is_none() && !args.wants_own_feed(elsewhere) {
            return Err(Error::Endless);
        }
        args.pace().check()?;
        let dir = match dir {
            Some(dir) => dir,
            None => directory(&args)?,
        };
        let mut kafka = settings.kafka(&args.properties)?;
        let own_topics = own_topics(&args, &settings, brokers.is_some());
        if let Some((raw, _)) = &own_topics {
            kafka.topics = topics_of(raw);
        }
        let elsewhere = args.topic.is_some() || elsewhere && !args.wants_own_feed(elsewhere);
        let feed =
            if elsewhere { None } else { Some(feed(args.clone(), dir.path().to_owned()).await?) };
        let tiers = Tiers::find()?;
        let deadline = args.step_deadline();
        let asked =
            timeout(deadline, tiers.ask(&settings)).await.map_err(|_| Error::NotReady {
                what: "a tier's --dump-config",
                waited: deadline,
                why: "no answer".to_owned(),
            })??;
        let feed = feed.map(|feed| asked.taken.clone().fit(feed));
        let listen = listen(&args, &settings, &asked)?;
        let admin = admin(&settings, &asked)?;
        Ok(Self {
            args,
            limits,
            own_topics: own_topics.map(|(_, by)| by),
            verbosity,
            feed,
            tiers,
            asked,
            kafka,
            brokers,
            dir,
            listen,
            settings,
            admin,
        })
    }

    /// Checks that the data directory belongs to the cluster that was found, and that the topic of `--topic` exists.
    ///
    /// # Errors
    /// When the data belongs to another cluster, or the topic does not exist.
    pub fn accept(&self, found: &Cluster) -> Result<(), Error> {
        if let Some(id) = &found.id {
            self.dir.bind(id)?;
        }
        let Some(topic) = &self.args.topic else { return Ok(()) };
        if found.topics.contains(topic) {
            return Ok(());
        }
        let mut names: Vec<&str> = found
            .topics
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with("__"))
            .collect();
        names.sort_by(|a, b| {
            strsim::jaro_winkler(topic, b).total_cmp(&strsim::jaro_winkler(topic, a))
        });
        names.truncate(5);
        let hint = if names.is_empty() {
            "it has no topics at all".to_owned()
        } else {
            format!("the most similar ones are {}", names.join(", "))
        };
        let brokers = self.brokers.clone().unwrap_or_default();
        Err(Error::NoTopic { topic: topic.clone(), brokers, hint })
    }

    /// All addresses, once `kafka` answers and `feed` is served.
    ///
    /// # Errors
    /// When the data directory cannot be written to.
    pub fn wiring(&self, kafka: Kafka, feed: Option<&RunningFeed>) -> Result<Wiring<'_>, Error> {
        let args = &self.args;
        let brokers_by = match (&args.brokers, &self.brokers) {
            (Some(_), _) => "--brokers",
            (None, Some(_)) => "kafka.brokers of the file",
            (None, None) if args.memory => "--memory",
            (None, None) => "the Kafka that `up` starts",
        };
        let feed_by = if args.recording.is_some() {
            "--recording"
        } else if args.events.is_some() {
            "--events"
        } else {
            "the feed that `up` serves"
        };
        // `since_mtime=0` asks for the feed from its first line, in case the collector is killed before it has logged
        // anything. Later the collector appends the position that it has logged, and the last parameter counts.
        let feed = feed.map(|feed| OwnFeed {
            url: format!("{}?since_mtime=0", feed.url()),
            id: feed.id().to_owned(),
            by: feed_by,
        });
        let listen_by = match (args.port, args.listen) {
            (Some(port), _) => format!("--port {port}"),
            (None, Some(listen)) => format!("--listen {listen}"),
            (None, None) => String::new(),
        };
        Ok(Wiring {
            settings: &self.settings,
            kafka,
            brokers_by,
            own_topics: self.own_topics,
            collects: args.topic.is_none(),
            properties: &args.properties,
            feed,
            listen: self.listen,
            listen_by,
            admin: self.admin,
            stack: self.dir.stack()?,
            log: self.dir.join("collector"),
            log_filter: self.verbosity.of_tiers(),
        })
    }
}

/// The data directory, which is locked.
fn directory(args: &Args) -> Result<DataDir, Error> {
    if !args.keeps_data() {
        return Ok(DataDir::temporary()?);
    }
    let path = data_dir::path(args.data_dir.as_deref(), args.preset.as_ref())?;
    Ok(DataDir::kept(&path)?)
}

/// The raw topic, if it is not the configured one, and the flag that sets it. In a Kafka that is shared each preset has topics of
/// its own, because its events have a shape of their own.
fn own_topics(args: &Args, settings: &Settings, shared: bool) -> Option<(String, &'static str)> {
    if let Some(topic) = &args.topic {
        return Some((topic.clone(), "--topic"));
    }
    let preset = args.preset.as_ref().filter(|preset| shared && preset.name != Preset::DEFAULT)?;
    let configured = settings.origin(Tier::Collector.name(), "kafka.topics").is_some();
    (!configured).then(|| (preset.name.clone(), "--preset"))
}

/// An existing topic gets further topics of its own, named like the default ones.
fn topics_of(raw: &str) -> Topics {
    Topics {
        raw: raw.to_owned(),
        dead_letters: format!("{raw}-dlq"),
        partials: format!("topn-{raw}-partials"),
        state: format!("topn-{raw}-state"),
        results: format!("topn-{raw}"),
        cursors: format!("{raw}-cursors"),
        acks: format!("{raw}-acks"),
    }
}

/// The feed. A recording is opened on another thread, because opening may block.
async fn feed(args: Args, scratch: PathBuf) -> Result<Feed, Error> {
    let opened = tokio::task::spawn_blocking(move || match &args.recording {
        Some(recording) => Feed::recording(recording, &scratch),
        None => {
            Feed::synthetic(SyntheticOptions { events: args.events, ..SyntheticOptions::default() })
        }
    });
    Ok(opened.await.map_err(|error| Error::Thread(error.into()))??)
}

/// The address of the dashboard: that of a flag, else the configured one, else the default.
fn listen(args: &Args, settings: &Settings, asked: &Asked) -> Result<SocketAddr, Error> {
    let configured = settings.origin(Tier::AccessApi.name(), "listen").is_some();
    let default = if args.once { 0 } else { DEFAULT_PORT };
    let wanted = args.dashboard().unwrap_or_else(|| {
        if configured { asked.listen } else { SocketAddr::from((Ipv4Addr::LOCALHOST, default)) }
    });
    let address = with_port(wanted)?;
    TcpListener::bind(address).map_err(|source| Error::Port { address, source })?;
    Ok(address)
}

/// The admin addresses of the tiers: the configured ones, else free ports.
fn admin(settings: &Settings, asked: &Asked) -> Result<[SocketAddr; 3], Error> {
    let mut admin = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 3];
    for (address, tier) in admin.iter_mut().zip(Tier::ALL) {
        if settings.origin(tier.name(), "service.admin").is_some() {
            *address = tier.of(&asked.admin);
        }
    }
    // The free ports are drawn together, so that they differ.
    let free: [u16; 3] = ports::free().map_err(Error::Ports)?;
    for (address, port) in admin.iter_mut().zip(free) {
        if address.port() == 0 {
            address.set_port(port);
        }
    }
    Ok(admin)
}

/// Replaces port 0 by a free port. The port must be known before the process that will listen there starts, and must
/// stay the same when that process is started again.
fn with_port(mut address: SocketAddr) -> Result<SocketAddr, Error> {
    if address.port() == 0 {
        let [free] = ports::free().map_err(Error::Ports)?;
        address.set_port(free);
    }
    Ok(address)
}

/// The address at which a client on this machine reaches a server that listens at `address`.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
        }
        _ => address,
    }
}
