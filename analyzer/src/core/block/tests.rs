use super::*;

#[test]
fn a_block_is_read_under_its_name_and_under_no_other() {
    let block = Block::new(17, b"bytes".to_vec());
    assert_eq!(Block::read(block.name(), b"bytes".to_vec()), Some(block.clone()));
    let other = BlockName { checksum: 1, ..block.name() };
    assert_eq!(Block::read(other, b"bytes".to_vec()), None);
    assert_eq!(Block::read(block.name(), b"byte".to_vec()), None, "truncated");
    assert_eq!(Block::read(block.name(), b"bites".to_vec()), None, "altered");
}

#[test]
fn names_read_back_what_they_print() {
    for (index, text) in [(17, "17-00c0ffee00c0ffee"), (-5, "-5-00c0ffee00c0ffee")] {
        let name = BlockName { index, checksum: 0x00c0_ffee_00c0_ffee };
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
    }
    for text in ["", "17", "17-", "17-c0ffee", "x-00c0ffee00c0ffee", "17-00c0ffee00c0ffeg"] {
        assert!(text.parse::<BlockName>().is_err(), "{text}");
    }
}
