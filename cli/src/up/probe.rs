//! How a process shows that it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use common::kafka::Kafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const EVERY: Duration = Duration::from_millis(50);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// The most bytes of an answer that are read; the metrics of a tier are smaller.
const LONGEST_ANSWER: u64 = 4 << 20;

/// How a process shows that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `GET /ready` at this address answers 200.
    Http(SocketAddr),
    /// A Kafka broker at this address lists at least one broker.
    Kafka(SocketAddr),
    /// It writes a line to stdout.
    FirstLine,
}

impl Probe {
    /// Resolves when the process is ready. For [`Probe::FirstLine`] it returns the line.
    pub async fn ready(self, first_line: &mut watch::Receiver<Option<String>>) -> String {
        match self {
            Self::Http(address) => {
                while !answers(address, "/ready").await {
                    sleep(EVERY).await;
                }
                String::new()
            }
            Self::Kafka(address) => {
                while !lists_brokers(address).await {
                    sleep(EVERY).await;
                }
                String::new()
            }
            Self::FirstLine => {
                match first_line.wait_for(Option::is_some).await.map(|line| line.clone()) {
                    Ok(line) => line.unwrap_or_default(),
                    // The process has ended without a line, which its supervisor handles.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}

/// The answer to `GET path` at `address`: the status and the beginning of the body. `None` if there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER_DEADLINE, ask).await.ok()?.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Whether `GET path` at `address` is answered with 200.
pub async fn answers(address: SocketAddr, path: &str) -> bool {
    get(address, path).await.is_some_and(|(status, _)| status == 200)
}

/// What the tier with this admin address still waits for, in words.
pub async fn unmet(admin: SocketAddr) -> String {
    match get(admin, "/ready").await {
        Some((_, body)) => {
            let lines = body.lines().map(|line| line.trim_start_matches("not ready: "));
            lines.collect::<Vec<_>>().join(", ")
        }
        None => format!("its admin port {admin} does not answer"),
    }
}

/// Whether the Kafka broker at `address` lists brokers. The port is tried first, because a librdkafka client that
/// cannot connect logs an error.
async fn lists_brokers(address: SocketAddr) -> bool {
    if TcpStream::connect(address).await.is_err() {
        return false;
    }
    let asked = tokio::task::spawn_blocking(move || {
        let kafka = Kafka { brokers: address.to_string(), ..Kafka::default() };
        let client: BaseConsumer = kafka.consumer(None, None).ok()?.create().ok()?;
        let metadata = client.fetch_metadata(None, ANSWER_DEADLINE).ok()?;
        Some(!metadata.brokers().is_empty())
    });
    matches!(asked.await, Ok(Some(true)))
}
