//! The task of a connection: it reads, acknowledges what is safe, and keeps the connection alive, also while nobody takes what
//! it has read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::MaybeTlsStream;
use tokio_util::sync::CancellationToken;

use super::filters;
use super::packets::{self, Incoming, Packets};
use crate::receipt::{Outcome, Released};
use crate::source::feed::{Frame, Lost};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// How long a packet may take to be sent.
const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// A connection on which a session is open.
pub(super) struct Open {
    pub(super) socket: MaybeTlsStream<TcpStream>,
    pub(super) packets: Packets,
    pub(super) arrived: BytesMut,
    /// How long the broker may hear nothing.
    pub(super) keep_alive: Duration,
    /// When something was sent last.
    pub(super) sent: Instant,
    /// The filters that are subscribed to.
    pub(super) topics: Vec<String>,
    /// The cursor of a message: the filters that the session has.
    pub(super) cursor: Bytes,
    /// Whether the broker has taken them.
    pub(super) is_subscribed: Arc<AtomicBool>,
    /// Cancelled when it has.
    pub(super) subscribed: CancellationToken,
}

impl Open {
    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Incoming, Lost> {
        loop {
            if let Some(packet) = self.packets.next(&mut self.arrived).map_err(Lost::unreadable)? {
                return Ok(packet);
            }
            self.arrived.reserve(READ_BYTES);
            // If this is dropped, nothing is lost.
            if self.socket.read_buf(&mut self.arrived).await.map_err(gone)? == 0 {
                return Err(Lost::new("the broker closed the connection"));
            }
        }
    }

    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<(), Lost> {
        self.sent = Instant::now();
        let sent = timeout(SEND_DEADLINE, async {
            self.socket.write_all(packet).await?;
            self.socket.flush().await
        });
        match sent.await {
            Ok(sent) => sent.map_err(gone),
            Err(_elapsed) => Err(Lost::new("the broker does not read")),
        }
    }

    /// Hands the messages on until the connection ends, or until nobody takes them any more. Then it takes leave.
    pub(super) async fn serve(
        mut self,
        frames: mpsc::Sender<Result<Frame, Lost>>,
        closed: mpsc::Receiver<()>,
    ) {
        if let Err(lost) = self.work(&frames, closed).await {
            // Nobody may want to know.
            let _unheard = frames.send(Err(lost)).await;
        }
    }

    async fn work(
        &mut self,
        frames: &mpsc::Sender<Result<Frame, Lost>>,
        mut closed: mpsc::Receiver<()>,
    ) -> Result<(), Lost> {
        let mut waiting: VecDeque<(u16, Arc<Released>)> = VecDeque::new();
        let mut read = None;
        let begun = Instant::now();
        let mut heard = begun;
        loop {
            let ping_at = self.sent + self.keep_alive.mul_f64(0.75);
            tokio::select! {
                biased;
                _gone = closed.recv() => {
                    // Its receipt would be waited for, and nobody can take it any more.
                    drop(read.take());
                    self.acknowledge_safe(&mut waiting).await;
                    return self.send(&packets::LEAVE).await;
                }
                outcome = outcome(&waiting) => match outcome {
                    Outcome::Released | Outcome::Refused(_) => {
                        if let Some((pid, _)) = waiting.pop_front() {
                            self.send(&packets::acknowledge(pid)).await?;
                        }
                    }
                    Outcome::Dropped => return Err(Lost::new("a message was not taken")),
                },
                permit = frames.reserve(), if read.is_some() => {
                    let Ok(permit) = permit else { return Ok(()) };
                    if let Some(frame) = read.take() {
                        permit.send(Ok(frame));
                    }
                }
                packet = self.next(), if read.is_none() => {
                    heard = Instant::now();
                    match packet? {
                        Incoming::Message { pid, payload, cut } => {
                            let mut frame = Frame { payload, cut, ..Frame::default() };
                            if let Some(pid) = pid {
                                let released = Arc::new(Released::default());
                                frame.receipt = Some(released.receipt());
                                // The session itself has the positions.
                                frame.cursor = Some(self.cursor.clone());
                                waiting.push_back((pid, released));
                            }
                            read = Some(frame);
                        }
                        Incoming::Closing(why) => return Err(Lost::new(closing(&why))),
                        Incoming::Open { .. } | Incoming::Refused(_) => {
                            return Err(Lost::unreadable("the broker opens the session twice"));
                        }
                        Incoming::Subscribed(outcomes) => self.subscribed(&outcomes)?,
                        Incoming::Other => {}
                    }
                }
                () = sleep_until(ping_at) => {
                    // What was not read does not count as silence.
                    if read.is_some() {
                        heard = Instant::now();
                    } else if heard.elapsed() >= 2 * self.keep_alive {
                        return Err(Lost::new("the broker does not answer to pings"));
                    } else if !self.subscribed.is_cancelled()
                        && begun.elapsed() >= 2 * self.keep_alive
                    {
                        return Err(Lost::new("the broker does not answer to the subscription"));
                    }
                    self.send(&packets::PING).await?;
                }
            }
        }
    }

    fn subscribed(&mut self, outcomes: &[Result<(), String>]) -> Result<(), Lost> {
        for (topic, outcome) in self.topics.iter().zip(outcomes) {
            if let Err(why) = outcome {
                return Err(Lost::new(format!(
                    "the broker refuses the subscription to {topic}: {why}; allow it to this user, or correct topics"
                )));
            }
        }
        self.is_subscribed.store(true, Ordering::Relaxed);
        self.cursor = filters::stored(self.topics.iter());
        self.subscribed.cancel();
        Ok(())
    }

    /// Acknowledges what is safe already.
    async fn acknowledge_safe(&mut self, waiting: &mut VecDeque<(u16, Arc<Released>)>) {
        if waiting.is_empty() {
            return;
        }
        let until = Instant::now() + Duration::from_secs(2);
        while let Ok(Outcome::Released | Outcome::Refused(_)) =
            tokio::time::timeout_at(until, outcome(waiting)).await
        {
            let Some((pid, _)) = waiting.pop_front() else { return };
            if self.send(&packets::acknowledge(pid)).await.is_err() || waiting.is_empty() {
                return;
            }
        }
    }
}

/// What became of the message that was received first.
async fn outcome(waiting: &VecDeque<(u16, Arc<Released>)>) -> Outcome {
    match waiting.front() {
        Some((_, released)) => released.outcome().await,
        None => std::future::pending().await,
    }
}

fn closing(why: &str) -> String {
    if why.starts_with("SessionTakenOver") {
        return "another client has connected with the same client_id; give each its own"
            .to_owned();
    }
    format!("the broker closes the connection: {why}")
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn gone(error: std::io::Error) -> Lost {
    Lost::new(error.to_string())
}
