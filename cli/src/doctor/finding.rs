//! A finding of `doctor`, and how serious it is.

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) says: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Warning,
    Missing,
}

impl Finding {
    pub(super) fn fine(what: &'static str, says: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Fine, says: says.into() }
    }

    pub(super) fn warning(what: &'static str, says: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Warning, says: says.into() }
    }

    pub(super) fn missing(what: &'static str, says: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Missing, says: says.into() }
    }
}
