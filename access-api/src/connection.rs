//! The places that there are for connections, and what a connection holds while it has one.
//!
//! WebSockets, which stay, and short requests have caps apart, so that neither takes the other's
//! places: a request becomes a WebSocket by taking a place of that kind and giving its own back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::descriptors::Caps;
use crate::metrics::Gauged;

/// The places that there are.
#[derive(Debug)]
pub struct Places {
    websockets: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    per_address: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    connections: IntGauge,
    tasks: TaskTracker,
}

/// Which places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All of those for WebSockets.
    Websockets,
    /// All of those for other connections.
    Requests,
    /// All of those that one address may have.
    Address,
}

/// What a connection holds until its end, be it HTTP or, later, a WebSocket.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Held>);

#[derive(Debug)]
struct Held {
    place: Mutex<OwnedSemaphorePermit>,
    is_websocket: AtomicBool,
    address: IpAddr,
    places: Arc<Places>,
    _counted: Gauged,
}

impl Full {
    /// The value of the label `cap`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Websockets => "websockets",
            Self::Requests => "requests",
            Self::Address => "address",
        }
    }
}

impl Places {
    /// So many places; `tasks` are what a drain waits for.
    pub fn new(caps: Caps, per_address: usize, connections: IntGauge, tasks: TaskTracker) -> Self {
        Self {
            websockets: Arc::new(Semaphore::new(caps.websockets)),
            requests: Arc::new(Semaphore::new(caps.requests)),
            per_address,
            by_address: Mutex::default(),
            connections,
            tasks,
        }
    }

    /// A place for a connection that was accepted.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Connection, Full> {
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Full::Requests)?;
        let mut by_address = self.by_address();
        let taken = by_address.entry(address).or_insert(0);
        if *taken >= self.per_address {
            return Err(Full::Address);
        }
        *taken += 1;
        drop(by_address);
        Ok(Connection(Arc::new(Held {
            place: Mutex::new(place),
            is_websocket: AtomicBool::new(false),
            address,
            places: Arc::clone(self),
            _counted: Gauged::new(&self.connections),
        })))
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Takes a place for a WebSocket and gives back the one that the request had.
    ///
    /// # Errors
    /// When there is none; the connection stays as it is.
    pub fn become_websocket(&self) -> Result<(), Full> {
        let websockets = Arc::clone(&self.0.places.websockets);
        let place = websockets.try_acquire_owned().map_err(|_| Full::Websockets)?;
        *self.0.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.0.is_websocket.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it took a WebSocket's place.
    pub fn is_websocket(&self) -> bool {
        self.0.is_websocket.load(Ordering::Relaxed)
    }

    /// What a drain waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.places.tasks
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut by_address = self.places.by_address();
        if let Some(taken) = by_address.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
