use super::*;

fn slice() -> Slice {
    Slice::new(17, (0..SLICE_IDS as u64).map(|n| hash(&n.to_le_bytes())).collect())
}

#[test]
fn a_slice_reads_back_under_its_name_and_under_no_other() {
    let slice = slice();
    let bytes = slice.encode();
    assert_eq!(bytes.len(), 1 + 8 * SLICE_IDS);
    assert_eq!(Slice::decode(slice.name(), &bytes), Ok(slice.clone()));
    let other = SliceName { checksum: 1, ..slice.name() };
    assert!(matches!(Slice::decode(other, &bytes), Err(Error::Damaged { .. })));
}

#[test]
fn damaged_and_foreign_slices_are_refused() {
    let slice = slice();
    let mut bytes = slice.encode();
    assert!(matches!(
        Slice::decode(slice.name(), &bytes[..bytes.len() - 1]),
        Err(Error::Damaged { .. })
    ));
    assert!(matches!(Slice::decode(slice.name(), &[]), Err(Error::Damaged { .. })));
    bytes[100] ^= 1;
    assert!(matches!(Slice::decode(slice.name(), &bytes), Err(Error::Damaged { .. })));
    bytes[0] = 2;
    assert!(matches!(Slice::decode(slice.name(), &bytes), Err(Error::Version { found: 2, .. })));
}

#[test]
fn names_read_back_what_they_print() {
    let name = SliceName { index: 17, checksum: 0x00c0_ffee_00c0_ffee };
    assert_eq!(name.to_string(), "17-00c0ffee00c0ffee");
    assert_eq!(name.to_string().parse(), Ok(name));
    for text in ["", "17", "17-", "17-c0ffee", "x-00c0ffee00c0ffee", "17-00c0ffee00c0ffeg"] {
        assert!(text.parse::<SliceName>().is_err(), "{text}");
    }
}
