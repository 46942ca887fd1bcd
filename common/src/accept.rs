//! Accepts connections, and keeps doing so after the process ran out of file descriptors.
//!
//! When `accept` fails, the connection stays in the listen queue, so the next call fails at once: a loop
//! without a pause would take a whole core and fill the log. [`Acceptor`] pauses after a failure, and logs
//! at most one warning a second.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long accepting pauses after a failure: descriptors come back when connections end.
const PAUSE: Duration = Duration::from_millis(100);
/// The least time between two warnings.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// A listener that waits while it cannot accept.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    failures: Failures,
}

#[derive(Debug)]
struct Failures {
    /// What the port is for, as the log names it.
    port: &'static str,
    untold: u64,
    told: Option<Instant>,
}

impl Acceptor {
    /// Accepts from `listener`; the log calls it the `port` port.
    pub const fn new(listener: TcpListener, port: &'static str) -> Self {
        Self { listener, failures: Failures { port, untold: 0, told: None } }
    }

    /// The next connection. Waits for as long as it takes; can be dropped at any time.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(connection) => return connection,
                Err(error) => self.failures.pause(&error).await,
            }
        }
    }
}

impl Failures {
    async fn pause(&mut self, error: &io::Error) {
        if says_nothing(error) {
            return;
        }
        if let Some(failures) = self.note(Instant::now()) {
            tracing::warn!(
                port = self.port,
                %error,
                failures,
                "cannot accept connections, trying again; if too many files are open, raise the limit (ulimit -n)"
            );
        }
        sleep(PAUSE).await;
    }

    /// Counts a failure, and returns how many there were since the last notice if one is due.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < NOTICE_INTERVAL) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Whether the error concerns one connection only, because its client went away before it was accepted.
/// The next `accept` may succeed, so there is no reason to pause.
fn says_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_reported_once_a_second_and_none_is_left_uncounted() {
        let mut failures = Failures { port: "test", untold: 0, told: None };
        let began = Instant::now();
        let notices: Vec<_> =
            (0..100).filter_map(|number| failures.note(began + number * PAUSE)).collect();
        assert_eq!(notices.len(), 10, "in ten seconds");
        assert_eq!(notices.iter().sum::<u64>() + failures.untold, 100);
    }

    #[test]
    fn a_client_that_went_away_is_no_reason_to_pause() {
        assert!(says_nothing(&io::ErrorKind::ConnectionAborted.into()));
        // EMFILE of Linux.
        assert!(!says_nothing(&io::Error::from_raw_os_error(24)));
    }

    #[tokio::test]
    async fn a_connection_is_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (_, peer) = Acceptor::new(listener, "test").accept().await;
        assert_eq!(peer, client.local_addr().unwrap());
    }
}
