//! What could be ranked and what could be averaged.

use super::guess::Choice;
use super::names;
use super::words::presence;
use crate::discover::shape::{Path, Values};
use crate::text::grouped;

/// The most proposals of each.
const MOST: usize = 8;
/// What scores less is not proposed.
const LEAST: f64 = 0.06;
/// With fewer texts nothing is said against those that are all different.
const FEW: f64 = 50.0;

/// Paths of texts that repeat, the best first.
pub(super) fn items(paths: &[Path<'_>]) -> Vec<Choice> {
    best(paths, item_score, |path, values| {
        let an_event = values.texts() as f64 / path.node.events().max(1) as f64;
        let what = if path.in_array && an_event > 1.05 {
            format!("a list of {an_event:.1} texts an event")
        } else if path.in_array {
            "a list of texts".to_owned()
        } else {
            "a text".to_owned()
        };
        format!(
            "{what}, {}; {}",
            presence(share(path, values.texts())),
            different(values, values.texts())
        )
    })
}

/// Paths of numbers that vary, the best first.
pub(super) fn values(paths: &[Path<'_>]) -> Vec<Choice> {
    best(paths, value_score, |path, values| {
        let what =
            if values.numbers() * 2 < values.numeric() { "numbers in texts" } else { "numbers" };
        let (least, greatest) = values.range().unwrap_or_default();
        format!(
            "{what} from {least} to {greatest}, {}; {}",
            presence(share(path, values.numeric())),
            different(values, values.numeric())
        )
    })
}

/// In how many events there is one of these values; at others of the path there may be `null`.
fn share(path: &Path<'_>, values: u64) -> f64 {
    if path.in_array {
        return path.share;
    }
    path.share * values as f64 / path.node.seen().max(1) as f64
}

fn different(values: &Values, of: u64) -> String {
    let about = if values.is_estimate() { "about " } else { "" };
    format!("{about}{} different in {}", grouped(values.different()), grouped(of))
}

fn best(
    paths: &[Path<'_>],
    score: fn(&Path<'_>, &Values) -> f64,
    why: fn(&Path<'_>, &Values) -> String,
) -> Vec<Choice> {
    let scored = paths.iter().filter_map(|path| {
        let values = path.node.values()?;
        let score = score(path, values);
        (score >= LEAST).then_some((score, path, values))
    });
    let mut scored: Vec<_> = scored.collect();
    // Stable: of equals the first in the event.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let choice = |(_, path, values): (_, &Path<'_>, _)| Choice {
        path: path.pointer.clone(),
        why: why(path, values),
    };
    scored.into_iter().take(MOST).map(choice).collect()
}

fn item_score(path: &Path<'_>, values: &Values) -> f64 {
    let (texts, different) = (values.texts() as f64, values.different() as f64);
    let is_time = values.times().track().is_some_and(|(_, fits)| fits > 0.5);
    let is_numeric = values.numeric() * 2 > values.texts() + values.numbers();
    if texts < 1.0 || different < 2.0 || is_time || is_numeric {
        return 0.0;
    }
    let least = if path.in_array && texts < FEW { 0.3 } else { 0.0 };
    let repetition = (1.0 - different / texts).max(least);
    // From 64 different ones on, more do not make a ranking more interesting.
    let variety = (different.log2() / 6.0).min(1.0);
    let length = (24.0 / values.text_length().max(24.0)).powi(2);
    let list = if path.in_array { 1.8 } else { 1.0 };
    // The id of what few events have in common is that of each of them.
    let id = if names::is_id(&path.pointer) && repetition < 0.8 { 0.1 } else { 1.0 };
    let prose = 1.0 - 0.5 * values.blanks();
    let addresses = 1.0 - 0.8 * values.urls();
    let depth = 1.0 / (1.0 + 0.03 * path.steps as f64);
    repetition.sqrt()
        * variety
        * length
        * list
        * id
        * prose
        * addresses
        * depth
        * share(path, values.texts()).sqrt()
        * names::rank_factor(&path.pointer)
}

fn value_score(path: &Path<'_>, values: &Values) -> f64 {
    let all = values.texts() + values.numbers();
    let numeric = values.numeric();
    let is_time = values.times().track().is_some_and(|(_, fits)| fits > 0.5);
    if numeric == 0 || numeric * 10 < all * 9 || is_time || values.different() < 3 {
        return 0.0;
    }
    if names::id_strength(&path.pointer) > 0.0 {
        return 0.0;
    }
    let variety = (values.different() as f64).log2() / 10.0;
    let fraction = if values.fractions() > 0 { 1.2 } else { 1.0 };
    let list = if path.in_array { 0.6 } else { 1.0 };
    share(path, numeric).sqrt()
        * variety.min(1.0)
        * fraction
        * list
        * names::measure_factor(&path.pointer)
}
