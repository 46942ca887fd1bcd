//! How many connections may be open, and the place that each of them holds.
//!
//! WebSockets, which stay open, and short requests have separate caps, so that neither kind can use up the
//! places of the other. A request that becomes a WebSocket takes a place of that kind and gives its own back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::descriptors::Caps;
use crate::metrics::{Cap, Gauged};

/// The places for connections, and who holds them.
#[derive(Debug)]
pub struct Places {
    websockets: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    per_address: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    connections: IntGauge,
    tasks: TaskTracker,
}

/// The place that a connection holds until its end, first for HTTP and later perhaps for a WebSocket.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Held>);

#[derive(Debug)]
struct Held {
    place: Mutex<OwnedSemaphorePermit>,
    is_websocket: Arc<AtomicBool>,
    address: IpAddr,
    places: Arc<Places>,
    _counted: Gauged,
}

impl Places {
    /// Places for `caps` connections, of which one address may hold `per_address`. `tasks` is what a drain waits for.
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

    /// Takes a place for a connection that was accepted.
    ///
    /// # Errors
    /// When none is free, with the cap that was reached.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Connection, Cap> {
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Cap::Requests)?;
        let mut by_address = self.by_address();
        let taken = by_address.entry(address).or_insert(0);
        if *taken >= self.per_address {
            return Err(Cap::Address);
        }
        *taken += 1;
        drop(by_address);
        Ok(Connection(Arc::new(Held {
            place: Mutex::new(place),
            is_websocket: Arc::default(),
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
    /// When none is free; the connection keeps the place that it has.
    pub fn become_websocket(&self) -> Result<(), Cap> {
        let websockets = Arc::clone(&self.0.places.websockets);
        let place = websockets.try_acquire_owned().map_err(|_| Cap::Websockets)?;
        *self.0.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.0.is_websocket.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it holds a place for a WebSocket.
    pub fn websocket(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.is_websocket)
    }

    /// The tasks that a drain waits for.
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
