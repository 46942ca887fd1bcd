//! A socket to which datagrams are sent, one way: best effort, and counted.
//!
//! Nothing is ever acknowledged. A datagram that the network loses is not known of; what the kernel drops because the socket's
//! buffer is full is counted where the system says it; so is what finds no room in the queue. What was read is logged before
//! long, but its sender cannot know.
//!
//! | what happens | what is done |
//! |---|---|
//! | a datagram that is larger than `max_event_bytes`, or no event | a dead letter |
//! | `framing` does not fit a datagram | it is one dead letter |
//! | the queue is full | the socket is not read for a moment, so that the kernel's buffer takes a burst; then messages are dropped, and counted, until there is room |
//! | a stop | what is in the kernel's buffer is still read, and the rest is not |

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::cmsg_space;
use nix::sys::socket::sockopt::{RcvBuf, RxqOvfl};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, getsockopt, recvmsg, setsockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::End;
use super::connection::Connection;
use super::framing::divide;
use crate::config::{Framing, Udp as Section};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::intake::{Closed, Intake, Message};
use crate::ledger::LeftOut;
use crate::metrics::UdpMetrics;

#[cfg(test)]
mod tests;

/// How long it waits after an error.
const PATIENCE: Duration = Duration::from_millis(100);
/// No datagram is larger.
const DATAGRAM_BYTES: usize = 64 << 10;
/// How many datagrams are read between two looks at the stop.
const TURN: usize = 64;

/// A socket that is bound and not read yet.
pub struct Udp {
    source: Arc<str>,
    socket: UdpSocket,
    framing: Framing,
    metrics: UdpMetrics,
    connection: Connection,
}

/// What is needed to read it.
struct Reader {
    source: Arc<str>,
    socket: UdpSocket,
    framing: Framing,
    intake: Intake,
    metrics: UdpMetrics,
    /// How many datagrams the kernel had dropped when it last said so.
    dropped: u32,
}

impl Udp {
    /// Binds the address of the source of this name, inside a runtime.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn new(
        source: &Arc<str>,
        section: &Section,
        metrics: UdpMetrics,
        connection: Connection,
    ) -> Result<Self, Error> {
        let bind = |source| Error::Listen { address: section.listen, source };
        let socket = StdSocket::bind(section.listen).map_err(bind)?;
        socket.set_nonblocking(true).map_err(bind)?;
        let buffer = configure(source, &socket, section.receive_buffer_bytes);
        metrics.buffer.set(i64::try_from(buffer).unwrap_or(i64::MAX));
        Ok(Self {
            source: Arc::clone(source),
            socket: UdpSocket::from_std(socket).map_err(bind)?,
            framing: section.framing.clone(),
            metrics,
            connection,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Asks the kernel for a buffer, and to say what it drops. Returns how large the buffer is.
fn configure(source: &Arc<str>, socket: &StdSocket, wanted: usize) -> usize {
    if let Err(error) = setsockopt(socket, RxqOvfl, &1) {
        tracing::warn!(%source, %error, "the system does not say how many datagrams it drops; they are not counted");
    }
    if let Err(error) = setsockopt(socket, RcvBuf, &wanted) {
        tracing::warn!(%source, %error, "cannot set the receive buffer");
    }
    // Linux doubles what it is asked for, for its bookkeeping.
    let granted = getsockopt(socket, RcvBuf).unwrap_or(0) / 2;
    if granted < wanted {
        tracing::warn!(
            %source, wanted, granted,
            "the kernel gives a smaller receive buffer than receive_buffer_bytes; raise net.core.rmem_max"
        );
    }
    granted
}

impl super::Source for Udp {
    async fn run(self, intake: Intake, _resume: Option<Cursor>, stop: CancellationToken) -> End {
        let Self { source, socket, framing, metrics, connection } = self;
        if let Ok(address) = socket.local_addr() {
            tracing::info!(%source, %address, "listening for datagrams");
        }
        connection.set();
        let mut reader = Reader { source, socket, framing, intake, metrics, dropped: 0 };
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let ready = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = reader.intake.closed() => return End::Closed,
                ready = reader.socket.readable() => ready,
            };
            match ready {
                Ok(()) => match reader.turn(&mut buffer, false).await {
                    Ok(_is_empty) => {}
                    Err(Closed) => return End::Closed,
                },
                Err(error) => reader.broken(&error).await,
            }
        }
        // Bounded, since others may go on sending.
        for _ in 0..1024 {
            match reader.turn(&mut buffer, true).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(Closed) => return End::Closed,
            }
        }
        End::Stopped
    }
}

impl Reader {
    /// Reads what is there, a bounded number of datagrams. Returns whether there is no more. `is_last` says that the runtime
    /// is not asked whether there is something.
    async fn turn(&mut self, buffer: &mut [u8], is_last: bool) -> Result<bool, Closed> {
        for _ in 0..TURN {
            match self.receive(buffer, is_last) {
                Ok(bytes) => self.push(&buffer[..bytes]).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => {
                    self.broken(&error).await;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Reads a datagram, and returns how long it is.
    fn receive(&mut self, buffer: &mut [u8], is_last: bool) -> io::Result<usize> {
        let socket = &self.socket;
        let mut read = || read(socket, buffer);
        let (bytes, dropped) =
            if is_last { read() } else { socket.try_io(Interest::READABLE, read) }?;
        if let Some(dropped) = dropped {
            // The kernel's count goes round.
            let more = u64::from(dropped.wrapping_sub(self.dropped));
            if more > 0 {
                self.metrics.by_kernel.inc_by(more);
                self.intake.missed().note(LeftOut::Dropped, self.intake.now_ms(), more);
            }
            self.dropped = dropped;
        }
        self.metrics.datagrams.inc();
        Ok(bytes)
    }

    async fn push(&mut self, datagram: &[u8]) -> Result<(), Closed> {
        let received_ms = self.intake.now_ms();
        let message = |payload, identity| Message {
            // A copy of nothing else: a slice would keep the whole datagram in memory.
            payload: Bytes::copy_from_slice(payload),
            received_ms,
            identity,
            cursor: None,
            receipt: None,
        };
        for (payload, refused) in divide(&self.framing, datagram) {
            let identity = refused.map_or_else(|| self.intake.identify(payload), Err);
            self.intake.offer(message(payload, identity)).await?;
        }
        Ok(())
    }

    /// Waits a moment after an error, which the next call may not have any more.
    async fn broken(&self, error: &io::Error) {
        tracing::warn!(source = &*self.source, %error, "cannot read datagrams, trying again");
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Reads a datagram into the buffer. Returns how long it is, and how many the kernel has dropped so far, if it says so.
fn read(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut control = cmsg_space!(u32);
    let mut slices = [IoSliceMut::new(buffer)];
    let (descriptor, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let read = recvmsg::<SockaddrStorage>(descriptor, &mut slices, Some(&mut control), flags)?;
    let dropped = read.cmsgs().into_iter().flatten().find_map(|message| match message {
        ControlMessageOwned::RxqOvfl(dropped) => Some(dropped),
        _ => None,
    });
    Ok((read.bytes, dropped))
}
