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
/// How long the broker may take to answer to the subscription. What was not read does not count.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A connection on which a session is open.
pub(super) struct Open {
    pub(super) source: Arc<str>,
    pub(super) socket: MaybeTlsStream<TcpStream>,
    pub(super) packets: Packets,
    pub(super) arrived: BytesMut,
    /// How long the broker may hear nothing.
    pub(super) keep_alive: Duration,
    /// When something was sent last.
    pub(super) sent: Instant,
    /// The quality of service that is asked for.
    pub(super) qos: u8,
    /// The filters that are subscribed to.
    pub(super) topics: Vec<String>,
    /// Those that the session may have besides, until the broker has given them up.
    pub(super) given_up: Vec<String>,
    /// The cursor of a message: the filters that the session has, see [`Self::note`].
    pub(super) cursor: Bytes,
    /// Whether messages come, or may come, that the session does not keep.
    pub(super) is_lossy: Arc<AtomicBool>,
    /// Whether the broker has taken the subscriptions, and has given up the others.
    pub(super) is_subscribed: Arc<AtomicBool>,
    /// Cancelled when it has taken them.
    pub(super) subscribed: CancellationToken,
}

impl Open {
    /// Notes what the session has in the cursor of the messages from now on.
    pub(super) fn note(&mut self) {
        let is_lossy = self.is_lossy.load(Ordering::Relaxed);
        self.cursor = filters::stored(self.topics.iter().chain(&self.given_up), is_lossy);
    }

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
        let mut heard = Instant::now();
        let (mut read_at, mut answer_by) = (heard, heard + ANSWER_DEADLINE);
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
                    answer_by += read_at.elapsed();
                }
                packet = self.next(), if read.is_none() => {
                    heard = Instant::now();
                    match packet? {
                        Incoming::Message { pid, payload, cut } => {
                            let mut frame = Frame { payload, cut, ..Frame::default() };
                            if let Some(pid) = pid {
                                let released = Arc::new(Released::default());
                                frame.receipt = Some(released.receipt());
                                waiting.push_back((pid, released));
                            } else {
                                self.loses("a message came with QoS 0");
                            }
                            // The session itself has the positions, if there is one.
                            frame.cursor = (self.qos > 0).then(|| self.cursor.clone());
                            (read, read_at) = (Some(frame), heard);
                        }
                        Incoming::Closing(why) => return Err(Lost::new(closing(&why))),
                        Incoming::Open { .. } | Incoming::Refused(_) => {
                            return Err(Lost::unreadable("the broker opens the session twice"));
                        }
                        Incoming::Subscribed(outcomes) => self.subscribed(&outcomes)?,
                        Incoming::Unsubscribed(outcomes) => self.unsubscribed(outcomes.as_deref()),
                        Incoming::Other => {}
                    }
                }
                () = sleep_until(ping_at) => {
                    // What was not read does not count as silence.
                    if read.is_some() {
                        heard = Instant::now();
                    } else if heard.elapsed() >= 2 * self.keep_alive {
                        return Err(Lost::new("the broker does not answer to pings"));
                    }
                    self.send(&packets::PING).await?;
                }
                () = sleep_until(answer_by), if read.is_none() && !self.subscribed.is_cancelled() => {
                    return Err(Lost::new("the broker does not answer to the subscription"));
                }
            }
        }
    }

    fn subscribed(&mut self, outcomes: &[Result<u8, String>]) -> Result<(), Lost> {
        if outcomes.len() != self.topics.len() {
            let (answers, topics) = (outcomes.len(), self.topics.len());
            return Err(Lost::new(format!(
                "the broker answers to {answers} of {topics} subscriptions"
            )));
        }
        let mut granted = self.qos;
        for (topic, outcome) in self.topics.iter().zip(outcomes) {
            match outcome {
                Ok(qos) => granted = granted.min(*qos),
                Err(why) => {
                    return Err(Lost::new(format!(
                        "the broker refuses the subscription to {topic}: {why}; allow it to this user, or correct topics"
                    )));
                }
            }
        }
        if granted < self.qos {
            self.loses("the broker grants QoS 0");
        }
        self.subscribed.cancel();
        self.settle();
        Ok(())
    }

    fn unsubscribed(&mut self, outcomes: Option<&[Result<(), String>]>) {
        let asked = std::mem::take(&mut self.given_up);
        if let Some(outcomes) = outcomes {
            // One without an answer may still be there.
            let answers = outcomes.iter().map(Some).chain(std::iter::repeat(None));
            let kept =
                asked.into_iter().zip(answers).filter(|(_, answer)| *answer != Some(&Ok(())));
            self.given_up = kept.map(|(filter, _)| filter).collect();
        }
        if !self.given_up.is_empty() {
            let (source, filters) = (&*self.source, &self.given_up);
            tracing::warn!(source, ?filters, ?outcomes, "the broker does not give up filters");
        }
        self.settle();
    }

    /// Notes what the broker has answered. What it has not is sent again on the next connection.
    fn settle(&mut self) {
        let is_done = self.subscribed.is_cancelled() && self.given_up.is_empty();
        self.is_subscribed.store(is_done, Ordering::Relaxed);
        self.note();
    }

    /// From now on each interruption is a gap.
    fn loses(&mut self, why: &str) {
        if self.qos > 0 && !self.is_lossy.swap(true, Ordering::Relaxed) {
            let source = &*self.source;
            tracing::warn!(
                source,
                why,
                "what comes so during an interruption is lost; each is a gap from now on"
            );
            self.note();
        }
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
