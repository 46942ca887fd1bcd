use super::*;

#[test]
fn a_line_that_a_scribe_rewrites_has_the_same_content() {
    let line = r#"{"rsvp_id":7,"response":"yes","group":{"name":"a\"b\\c/d\n\u0001😀","group_topics":[]},"list":[1,-2.5,true,null]}"#;
    let mut scribe = Scribe::new(3);
    for _ in 0..500 {
        let written = scribe.write(line.as_bytes());
        let text = std::str::from_utf8(&written).unwrap().trim_start_matches('\u{feff}');
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            serde_json::from_str::<Value>(line).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn a_bad_line_is_bad_to_the_oracle_too() {
    for (line, reason) in bad_lines() {
        let oracle = crate::oracle::Oracle::of([&line]);
        assert_eq!(
            oracle.bad,
            1,
            "{reason}: {}",
            String::from_utf8_lossy(&line[..line.len().min(80)])
        );
    }
}
