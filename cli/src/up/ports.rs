//! Ports for processes that must get the same port again after a restart.
//!
//! They are taken from below the kernel's ephemeral range. If a server's port is in that range, a client that
//! retries while the server is down can be given this port as its source port: it then connects to itself, and
//! the server cannot bind the port. ADR 11 has the measurement.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

const LOWEST: u16 = 15_000;
const ATTEMPTS: usize = 1_000;

/// The address of Kafka's controller, see `deploy/kafka/run`.
const CONTROLLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// `N` different free ports of the loopback interface.
///
/// # Errors
/// When not enough of them are found.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    // The listeners are held until all ports are found, so that the ports differ.
    let mut held = Vec::with_capacity(N);
    for _ in 0..N {
        held.push(find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?);
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| io::ErrorKind::AddrInUse.into())
}

/// A port on which `deploy/kafka/run` can start.
///
/// # Errors
/// When there is none.
pub fn for_kafka() -> io::Result<u16> {
    let bind = |port| {
        let client = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        Ok((client, TcpListener::bind((CONTROLLER, port ^ 1))?))
    };
    find(bind).map(|(port, _)| port)
}

fn find<T>(bind: impl Fn(u16) -> io::Result<T>) -> io::Result<(u16, T)> {
    let ports = LOWEST..ephemeral().max(LOWEST + 1_000);
    for _ in 0..ATTEMPTS {
        let port = rand::rng().random_range(ports.clone());
        if let Ok(bound) = bind(port) {
            return Ok((port, bound));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port on the loopback interface"))
}

/// The start of the kernel's ephemeral range, or Linux' default if it cannot be read.
fn ephemeral() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_ports_differ_and_are_free_and_not_ephemeral() {
        let ports = free::<5>().unwrap();
        assert_eq!(BTreeSet::from(ports).len(), 5);
        for port in ports {
            assert!((LOWEST..ephemeral()).contains(&port));
        }
    }

    #[test]
    fn a_port_that_is_taken_is_never_offered() {
        let attempts = std::cell::Cell::new(0);
        let (port, ()) = find(|_| {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 10 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) }
        })
        .unwrap();
        assert!(port >= LOWEST && attempts.get() == 10);
    }
}
