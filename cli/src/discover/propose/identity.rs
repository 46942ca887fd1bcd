//! The id of an event. A field that repeats is still the id if the same event comes again with it; if another event comes,
//! it is a subject, which needs the time beside it to tell events apart.

use super::guess::{Identity, TimeOf};
use super::names;
use super::words::percent;
use crate::discover::sample::{Sample, Trial};
use crate::discover::shape::{Kind, Path};
use crate::text::grouped;

/// How alike events with the same id must be on average to be the same event that came again.
const ALIKE: f64 = 0.9;
/// How many candidates are tried on the sample.
const TRIED: usize = 16;
/// A longer text is no id.
const LONGEST: f64 = 100.0;
/// The longest text that is a subject.
const SUBJECT: f64 = 48.0;

/// The best id; `None` if there are no events with fields.
pub(super) fn identity(
    paths: &[Path<'_>],
    time: Option<&TimeOf>,
    sample: &Sample,
) -> Option<Identity> {
    let candidates = candidates(paths, time);
    let everywhere: Vec<_> = candidates.iter().filter(|path| path.share >= 1.0).copied().collect();
    by_itself(&everywhere, sample)
        .or_else(|| with_time(&everywhere, time, sample))
        .or_else(|| in_part(&candidates, paths))
}

/// Paths whose values can be a part of an id.
fn candidates<'a, 'p>(paths: &'a [Path<'p>], time: Option<&TimeOf>) -> Vec<&'a Path<'p>> {
    let fits = |path: &&Path<'_>| {
        let node = path.node;
        let ids = node.of_kind(Kind::Text) + node.of_kind(Kind::Integer);
        let Some(values) = node.values() else { return false };
        !path.in_array
            && ids == node.seen()
            && values.different() > 1
            && values.text_length() <= LONGEST
            && time.is_none_or(|time| time.path != path.pointer)
            && values
                .times()
                .track()
                .is_none_or(|(_, fits)| fits < 0.5 || names::is_id(&path.pointer))
    };
    paths.iter().filter(fits).collect()
}

/// How many of its values are different, from 0 to 1.
fn variety(path: &Path<'_>) -> f64 {
    let different = path.node.values().map_or(0, |values| values.different());
    (different as f64 / path.node.seen().max(1) as f64).min(1.0)
}

/// One field that is the id by itself.
fn by_itself(everywhere: &[&Path<'_>], sample: &Sample) -> Option<Identity> {
    let score = |path: &Path<'_>| {
        let name = names::id_strength(&path.pointer);
        2.0 * variety(path) + 2.0 * name - 0.2 * path.steps as f64
    };
    let mut named: Vec<_> = everywhere
        .iter()
        .filter(|path| names::id_strength(&path.pointer) > 0.35 && variety(path) >= 0.3)
        .collect();
    named.sort_by(|a, b| score(b).total_cmp(&score(a)));
    named.into_iter().take(TRIED).find_map(|path| {
        let trial = sample.try_id(&[&path.pointer])?;
        if trial.repeats > 0 && trial.alike < ALIKE {
            return None;
        }
        let why = format!("{}; {}", different(path), repeated(trial));
        Some(Identity { fields: vec![path.pointer.clone()], complete: true, why })
    })
}

fn different(path: &Path<'_>) -> String {
    let values = path.node.values();
    let about = if values.is_some_and(|values| values.is_estimate()) { "about " } else { "" };
    let different = values.map_or(0, |values| values.different());
    format!("{about}{} different in {} events", grouped(different), grouped(path.node.seen()))
}

fn repeated(trial: Trial) -> String {
    match trial.repeats {
        0 => "no two events share it".to_owned(),
        _ => format!(
            "where it repeats, the same event comes again ({} of the fields are the same)",
            percent(trial.alike)
        ),
    }
}

/// A subject and the time.
fn with_time(everywhere: &[&Path<'_>], time: Option<&TimeOf>, sample: &Sample) -> Option<Identity> {
    let time = time.filter(|time| time.complete)?;
    let is_short = |path: &&&Path<'_>| {
        // A number is one only if it is called an id: others are what was measured.
        let is_name = path.node.of_kind(Kind::Text) == path.node.seen();
        (is_name || names::id_strength(&path.pointer) > 0.0)
            && path.node.values().is_some_and(|values| values.text_length() <= SUBJECT)
    };
    let score = |path: &Path<'_>| {
        let name =
            2.0 * names::id_strength(&path.pointer) + names::rank_factor(&path.pointer) / 2.0;
        variety(path) + name - 0.2 * path.steps as f64
    };
    let mut subjects: Vec<_> = everywhere.iter().filter(is_short).collect();
    subjects.sort_by(|a, b| score(b).total_cmp(&score(a)));
    subjects.into_iter().take(TRIED).find_map(|path| {
        let fields = [path.pointer.as_str(), time.path.as_str()];
        let trial = sample.try_id(&fields)?;
        if trial.repeats > 0 && trial.alike < ALIKE {
            return None;
        }
        let why = format!(
            "no field is the event's own id, but this one ({}) and the time together are: {}",
            different(path),
            repeated(trial)
        );
        Some(Identity { fields: fields.map(str::to_owned).to_vec(), complete: true, why })
    })
}

/// No field identifies every event: their bytes do.
fn in_part(candidates: &[&Path<'_>], paths: &[Path<'_>]) -> Option<Identity> {
    if paths.is_empty() {
        return None;
    }
    let own = |path: &&&Path<'_>| names::id_strength(&path.pointer) > 0.35 && variety(path) > 0.99;
    let score = |path: &Path<'_>| path.share + names::id_strength(&path.pointer);
    let best = candidates.iter().filter(own).max_by(|a, b| score(a).total_cmp(&score(b))).copied();
    let fields: Vec<String> = best.map(|path| path.pointer.clone()).into_iter().collect();
    let why = match best {
        Some(path) => format!(
            "in {} of the events only, and an event without its id would be a dead letter: the preset takes the bytes of an event as its id",
            percent(path.share)
        ),
        None => "no field tells events apart: the preset takes the bytes of an event as its id"
            .to_owned(),
    };
    Some(Identity { fields, complete: false, why })
}
