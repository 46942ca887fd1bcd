use super::*;

fn foreign(path: &str) -> String {
    let foreign = Foreign { what: "packed with xz", command: Some("xz -dc") };
    Error::NoLines { path: path.into(), foreign }.to_string()
}

#[test]
fn what_is_refused_is_named_with_a_command_that_can_be_pasted() {
    assert_eq!(
        foreign("a.xz"),
        "the recording a.xz is packed with xz; convert it to lines: \
         xz -dc a.xz | millrace up --recording -"
    );
    assert!(foreign("-").ends_with(": … | xz -dc | millrace up --recording -"));
    assert!(foreign("it's here").contains(r"xz -dc 'it'\''s here' |"));
}
