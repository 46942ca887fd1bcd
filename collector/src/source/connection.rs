//! The condition `source` of `/ready`: it holds while all sources are connected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::admin::Condition;

/// Whether each source is connected.
#[derive(Debug, Clone)]
pub struct Connections {
    condition: Condition,
    /// Why a source is not connected, by its name.
    missing: Arc<Mutex<BTreeMap<Arc<str>, String>>>,
}

/// Whether one source is connected.
#[derive(Debug, Clone)]
pub struct Connection {
    source: Arc<str>,
    all: Connections,
}

impl Connections {
    /// No source is connected yet.
    pub fn new(condition: Condition) -> Self {
        Self { condition, missing: Arc::default() }
    }

    /// The connection of the source of this name, which is not there yet.
    pub fn of(&self, source: &Arc<str>) -> Connection {
        self.lock().insert(Arc::clone(source), "starting".to_owned());
        Connection { source: Arc::clone(source), all: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, missing: &BTreeMap<Arc<str>, String>) {
        if missing.is_empty() {
            self.condition.set();
        } else {
            let whys: Vec<_> = missing.values().map(String::as_str).collect();
            self.condition.unset(whys.join("; "));
        }
    }
}

impl Connection {
    /// Says that it is there.
    pub fn set(&self) {
        let mut missing = self.all.lock();
        missing.remove(&self.source);
        self.all.tell(&missing);
    }

    /// Says that it is not there, and why.
    pub fn unset(&self, why: impl Into<String>) {
        let mut missing = self.all.lock();
        missing.insert(Arc::clone(&self.source), why.into());
        self.all.tell(&missing);
    }
}

#[cfg(test)]
mod tests {
    use common::admin::Readiness;

    use super::*;

    #[test]
    fn the_condition_holds_while_all_sources_are_connected() {
        let readiness = Readiness::default();
        let connections = Connections::new(readiness.condition("source"));
        let [a, b] = ["a", "b"].map(|name| connections.of(&name.into()));
        let why = || readiness.unmet().get("source").cloned();
        a.set();
        assert_eq!(why().as_deref(), Some("starting"));
        b.set();
        assert_eq!(why(), None);
        a.unset("a: gone");
        b.unset("b: away");
        assert_eq!(why().as_deref(), Some("a: gone; b: away"));
        a.set();
        assert_eq!(why().as_deref(), Some("b: away"));
    }
}
