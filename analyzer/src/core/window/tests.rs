use proptest::prelude::*;

use super::*;
use crate::core::plan::{Plan, Settings};
use crate::core::query::{Query, Window};

fn panes(window: Window) -> Panes {
    let query = Query { window, ..Query::defaults().remove(0) };
    Panes::new(&Plan::new(&[query], Settings::default()).unwrap().queries()[0])
}

fn sliding() -> Panes {
    panes(Window::Sliding { size_ms: 30, slide_ms: 10 })
}

/// Counts one mention at each time, moving the window first; says which were counted.
fn count(panes: &mut Panes, times: &[i64]) -> Vec<bool> {
    let mut watermark = i64::MIN;
    times
        .iter()
        .map(|&time| {
            watermark = watermark.max(time);
            panes.advance(watermark);
            panes.at(time).map(|summary| summary.add(1, "x")).is_some()
        })
        .collect()
}

#[test]
fn the_window_ends_with_the_slide_of_the_newest_event() {
    assert_eq!(span((3, 10), 0), (-20, 10));
    assert_eq!(span((3, 10), 9), (-20, 10));
    assert_eq!(span((3, 10), 10), (-10, 20));
    assert_eq!(span((3, 10), -1), (-30, 0));
    assert_eq!(span((1, 10), -10), (-10, 0));
}

#[test]
fn an_event_older_than_the_window_is_late_and_one_at_its_start_is_not() {
    let mut panes = sliding();
    assert_eq!(
        count(&mut panes, &[100, 80, 79, 109, 80, 110, 89, 90]),
        [true, true, false, true, true, true, false, true]
    );
    assert_eq!(panes.late(), 2);
}

#[test]
fn panes_that_fall_out_of_the_window_are_closed_once() {
    let mut panes = sliding();
    count(&mut panes, &[100, 110, 120]);
    assert_eq!(panes.closed().count(), 0);
    count(&mut panes, &[135]);
    assert_eq!(panes.closed().collect::<Vec<_>>(), [100]);
    panes.forget_closed(100);
    count(&mut panes, &[1_000]);
    assert_eq!(panes.closed().collect::<Vec<_>>(), [110, 120, 130]);
    assert_eq!(panes.changed().collect::<Vec<_>>(), [1_000]);
}

#[test]
fn only_panes_that_changed_since_they_were_taken_are_due() {
    let mut panes = sliding();
    count(&mut panes, &[100, 110, 111]);
    assert_eq!(panes.changed().collect::<Vec<_>>(), [100, 110]);
    assert!([100, 110].into_iter().all(|start| panes.take(start).is_some()));
    assert_eq!(panes.changed().count(), 0);
    panes.at(105).unwrap().add(1, "x");
    assert_eq!(panes.changed().collect::<Vec<_>>(), [100]);
    panes.touch();
    assert_eq!(panes.changed().collect::<Vec<_>>(), [100, 110]);
}

#[test]
fn a_running_window_is_one_pane_that_never_closes() {
    let mut panes = panes(Window::Running);
    assert!(count(&mut panes, &[5, i64::MAX, i64::MIN, 0]).into_iter().all(|counted| counted));
    assert_eq!(
        (panes.changed().collect::<Vec<_>>(), panes.closed().count(), panes.late()),
        (vec![0], 0, 0)
    );
}

proptest! {
    #[test]
    fn never_more_panes_are_kept_than_the_window_has_slides(times in prop::collection::vec(-200..200_i64, 0..100)) {
        let mut panes = sliding();
        let counted = count(&mut panes, &times);
        prop_assert!(panes.panes.len() <= 3);
        prop_assert_eq!(counted.iter().filter(|&&counted| !counted).count() as u64, panes.late());
    }
}
