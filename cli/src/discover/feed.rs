//! Connecting to a feed, or opening a recording, and reading its messages until nobody wants more.

use std::path::PathBuf;

use tokio::sync::mpsc;
use url::Url;

use super::Error;
use came::Outlet;
pub use came::{Came, Framing, Source};
pub use options::{Header, Options};

mod came;
mod dial;
mod file;
mod http;
mod options;
mod split;
mod sse;
mod websocket;

/// How many messages may wait to be looked at.
const WAITING: usize = 64;

/// Where the events are.
#[derive(Debug, Clone)]
pub enum Target {
    /// `ws://` or `wss://`.
    Websocket(Url),
    /// `http://` or `https://`.
    Http(Url),
    /// A recording.
    File(PathBuf),
    /// A recording from the standard input.
    Stdin,
}

impl Target {
    /// Reads the argument: an address, the path of a file, or `-`.
    ///
    /// # Errors
    /// When it is an address of another kind.
    pub fn of(text: &str) -> Result<Self, Error> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(if text == "-" { Self::Stdin } else { Self::File(PathBuf::from(text)) });
        };
        let usage = |why: String| Error::Usage(why);
        let url = Url::parse(text).map_err(|why| {
            usage(format!("this is not an address: {why}; write for example wss://host/path"))
        })?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(usage(
                "the address has no host; write for example wss://host/path".to_owned(),
            ));
        }
        match scheme {
            "ws" | "wss" => Ok(Self::Websocket(url)),
            "http" | "https" => Ok(Self::Http(url)),
            _ => Err(usage(format!(
                "there is nothing for {scheme}://; write ws://, wss://, http://, https://, the name of a file, or -"
            ))),
        }
    }

    /// What is watched, in words and without secrets.
    pub fn shown(&self) -> String {
        match self {
            Self::Websocket(url) | Self::Http(url) => dial::shown(url),
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "the standard input".to_owned(),
        }
    }

    /// Whether it ends by itself.
    pub const fn is_recording(&self) -> bool {
        matches!(self, Self::File(_) | Self::Stdin)
    }
}

/// A feed that is being read.
pub struct Reading {
    /// What comes; it ends when the feed has ended.
    pub came: mpsc::Receiver<Came>,
    reader: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Reading {
    /// Begins to read.
    pub fn start(target: Target, options: Options) -> Self {
        let (sender, came) = mpsc::channel(WAITING);
        let outlet = Outlet::new(sender);
        let reader = match target {
            Target::Websocket(url) => tokio::spawn(websocket::read(url, options, outlet)),
            Target::Http(url) => tokio::spawn(http::read(url, options, outlet)),
            Target::File(path) => {
                tokio::task::spawn_blocking(move || file::read(Some(&path), &outlet))
            }
            Target::Stdin => tokio::task::spawn_blocking(move || file::read(None, &outlet)),
        };
        Self { came, reader }
    }

    /// Why the feed has ended. To be called when nothing comes any more.
    ///
    /// # Errors
    /// When it could not be read, or not to its end.
    pub async fn end(self) -> Result<(), Error> {
        self.reader.await.unwrap_or_else(|error| Err(Error::Broken(error)))
    }

    /// Stops reading before the end.
    pub fn stop(self) {
        self.reader.abort();
    }
}
