//! Connecting to a feed, or opening a recording, and reading its messages until nobody wants more.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use url::Url;

use super::Error;

mod dial;
mod file;
mod http;
mod split;
mod sse;
mod websocket;

/// The largest message that is read, in bytes: as the collector's `max_message_bytes`.
const MAX_MESSAGE: usize = 20 << 20;
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

/// How a connection is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Headers of the request.
    pub headers: Vec<Header>,
    /// Texts that are sent first on a WebSocket.
    pub first_messages: Vec<String>,
    /// PEM certificates to trust instead of the public authorities; empty for those.
    pub ca_file: PathBuf,
}

/// A header of a request. Its value is not shown, because it may be a token.
#[derive(Clone)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a reader tells.
#[derive(Debug)]
pub enum Came {
    /// How the collector has to read this feed. It may be told again when more is known.
    Source(Source),
    /// A message.
    Message {
        /// Its bytes.
        payload: Bytes,
        /// The type of the server-sent event.
        of: Option<Arc<str>>,
    },
    /// A message that is larger than 20 MiB.
    TooLarge,
}

/// The kind of a source of the collector, and how it divides what comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `websocket`.
    Websocket,
    /// `http_stream`.
    HttpStream(Framing),
    /// `sse`.
    Sse,
    /// `long_poll`.
    LongPoll(Framing),
    /// A recording, which `up` serves.
    Recording,
}

/// The key `framing` of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// An event each.
    One,
    /// An event in each line.
    Lines,
    /// One after another.
    Concatenated,
    /// The elements of an array, at this place if it is inside.
    Array(Option<String>),
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

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

impl std::str::FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or("write 'Name: value', for example -H 'Authorization: Bearer …'")?;
        let (name, value) = (name.trim(), value.trim());
        if ::http::HeaderName::try_from(name).is_err()
            || ::http::HeaderValue::try_from(value).is_err()
        {
            return Err("the name or the value is not valid in HTTP".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// The place to which readers send what came.
#[derive(Debug, Clone)]
struct Outlet(mpsc::Sender<Came>);

/// Nobody wants more.
struct Unwanted;

impl Outlet {
    async fn send(&self, came: Came) -> Result<(), Unwanted> {
        self.0.send(came).await.map_err(|_| Unwanted)
    }

    async fn message(&self, payload: Bytes) -> Result<(), Unwanted> {
        self.send(Came::Message { payload, of: None }).await
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
        let outlet = Outlet(sender);
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
