//! Watching: takes in what comes until the time is over, there are enough events, the feed ends, or the user stops it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::event::Reason;
use serde_json::value::RawValue;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::feed::{Came, Options, Reading, Source, Target};
use super::sample::Sample;
use super::shape::Shape;

/// How many types of server-sent events are told apart.
const MAX_TYPES: usize = 32;
/// How often progress is shown.
const TICK: Duration = Duration::from_millis(250);
/// How long the end of an answer is waited for when there were enough events: one that ends is polled, and one that does
/// not is a stream.
const SETTLE: Duration = Duration::from_secs(1);
/// How much of the first message that is no event is kept, in bytes.
const KEPT: usize = 256;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After this time.
    pub time: Duration,
    /// After this many events.
    pub events: u64,
}

/// What came.
#[derive(Debug, Default)]
pub struct Watched {
    /// The shape of the events.
    pub shape: Shape,
    /// The first events.
    pub sample: Sample,
    /// How a collector reads this feed; `None` if that is not known, because nothing came.
    pub source: Option<Source>,
    /// How many messages were arrays of events.
    pub arrays: u64,
    /// How many were not.
    pub singles: u64,
    /// How many events and other messages each type of server-sent event had; [`MAX_TYPES`] of them at most.
    pub types: BTreeMap<Arc<str>, (u64, u64)>,
    /// Whether there were more types.
    pub has_more_types: bool,
    /// The beginning of the first message that is no event.
    pub first_refused: Option<Bytes>,
    /// How long it took.
    pub took: Duration,
    /// Why the feed ended before the time was over, if it did.
    pub ended: Option<Error>,
}

/// How far the watch is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since its beginning.
    pub elapsed: Duration,
    /// Events so far.
    pub events: u64,
    /// Paths so far.
    pub paths: usize,
}

/// Watches `target`, and reports to `progress` now and then.
///
/// # Errors
/// When it cannot be reached or read at all. A feed that ends early is no error, if anything came.
pub async fn watch(
    target: Target,
    options: Options,
    limits: Limits,
    stop: CancellationToken,
    progress: impl Fn(Progress),
) -> Result<Watched, Error> {
    let began = Instant::now();
    let expands = !target.is_recording();
    let mut watched = Watched::default();
    let mut reading = Reading::start(target, options);
    let over = sleep_until(began + limits.time);
    tokio::pin!(over);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut enough = false;
    let ended = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break false,
            () = &mut over => break false,
            _ = tick.tick() => progress(Progress {
                elapsed: began.elapsed(),
                events: watched.shape.events(),
                paths: watched.shape.width(),
            }),
            came = reading.came.recv() => match came {
                Some(came) => {
                    watched.take(came, expands, limits.events);
                    if watched.shape.events() >= limits.events && !enough {
                        enough = true;
                        let until = over.deadline().min(Instant::now() + SETTLE);
                        over.as_mut().reset(until);
                    }
                    if enough && !watched.may_change() {
                        break false;
                    }
                }
                None => break true,
            },
        }
    };
    watched.took = began.elapsed();
    if ended {
        match reading.end().await {
            Err(error) if watched.shape.events() == 0 && watched.first_refused.is_none() => {
                return Err(error);
            }
            Err(error) => watched.ended = Some(error),
            Ok(()) => {}
        }
    } else {
        reading.stop();
    }
    watched.shape.settle();
    Ok(watched)
}

impl Watched {
    fn take(&mut self, came: Came, expands: bool, most: u64) {
        match came {
            Came::Source(source) => self.source = Some(source),
            Came::TooLarge => self.shape.refuse(Reason::TooLarge),
            Came::Message { payload, of } => {
                let events = if expands { elements(&payload) } else { None };
                if let Some(events) = events {
                    self.arrays += 1;
                    for event in events {
                        if self.shape.events() < most {
                            self.event(&event, of.as_ref());
                        }
                    }
                } else if self.shape.events() < most {
                    self.singles += 1;
                    self.event(&payload, of.as_ref());
                }
            }
        }
    }

    /// Whether it may turn out that the collector reads this feed in another way.
    const fn may_change(&self) -> bool {
        matches!(self.source, Some(Source::HttpStream(_)))
    }

    fn event(&mut self, payload: &Bytes, of: Option<&Arc<str>>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let is_event = self.shape.observe(payload, now_ms).is_ok();
        if is_event {
            self.sample.keep(payload);
        } else if self.first_refused.is_none() {
            let kept = payload.len().min(KEPT);
            self.first_refused = Some(Bytes::copy_from_slice(&payload[..kept]));
        }
        let Some(of) = of else { return };
        if self.types.len() < MAX_TYPES || self.types.contains_key(of) {
            let (events, others) = self.types.entry(Arc::clone(of)).or_default();
            *(if is_event { events } else { others }) += 1;
        } else {
            self.has_more_types = true;
        }
    }
}

/// The elements of a message that is an array of objects.
fn elements(message: &Bytes) -> Option<Vec<Bytes>> {
    if message.trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    let elements: Vec<&RawValue> = serde_json::from_slice(message).ok()?;
    let are_objects = elements.iter().all(|element| element.get().starts_with('{'));
    let copies = elements.iter().map(|element| Bytes::copy_from_slice(element.get().as_bytes()));
    (are_objects && !elements.is_empty()).then(|| copies.collect())
}
