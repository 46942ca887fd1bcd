//! A payload as one line of JSON.
//!
//! A payload that is one JSON text without a line break is the line, byte for byte. Any other is
//! `{"millrace_base64":"…"}`, also one that is an object with this name itself, so that each line tells exactly which bytes
//! it stands for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;

/// The name by which a payload is marked that is no line of JSON.
const MARKER: &str = "millrace_base64";

/// The line, without its end.
pub fn line(payload: &Bytes) -> Bytes {
    if is_line(payload) {
        return payload.clone();
    }
    format!("{{\"{MARKER}\":\"{}\"}}", STANDARD.encode(payload)).into()
}

fn is_line(payload: &[u8]) -> bool {
    let has_break = payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    let Ok(text) = std::str::from_utf8(payload) else { return false };
    if has_break {
        return false;
    }
    match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text) {
        Ok(object) => !object.contains_key(MARKER),
        Err(_) => serde_json::from_str::<IgnoredAny>(text).is_ok_and(|_| !text.contains(MARKER)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload_of(line: &[u8]) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
        match value.get(MARKER) {
            Some(encoded) => STANDARD.decode(encoded.as_str().unwrap()).unwrap(),
            None => line.to_vec(),
        }
    }

    #[test]
    fn an_event_is_the_line_byte_for_byte() {
        for event in [r#"{"id": 1,  "a":"\u0041\n"}"#, "[1]", "\"text\"", " 7 "] {
            assert_eq!(line(&event.into()), event);
        }
    }

    #[test]
    fn what_is_no_line_of_json_is_marked() {
        let marker = r#"{"millrace_base64":"e30="}"#;
        let hidden = r#"{"\u006dillrace_base64":"e30="}"#;
        for other in ["", "no json", "{\n}", "{}\r", "{} {}", marker, hidden] {
            let line = line(&Bytes::from(other));
            assert!(line.starts_with(b"{\"millrace_base64\":\""), "{other}");
            assert_eq!(payload_of(&line), other.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn every_payload_comes_back_from_its_line(
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "[\\{\\}\\[\\]\",:a\n 1]{0,12}".prop_map(String::into_bytes),
            ],
        ) {
            let line = line(&payload.clone().into());
            prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            prop_assert_eq!(payload_of(&line), payload);
        }
    }
}
