//! The section `[trace]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::secret::{Secret, SecretUrl};

/// Sampling more rarely than this would trace nothing in a lifetime.
const RAREST: u64 = 1_000_000_000;

/// Where traces go, and how many there are. Section `trace`, the same in every tier.
///
/// Tiers that are to be seen in one trace need the same `sample`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// The address of a receiver of OTLP over HTTP, for example `http://127.0.0.1:4318`;
    /// `/v1/traces` is added to it. Empty: no traces.
    pub endpoint: SecretUrl,
    /// One event in so many is traced, chosen by a hash of its id.
    pub sample: u64,
    /// A file of certificate authorities (PEM) to trust instead of Mozilla's, for `https`.
    pub ca_file: PathBuf,
    /// HTTP headers that are sent along, for example a token.
    pub headers: BTreeMap<String, Secret>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            endpoint: SecretUrl::default(),
            sample: 10_000,
            ca_file: PathBuf::new(),
            headers: BTreeMap::new(),
        }
    }
}

impl Trace {
    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        !self.endpoint.reveal().is_empty()
    }

    /// The address to which spans are posted.
    pub(super) fn address(&self) -> Option<Uri> {
        let base = self.endpoint.reveal().trim_end_matches('/');
        let uri: Uri = format!("{base}/v1/traces").parse().ok()?;
        let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let is_plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
        (has_scheme && is_plain).then_some(uri)
    }

    /// What is wrong with this section, one line for each fault; used by
    /// [`TierConfig::validate`](crate::config::TierConfig::validate).
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.is_on() && self.address().is_none() {
            problems.push(format!(
                "trace.endpoint: `{}` is not the address of a receiver of OTLP; write http://HOST:4318 or https://HOST, \
                 credentials go into trace.headers",
                self.endpoint
            ));
        }
        if !(1..=RAREST).contains(&self.sample) {
            problems.push(format!(
                "trace.sample: is {}; set it between 1 (every event) and {RAREST}",
                self.sample
            ));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value.reveal()).is_err()
            {
                problems.push(format!("trace.headers.{name}: is not an HTTP header"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_traced_by_default() {
        let trace = Trace::default();
        assert!(!trace.is_on());
        assert_eq!(trace.problems(), Vec::<String>::new());
    }

    #[test]
    fn spans_are_posted_below_the_endpoint() {
        for (endpoint, address) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://traces.example/otlp", "https://traces.example/otlp/v1/traces"),
        ] {
            let trace = Trace { endpoint: endpoint.into(), ..Trace::default() };
            assert_eq!(trace.address().unwrap().to_string(), address);
            assert_eq!(trace.problems(), Vec::<String>::new());
        }
    }

    #[test]
    fn each_problem_names_its_key_and_shows_no_secret() {
        for wrong in [
            "127.0.0.1:4318",
            "http://",
            "grpc://host:4317",
            "http://ada:s3cret@host",
            "http://h?key=s3cret",
        ] {
            let trace = Trace { endpoint: wrong.into(), ..Trace::default() };
            let [problem] = &trace.problems()[..] else { panic!("{wrong}") };
            assert!(
                problem.starts_with("trace.endpoint: ") && !problem.contains("s3cret"),
                "{problem}"
            );
        }
        let mut trace = Trace { sample: 0, ..Trace::default() };
        trace.headers.insert("x y".to_owned(), "s3cret".into());
        let problems = trace.problems();
        for key in ["trace.sample: ", "trace.headers.x y: "] {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        }
        assert!(!problems.concat().contains("s3cret"), "{problems:?}");
    }
}
