//! The first events as they came, so that a proposal can be tried on them. Pure.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use common::event::identity::{hash, identify};
use common::event::{Id, Pointer, Schema};
use serde_json::Value;

/// How many events are kept.
const MAX_EVENTS: usize = 2_000;
/// How many bytes they may have.
const MAX_BYTES: usize = 8 << 20;
/// How many repeats of an id are compared.
const MAX_COMPARED: u64 = 400;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Sample {
    events: Vec<Bytes>,
    bytes: usize,
}

/// What an id does in the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// How many events have an id that an earlier one had, and differ from it in their bytes.
    pub repeats: u64,
    /// How alike they are to that earlier one, from 0 to 1: the share of paths with the same values.
    pub alike: f64,
}

impl Sample {
    /// Keeps an event, if there is room.
    pub fn keep(&mut self, event: &Bytes) {
        if self.events.len() < MAX_EVENTS && self.bytes + event.len() <= MAX_BYTES {
            self.bytes += event.len();
            // A copy, because the event may be a small part of a large buffer.
            self.events.push(Bytes::copy_from_slice(event));
        }
    }

    /// Tries `fields` as the id of an event, exactly as the tiers would read it. `None` if a pointer cannot be part of an id,
    /// or an event has no such id.
    pub fn try_id(&self, fields: &[&str]) -> Option<Trial> {
        let fields: Result<Vec<Pointer>, _> = fields.iter().map(|field| field.parse()).collect();
        let id = Id::Fields(fields.ok()?);
        let schema = Schema { id, key: None, time: None, ..Schema::default() };
        if !schema.problems().is_empty() {
            return None;
        }
        let mut first: HashMap<String, &Bytes> = HashMap::new();
        let (mut repeats, mut compared, mut alike) = (0, 0, 0.0);
        for event in &self.events {
            let id = identify(event, &schema).ok()?.id?;
            let Some(earlier) = first.get(&id) else {
                first.insert(id, event);
                continue;
            };
            if *earlier == event {
                continue;
            }
            repeats += 1;
            if compared < MAX_COMPARED {
                compared += 1;
                alike += likeness(earlier, event);
            }
        }
        Some(Trial { repeats, alike: if compared == 0 { 1.0 } else { alike / compared as f64 } })
    }
}

/// The share of paths at which two events have the same values.
fn likeness(one: &[u8], other: &[u8]) -> f64 {
    let [one, other] = [one, other].map(paths);
    let same = one.iter().filter(|(path, value)| other.get(*path) == Some(value)).count();
    same as f64 / one.len().max(other.len()).max(1) as f64
}

/// A hash of the values at each path.
fn paths(event: &[u8]) -> BTreeMap<String, u64> {
    let mut paths = BTreeMap::new();
    if let Ok(event) = serde_json::from_slice(event) {
        add(&event, String::new(), &mut paths);
    }
    paths
}

fn add(value: &Value, path: String, paths: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| add(member, format!("{path}/{name}"), paths));
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| add(element, format!("{path}/*"), paths));
        }
        scalar => {
            let entry = paths.entry(path).or_default();
            *entry = entry.rotate_left(5) ^ hash(scalar.to_string().as_bytes());
        }
    }
}
