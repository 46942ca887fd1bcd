//! Shares in words.

/// A share as people write it.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        all if all >= 99.95 => "100 %".to_owned(),
        none if none < 0.95 => format!("{none:.1} %"),
        some => format!("{some:.0} %"),
    }
}

/// In which events it is, in words.
pub(super) fn presence(share: f64) -> String {
    if share >= 1.0 {
        "in every event".to_owned()
    } else {
        format!("in {} of the events", percent(share))
    }
}
