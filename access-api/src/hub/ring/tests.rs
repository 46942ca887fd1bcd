use common::protocol::{Cursor, StreamId};
use proptest::prelude::*;

use super::*;

fn frame(seq: u64, bytes: usize) -> Arc<Frame> {
    let cursor = Cursor { stream: StreamId(1), seq };
    let payload = format!("\"{}\"", "x".repeat(bytes));
    Frame::encode(("topics", 0), 1, cursor, 0, &payload).unwrap()
}

#[test]
fn a_snapshot_differs_from_a_result_in_its_type_only_and_is_made_once() {
    let frame = frame(7, 3);
    let result = frame.result();
    assert_eq!(
        result.as_str(),
        r#"{"type":"result","query":"topics","cursor":"AQAAAAAAAAABAAAAAAAAAAc","lag_ms":0,"result":"xxx"}"#
    );
    let mut made = 0;
    for _ in 0..3 {
        let snapshot = frame.snapshot(|| made += 1);
        assert_eq!(snapshot.as_str(), result.replace(r#""result","query"#, r#""snapshot","query"#));
    }
    assert_eq!(made, 1);
}

#[test]
fn a_hole_in_the_sequence_is_where_the_history_begins() {
    let mut ring = Ring::new(RingLimits { frames: 10, bytes: 10_000 });
    ring.push(frame(3, 0));
    ring.push(frame(4, 0));
    assert_eq!((ring.floor(), ring.end()), (3, 5));
    ring.advance(5);
    ring.push(frame(6, 0));
    assert_eq!(ring.from(4).map(|f| f.cursor.seq).collect::<Vec<_>>(), [4, 6]);
    ring.push(frame(8, 0));
    assert_eq!((ring.floor(), ring.end()), (8, 9));
    assert_eq!(ring.from(0).count(), 1);
}

#[test]
fn how_far_behind_is_measured_in_frames_and_in_bytes() {
    let mut ring = Ring::new(RingLimits { frames: 10, bytes: 10_000 });
    for seq in 0..5 {
        ring.push(frame(seq, 0));
    }
    assert_eq!([0, 4, 5, 9].map(|next| ring.percent_behind(next)), [50, 10, 0, 0]);
    ring.push(frame(5, 8_000));
    assert!(ring.percent_behind(5) >= 80);
    ring.push(frame(6, 4_000));
    assert_eq!(ring.percent_behind(5), 100, "5 is gone");
}

proptest! {
    #[test]
    fn the_ring_is_a_tail_of_what_was_pushed_and_keeps_its_bounds(
        steps in prop::collection::vec((0u64..3, 0usize..300, any::<bool>()), 0..200),
        frames in 1usize..20,
        bytes in 1usize..2_000,
    ) {
        let mut ring = Ring::new(RingLimits { frames, bytes });
        let mut pushed: Vec<Arc<Frame>> = Vec::new();
        let mut covered = Vec::new();
        let mut seq = 0;
        for (hole, size, is_frame) in steps {
            seq += hole;
            covered.push(seq);
            if is_frame {
                pushed.push(frame(seq, size));
                ring.push(Arc::clone(pushed.last().unwrap()));
            } else {
                ring.advance(seq);
            }
            seq += 1;
            prop_assert_eq!(ring.end(), seq);
            let held: Vec<u64> = ring.from(0).map(|f| f.cursor.seq).collect();
            prop_assert!(held.len() <= frames);
            let sum: usize = ring.from(0).map(|f| f.bytes()).sum();
            prop_assert_eq!(ring.bytes(), sum as u64);
            prop_assert!(sum <= bytes);
            // From the floor on neither a sequence nor a frame is missing.
            for wanted in ring.floor()..ring.end() {
                prop_assert!(covered.contains(&wanted));
            }
            let tail: Vec<u64> = pushed.iter().map(|f| f.cursor.seq).filter(|&s| s >= ring.floor()).collect();
            prop_assert_eq!(held, tail);
            for next in 0..=ring.end() + 1 {
                prop_assert!(ring.percent_behind(next) <= 100);
                prop_assert_eq!(ring.percent_behind(next) == 100 || next >= ring.floor(), true);
            }
        }
    }
}

#[test]
fn how_many_frames_there_were_is_known_for_a_while_after_they_have_gone() {
    let mut ring = Ring::new(RingLimits { frames: 2, bytes: 10_000 });
    for seq in 0..40 {
        ring.push(frame(seq, 0));
    }
    assert_eq!(ring.floor(), 38);
    assert_eq!(ring.count_from(39, |_| true), Some(1));
    assert_eq!(ring.count_from(6, |_| true), Some(34));
    assert_eq!(ring.count_from(6, |query| query == 1), Some(0));
    assert_eq!(ring.count_from(5, |_| true), None, "2 × 16 that have gone are remembered");
    ring.clear(50);
    assert_eq!(ring.count_from(49, |_| true), None);
}
