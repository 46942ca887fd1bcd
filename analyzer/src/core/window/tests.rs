use proptest::prelude::*;

use super::*;
use std::time::Duration;

use crate::core::plan::{Plan, Settings};
use crate::core::query::{Query, Window};

fn panes(window: Window) -> Panes {
    let query = Query { window, ..Query::defaults().remove(0) };
    {
        let plan = Plan::new(&[query], Settings::default()).unwrap();
        let planned = &plan.queries()[0];
        Panes::new(planned.slides(), planned.capacity)
    }
}

fn window() -> Sliding {
    Sliding::new(Duration::from_millis(30), Duration::from_millis(10))
}

fn slides() -> Slides {
    Slides::new(&window())
}

/// Panes of a window, and the watermark that they follow: steps of up to 1,000 are small.
struct Counted {
    panes: Panes,
    watermark: Watermark,
    offset: i64,
}

impl Counted {
    /// Past the early events, which are at `start`.
    fn new(window: Window, start: i64) -> Self {
        let mut counted = Self::early(window);
        (0..4).for_each(|_| counted.add(start, &[]));
        counted
    }

    fn sliding(start: i64) -> Self {
        Self::new(Window::Sliding(window()), start)
    }

    fn early(window: Window) -> Self {
        Self { panes: panes(window), watermark: Watermark::new(1_000), offset: 0 }
    }

    fn add(&mut self, time_ms: i64, items: &[&str]) {
        let observed = self.watermark.observe(self.offset, time_ms);
        let event = Dated { offset: self.offset, time_ms, observed };
        let mentions = items.iter().map(|item| (crate::core::hash::hash(item.as_bytes()), *item));
        self.panes.add(Some(event), &self.watermark, mentions);
        self.offset += 1;
    }

    /// Counts one mention at each time; says which were counted at once.
    fn count(&mut self, times: &[i64]) -> Vec<bool> {
        let is_counted = |&time| {
            let late = self.panes.late();
            self.add(time, &["x"]);
            self.panes.late() == late
        };
        times.iter().map(is_counted).collect()
    }

    fn totals(&self) -> Vec<(i64, u64)> {
        let open = self.panes.open.iter().map(|(&start, pane)| (start, pane.summary.total()));
        let sealed = self.panes.sealed.iter();
        let sealed = sealed.map(|(&start, pane)| (start, unpack(&pane.summary).total()));
        sealed.chain(open).collect()
    }
}

#[test]
fn a_pane_behind_the_watermark_is_sealed_and_out_of_the_snapshot_until_a_late_mention_opens_it() {
    let holds =
        |bytes: &[u8], item: &str| bytes.windows(item.len()).any(|part| part == item.as_bytes());
    let in_state =
        |counted: &Counted, item| holds(&rmp_serde::to_vec(&counted.panes.state()).unwrap(), item);
    let mut counted = Counted::sliding(0);
    counted.add(5, &["first"]);
    assert!(in_state(&counted, "first") && counted.panes.sealed.is_empty());
    counted.add(15, &["second"]);
    assert!(!in_state(&counted, "first") && in_state(&counted, "second"));
    let sealed: Vec<Block> = counted.panes.blocks().cloned().collect();
    assert!(holds(sealed[0].bytes(), "first"));

    counted.add(5, &["late"]);
    assert!(in_state(&counted, "first") && in_state(&counted, "late"));
    assert_eq!(counted.totals(), [(0, 2), (10, 1)]);
    counted.add(25, &["third"]);
    assert!(!in_state(&counted, "late"));
    let again: Vec<Block> = counted.panes.blocks().cloned().collect();
    assert!(holds(again[0].bytes(), "late"));
    assert_ne!(again[0].name(), sealed[0].name(), "another content is another block");

    let blocks = again.into_iter().collect();
    let state = rmp_serde::to_vec(&counted.panes.state()).unwrap();
    let state = rmp_serde::from_slice(&state).unwrap();
    counted.panes = panes(Window::Sliding(window())).restore(state, &blocks).unwrap();
    assert_eq!(counted.totals(), [(0, 2), (10, 1), (20, 1)]);
    let missing =
        panes(Window::Sliding(window())).restore(counted.panes.state(), &Blocks::default());
    assert!(matches!(missing, Err(Error::MissingBlock(_))));
}

#[test]
fn the_window_ends_with_the_slide_of_the_watermark() {
    for (watermark, expected) in
        [(0, (-20, 10)), (9, (-20, 10)), (10, (-10, 20)), (-1, (-30, 0)), (-10, (-30, 0))]
    {
        assert_eq!(slides().window(watermark), expected);
        assert_eq!(slides().floor_ms(watermark), expected.0);
    }
    let skewed = Slides::new(&Sliding { skew: Duration::from_millis(15), ..window() });
    assert_eq!((skewed.window(25), skewed.floor_ms(25)), ((-10, 20), -10));
    let patient = Slides::new(&Sliding { lateness: Duration::from_millis(11), ..window() });
    assert_eq!((patient.window(25), patient.floor_ms(25)), ((0, 30), -20));
}

#[test]
fn a_mention_older_than_the_window_is_late_and_one_at_its_start_is_not() {
    let mut counted = Counted::sliding(100);
    assert_eq!(
        counted.count(&[100, 80, 79, 109, 80, 110, 89, 90]),
        [true, true, false, true, true, true, false, true]
    );
    counted.add(0, &["a", "b", "c"]);
    assert_eq!(counted.panes.late(), 5, "mentions, not events");
}

#[test]
fn skew_holds_the_window_back_and_lateness_keeps_what_it_has_left() {
    let skew = Sliding { skew: Duration::from_millis(20), ..window() };
    let mut counted = Counted::new(Window::Sliding(skew), 100);
    assert_eq!(counted.count(&[100, 60, 59]), [true, true, false]);
    let lateness = Sliding { lateness: Duration::from_millis(15), ..window() };
    let mut counted = Counted::new(Window::Sliding(lateness), 100);
    assert_eq!(counted.count(&[100, 60, 59]), [true, true, false]);
}

#[test]
fn a_waiting_event_is_in_no_pane_until_its_time_is_taken() {
    let mut counted = Counted::sliding(0);
    counted.count(&[5, 5_000]);
    assert_eq!(counted.totals(), [(0, 1)]);
    counted.count(&[5_000, 5_001]);
    assert_eq!(counted.totals(), [(0, 1)]);
    counted.count(&[5_040]);
    assert_eq!(counted.totals(), [(5_040, 1)], "the others are too old by then");
    assert_eq!(counted.panes.late(), 3);
    counted.count(&[9_000, 9_001, 9_002, 9_003]);
    assert_eq!(counted.totals(), [(9_000, 4)]);
    assert_eq!(counted.panes.late(), 3);
}

#[test]
fn while_it_is_early_the_window_goes_back_to_the_lowest_event_and_loses_none() {
    let mut counted = Counted::early(Window::Sliding(window()));
    counted.count(&[100_000]);
    assert_eq!(counted.totals(), [(100_000, 1)]);
    counted.count(&[7]);
    assert_eq!(counted.totals(), [(0, 1), (100_000, 0)]);
    counted.count(&[8, 90_000]);
    assert_eq!(counted.totals(), [(0, 2), (100_000, 0)]);
    counted.count(&[90_001, 90_002, 99_999, 100_000]);
    assert_eq!((counted.totals(), counted.panes.late()), (vec![(90_000, 3), (100_000, 0)], 0));
    counted.count(&[100_001, 100_002]);
    assert_eq!((counted.totals(), counted.panes.late()), (vec![(99_990, 1), (100_000, 4)], 0));
}

#[test]
fn panes_that_fall_out_of_the_window_are_closed_once() {
    let mut counted = Counted::sliding(100);
    counted.count(&[100, 110, 120]);
    assert_eq!(counted.panes.closed().count(), 0);
    counted.count(&[135]);
    assert_eq!(counted.panes.closed().collect::<Vec<_>>(), [100]);
    counted.panes.forget_closed(100);
    counted.count(&[1_000]);
    assert_eq!(counted.panes.closed().collect::<Vec<_>>(), [110, 120, 130]);
    assert_eq!(counted.panes.changed().collect::<Vec<_>>(), [1_000]);
}

#[test]
fn only_panes_that_changed_since_they_were_published_are_due() {
    let mut counted = Counted::sliding(100);
    counted.count(&[100, 110, 111]);
    assert_eq!(counted.panes.changed().collect::<Vec<_>>(), [100, 110]);
    assert!([100, 110].into_iter().all(|start| counted.panes.publish(start).is_some()));
    assert_eq!(counted.panes.changed().count(), 0);
    counted.count(&[105]);
    assert_eq!(counted.panes.changed().collect::<Vec<_>>(), [100]);
    counted.panes.touch();
    assert_eq!(counted.panes.changed().collect::<Vec<_>>(), [100, 110]);
}

#[test]
fn a_running_window_is_one_pane_that_never_closes_and_takes_events_without_a_time() {
    let mut counted = Counted::early(Window::Running);
    assert!(counted.count(&[5, i64::MAX, i64::MIN, 0]).into_iter().all(|counted| counted));
    counted.panes.add(None, &counted.watermark, [(1, "y")].into_iter());
    let Counted { panes, .. } = &counted;
    assert_eq!((counted.totals(), panes.closed().count(), panes.late()), (vec![(0, 5)], 0, 0));
}

proptest! {
    #[test]
    fn every_mention_is_in_a_pane_closed_late_or_waiting(
        times in prop::collection::vec(prop_oneof![-200..200_i64, 0..100_000_i64], 0..100),
        window in prop_oneof![Just(window()), Just(Sliding { skew: Duration::from_millis(25), lateness: Duration::from_millis(10), ..window() })],
    ) {
        let mut counted = Counted::early(Window::Sliding(window));
        let (mut closed, mut any_closed) = (0, false);
        for (n, &time) in times.iter().enumerate() {
            let before = counted.totals();
            counted.add(time, &["x"]);
            let panes = &counted.panes;
            any_closed |= panes.closed().next().is_some();
            closed += before.iter().filter(|(start, _)| panes.closed.contains(start)).map(|(_, total)| total).sum::<u64>();
            panes.closed().collect::<Vec<_>>().into_iter().for_each(|start| counted.panes.forget_closed(start));
            let panes = &counted.panes;
            let kept: u64 = counted.totals().iter().map(|(_, total)| total).sum();
            let aside = counted.watermark.waiting() + counted.watermark.given_up();
            // A pane may close in the step in which the last early mention joins it: `before` does not say so.
            let known = kept + panes.late() + aside + closed;
            prop_assert!(known <= n as u64 + 1 && (any_closed || known == n as u64 + 1), "{known} of {}", n + 1);
            if !counted.watermark.is_early() {
                // Of the window, its lateness and its skew, the slide that the watermark is in, and those that
                // early events were taken back from.
                const EMPTIED: usize = 3;
                prop_assert!(panes.open.len() + panes.sealed.len() <= 3 + 1 + 3 + 1 + EMPTIED);
            }
            prop_assert!(panes.candidates.len() <= crate::core::watermark::MAX_WAITING);
        }
    }
}
