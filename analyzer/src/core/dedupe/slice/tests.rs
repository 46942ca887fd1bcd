use super::*;
use crate::core::hash::hash;

#[test]
fn a_slice_reads_back_from_its_block() {
    let ids: Vec<u64> = (0..SLICE_IDS as u64).map(|n| hash(&n.to_le_bytes())).collect();
    let slice = Slice::new(17, &ids);
    assert_eq!(slice.block().bytes().len(), 1 + 8 * SLICE_IDS);
    let read = Slice::open(slice.block().clone()).unwrap();
    assert_eq!(read.ids().collect::<Vec<_>>(), ids);
    assert_eq!(read, slice);
}

#[test]
fn blocks_of_another_kind_or_version_are_refused() {
    let open = |bytes: &[u8]| Slice::open(Block::new(0, bytes.to_vec()));
    assert!(matches!(open(&[]), Err(Error::Damaged { .. })));
    assert!(matches!(open(&[1, 2, 3]), Err(Error::Damaged { .. })));
    let mut bytes = Slice::new(0, &[7; SLICE_IDS]).block().bytes().to_vec();
    bytes[0] = 2;
    assert!(matches!(open(&bytes), Err(Error::Version { found: 2, .. })));
}
