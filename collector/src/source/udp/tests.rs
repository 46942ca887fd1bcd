use common::admin::Readiness;
use common::clock::Clock;
use common::event::{Reason, Schema};
use prometheus::Registry;
use tokio::task::JoinHandle;

use super::super::Source;
use super::super::connection::Connections;
use super::super::feed::following::until;
use super::*;
use crate::intake::{Queued, Queues, Sifted};
use crate::metrics::{Metrics, SourceMetrics};

struct Bench {
    address: SocketAddr,
    of_source: SourceMetrics,
    metrics: UdpMetrics,
    queues: Queues,
    stop: CancellationToken,
    source: JoinHandle<End>,
    sender: UdpSocket,
}

impl Bench {
    async fn new(section: Section) -> Self {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let connections = Connections::new(Readiness::default().condition("source"));
        let (name, stop): (Arc<str>, _) = ("sensors".into(), CancellationToken::new());
        let mut queues = Queues::default();
        let of_source = metrics.of_source(&name);
        let (schema, clock) = (Schema::default(), Clock::default());
        let intake = queues.add(&name, &schema, &section.common, clock, of_source.clone());
        let section = Section { listen: "127.0.0.1:0".parse().unwrap(), ..section };
        let metrics = metrics.of_udp(&name);
        let udp = Udp::new(&name, &section, metrics.clone(), connections.of(&name)).unwrap();
        let address = udp.address().unwrap();
        let source = tokio::spawn(udp.run(intake, None, stop.clone()));
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { address, of_source, metrics, queues, stop, source, sender }
    }

    async fn send(&self, datagram: impl AsRef<[u8]>) {
        self.sender.send_to(datagram.as_ref(), self.address).await.unwrap();
    }

    /// The next messages, and why they are no events.
    async fn taken(&mut self, count: usize) -> Vec<(String, Option<Reason>)> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let mut found = Vec::new();
            self.queues.take(
                count - taken.len(),
                usize::MAX,
                0,
                |_, Queued { sifted: Sifted { message, .. }, .. }| {
                    assert!(message.receipt.is_none(), "nobody waits");
                    let payload = String::from_utf8_lossy(&message.payload).into_owned();
                    found.push((payload, message.identity.err()));
                },
            );
            if found.is_empty() {
                self.queues.some().await;
            }
            taken.extend(found);
        }
        taken
    }
}

fn rsvp(id: u64) -> String {
    format!(r#"{{"rsvp_id":{id},"response":"yes"}}"#)
}

#[tokio::test]
async fn each_datagram_is_a_message_whatever_is_in_it() {
    let mut bench = Bench::new(Section::default()).await;
    let largest = "x".repeat(65_507);
    for datagram in [&rsvp(1), "", "not json", &largest] {
        bench.send(datagram).await;
    }
    let taken = bench.taken(4).await;
    assert_eq!(taken[0], (rsvp(1), None));
    assert_eq!(taken[1], (String::new(), Some(Reason::Empty)));
    assert_eq!(taken[2], ("not json".to_owned(), Some(Reason::NotJson)));
    assert_eq!(taken[3], (largest, Some(Reason::NotJson)), "whole");
    assert_eq!(bench.metrics.datagrams.get(), 4);
    bench.stop.cancel();
    assert_eq!(bench.source.await.unwrap(), End::Stopped);
}

#[tokio::test]
async fn a_datagram_may_have_an_event_in_each_line() {
    let mut section = Section { framing: Framing::Lines, ..Section::default() };
    section.common.max_event_bytes = 100;
    let mut bench = Bench::new(section).await;
    bench.send(format!("{}\n{}\n", rsvp(1), "x".repeat(101))).await;
    bench.send("\n").await;
    let taken = bench.taken(3).await;
    let reasons: Vec<_> = taken.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, [None, Some(Reason::TooLarge), Some(Reason::Empty)]);
    assert_eq!(bench.metrics.datagrams.get(), 2);
}

#[tokio::test]
async fn a_message_keeps_no_more_memory_than_its_own_bytes() {
    for framing in [Framing::Lines, Framing::Concatenated, Framing::One] {
        let mut bench = Bench::new(Section { framing, ..Section::default() }).await;
        bench.send(format!("{}{}", rsvp(1), "\n".repeat(60_000))).await;
        bench.queues.some().await;
        let mut held = 0;
        bench.queues.take(1, usize::MAX, 0, |_, Queued { sifted: Sifted { message, .. }, .. }| {
            let bytes = message.payload.len();
            held = message.payload.try_into_mut().unwrap().capacity() - bytes;
        });
        assert!(held < 100, "{held}");
    }
}

#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted_and_what_comes_later_is_taken() {
    let mut bench = Bench::new(Section { framing: Framing::Lines, ..Section::default() }).await;
    let events: Vec<_> = (0..500).map(rsvp).collect();
    for _ in 0..4 {
        bench.send(events.join("\n")).await;
    }
    until(|| bench.of_source.no_room() > 0).await;
    until(|| bench.metrics.datagrams.get() >= 4).await;
    bench.send(rsvp(1000)).await;
    until(|| bench.metrics.datagrams.get() >= 5).await;
    let held = 1024;
    bench.taken(held).await;
    until(|| bench.of_source.no_room() >= 2001 - 1024).await;
    bench.send(rsvp(1001)).await;
    assert_eq!(bench.taken(1).await, [(rsvp(1001), None)]);
    assert_eq!(bench.of_source.no_room(), 2001 - 1024);
}

#[tokio::test]
async fn what_the_kernel_drops_is_counted_when_it_says_so() {
    let section = Section { receive_buffer_bytes: 4096, ..Section::default() };
    let mut bench = Bench::new(section).await;
    // The source waits for room, so that nobody reads the socket.
    for id in 0..1024 {
        bench.send(rsvp(id)).await;
        until(|| bench.metrics.datagrams.get() > id).await;
    }
    let flood = "x".repeat(1000);
    let sent = 200;
    for _ in 0..sent {
        bench.send(&flood).await;
    }
    // All are read, dropped for want of room, or dropped by the kernel, which says so with the next datagram.
    bench.taken(1024).await;
    let mut further = 0;
    while bench.metrics.by_kernel.get() == 0 {
        bench.send(rsvp(1)).await;
        further += 1;
        bench.taken(1).await;
    }
    bench.stop.cancel();
    assert_eq!(bench.source.await.unwrap(), End::Stopped);
    let read = bench.metrics.datagrams.get();
    assert_eq!(read + bench.metrics.by_kernel.get(), 1024 + sent + further);
}

#[tokio::test]
async fn what_is_in_the_buffer_at_a_stop_is_still_taken() {
    let mut bench = Bench::new(Section::default()).await;
    // One thread: the source does not run in between.
    let sender = StdSocket::bind("127.0.0.1:0").unwrap();
    for id in 0..100 {
        sender.send_to(rsvp(id).as_bytes(), bench.address).unwrap();
    }
    bench.stop.cancel();
    assert_eq!((&mut bench.source).await.unwrap(), End::Stopped);
    let taken = bench.taken(100).await;
    assert_eq!(taken.last(), Some(&(rsvp(99), None)));
}

#[tokio::test]
async fn a_buffer_that_the_kernel_does_not_grant_is_shown() {
    let bench = Bench::new(Section { receive_buffer_bytes: 1 << 30, ..Section::default() }).await;
    let granted = bench.metrics.buffer.get();
    assert!((1..1 << 30).contains(&granted), "{granted}");
}

#[tokio::test]
async fn a_source_whose_pipeline_is_gone_ends() {
    let bench = Bench::new(Section::default()).await;
    drop(bench.queues);
    assert_eq!(bench.source.await.unwrap(), End::Closed);
}
