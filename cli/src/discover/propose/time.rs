//! The time of an event: of all paths that can be read as times, the one that goes on steadily from event to event.

use super::guess::TimeOf;
use super::names;
use super::words::{percent, presence};
use crate::discover::shape::{Path, Times};
use crate::text;

/// The best path for the time of an event.
pub(super) fn time(paths: &[Path<'_>]) -> Option<TimeOf> {
    let scored = paths.iter().filter_map(|path| Some((score(path)?, path)));
    // Of equals the first, which comes first in the event too.
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let (_, path) = best?;
    let (track, _) = path.node.values().map(|values| values.times()).and_then(Times::track)?;
    let present = track.near * 2 > track.fits;
    let mut why = format!(
        "{}, {} to {}",
        presence(path.share),
        text::utc(track.least_ms),
        text::utc(track.greatest_ms)
    );
    if track.fits > 1 {
        let step = text::about(track.step_s());
        why += &format!(
            "; {} of the steps go forward, half are below {step}",
            percent(track.forward())
        );
    }
    if present {
        why += "; it is of the present";
    }
    Some(TimeOf { path: path.pointer.clone(), unit: track.unit, complete: path.share >= 1.0, why })
}

/// How well a path suits; `None` if it is not the time of an event.
fn score(path: &Path<'_>) -> Option<f64> {
    // The pointer of a time names one value.
    if path.in_array {
        return None;
    }
    let values = path.node.values()?;
    let (track, fits) = values.times().track()?;
    let share = |part: u64| part as f64 / track.fits as f64;
    if fits < 0.98 || share(track.ahead) > 0.1 {
        return None;
    }
    // A number that only happens to be in the range of times is called an id, or at least not a time.
    let is_number = values.numbers() > 0;
    if is_number && (names::is_id(&path.pointer) || names::id_strength(&path.pointer) > 0.0) {
        return None;
    }
    let named = names::is_time(&path.pointer);
    if is_number && !named && share(track.near) < 0.5 {
        return None;
    }
    // It does not change: when something was made that the events have in common.
    if values.different() == 1 && track.fits > 3 {
        return None;
    }
    let steady = 1.0 - (1.0 + track.step_s()).log10() / 6.0;
    Some(
        3.0 * path.share
            + 1.5 * track.forward()
            + steady.max(0.0)
            + share(track.near)
            + if named { 0.5 } else { 0.0 }
            - 0.1 * path.steps as f64,
    )
}
