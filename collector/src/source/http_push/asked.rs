//! What the head of a request asks for.

use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, CONTENT_ENCODING, HeaderMap, HeaderName};

use super::auth::{Admitted, Signature, WEBHOOK_ID};
use super::body::{Form, TYPES};
use super::problem::{Problem, Step};

/// The longest `Idempotency-Key`, in bytes.
const KEY_BYTES: usize = 255;
/// The longest time that `Prefer: wait=` may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What a request with events asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// How its body holds the events.
    pub form: Form,
    /// How the body is compressed.
    pub encoding: Encoding,
    /// By what a repetition of it is known.
    pub key: Option<String>,
    /// How it is to be answered.
    pub preferences: Preferences,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// How a request is to be answered: `Prefer` (RFC 7240).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preferences {
    /// `respond-sync`: when Kafka has all of it.
    pub sync: bool,
    /// `handling=strict`: nothing is taken if one event is bad.
    pub strict: bool,
    /// `wait`: how long the answer may take because of `respond-sync`.
    pub wait: Duration,
}

impl Asked {
    /// Reads the head of a request that was admitted in this way.
    ///
    /// # Errors
    /// The answer to a request that cannot be understood.
    pub fn of(headers: &HeaderMap, admitted: &Admitted) -> Step<Self> {
        if !takes_json(headers) {
            let detail = "answers are application/json and application/problem+json; accept them";
            return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail));
        }
        let form = Form::of(headers).ok_or_else(|| {
            let detail = format!("the Content-Type is missing or not understood; send {TYPES}");
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", detail)
        })?;
        Ok(Self {
            form,
            encoding: Encoding::of(headers)?,
            key: key(headers, admitted)?,
            preferences: Preferences::of(headers),
        })
    }
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Step<Self> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            let none = headers.get(CONTENT_ENCODING).is_none();
            return if none { Ok(Self::None) } else { Err(Problem::encoding()) };
        };
        match value.to_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Ok("" | "identity") => Ok(Self::None),
            Ok("gzip" | "x-gzip") => Ok(Self::Gzip),
            Ok("zstd") => Ok(Self::Zstd),
            Ok(_) | Err(_) => Err(Problem::encoding()),
        }
    }
}

impl Preferences {
    fn of(headers: &HeaderMap) -> Self {
        let mut asked = Self { sync: false, strict: false, wait: DEFAULT_WAIT };
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        // What is not understood is ignored, as RFC 7240 says.
        for preference in values.flat_map(|value| value.split([',', ';'])) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match (name.trim().to_ascii_lowercase().as_str(), value) {
                ("respond-sync", "") => asked.sync = true,
                ("handling", "strict") => asked.strict = true,
                ("handling", "lenient") => asked.strict = false,
                ("wait", seconds) => {
                    if let Ok(seconds) = seconds.parse() {
                        asked.wait = Duration::from_secs(seconds).min(LONGEST_WAIT);
                    }
                }
                _ => {}
            }
        }
        asked
    }
}

/// Whether the client takes an answer in JSON.
fn takes_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let (range, parameters) = range.split_once(';').unwrap_or((range, ""));
        let is_json = matches!(
            range.trim().to_ascii_lowercase().as_str(),
            "*/*" | "application/*" | "application/json" | "application/problem+json"
        );
        is_json
            && !parameters.split(';').any(|parameter| {
                let weight = parameter.trim().strip_prefix("q=").map(str::parse::<f32>);
                weight.is_some_and(|weight| weight.is_ok_and(|weight| weight <= 0.0))
            })
    })
}

/// What a repetition of the request is known by. That of a signed webhook is its id and nothing else, because the signature
/// covers that: whoever repeats what he has overheard cannot give it another one.
fn key(headers: &HeaderMap, admitted: &Admitted) -> Step<Option<String>> {
    let key = match admitted {
        Admitted::Signed(Signature::Standard { .. }) => None,
        Admitted::Signed(Signature::Hub(_)) | Admitted::Granted => headers.get(IDEMPOTENCY_KEY),
    };
    let Some(value) = key.or_else(|| headers.get(WEBHOOK_ID)) else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
    match text.filter(|text| text.len() <= KEY_BYTES) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Problem::bad_request(
            "idempotency_key",
            format!("an Idempotency-Key has 1 to {KEY_BYTES} visible characters"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> Result<Asked, u16> {
        let mut map = HeaderMap::new();
        map.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Asked::of(&map, &Admitted::Granted).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn preferences_are_read_whatever_their_form_and_unknown_ones_are_ignored() {
        let none = asked(&[]).unwrap().preferences;
        assert_eq!((none.sync, none.strict, none.wait), (false, false, DEFAULT_WAIT));
        for headers in [
            vec![("prefer", "respond-sync, handling=strict, wait=5")],
            vec![("prefer", "Respond-Sync"), ("prefer", "x; handling=\"strict\" ; wait = 5")],
        ] {
            let some = asked(&headers).unwrap().preferences;
            assert_eq!((some.sync, some.strict, some.wait), (true, true, Duration::from_secs(5)));
        }
        let long = asked(&[("prefer", "wait=99999999999, handling=x")]).unwrap().preferences;
        assert_eq!((long.strict, long.wait), (false, LONGEST_WAIT));
    }

    #[test]
    fn an_encoding_is_understood_or_refused_by_name() {
        for (values, encoding) in [
            (vec![], Ok(Encoding::None)),
            (vec!["identity"], Ok(Encoding::None)),
            (vec!["GZIP"], Ok(Encoding::Gzip)),
            (vec!["zstd"], Ok(Encoding::Zstd)),
            (vec!["br"], Err(415)),
            (vec!["gzip, zstd"], Err(415)),
            (vec!["gzip", "gzip"], Err(415)),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("content-encoding", *value)).collect();
            assert_eq!(asked(&headers).map(|asked| asked.encoding), encoding, "{values:?}");
        }
    }

    #[test]
    fn a_client_that_does_not_take_json_is_told() {
        for (accept, status) in [
            ("*/*", None),
            ("text/html, application/json;q=0.5", None),
            ("application/problem+json", None),
            ("text/html", Some(406)),
            ("application/json;q=0", Some(406)),
        ] {
            assert_eq!(asked(&[("accept", accept)]).err(), status, "{accept}");
        }
    }

    #[test]
    fn a_key_has_a_bounded_length_and_a_webhook_has_its_id_for_one() {
        let key = |headers: &[_]| asked(headers).map(|asked| asked.key);
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[("idempotency-key", "a"), ("webhook-id", "b")]), Ok(Some("a".to_owned())));
        assert_eq!(key(&[("webhook-id", "b")]), Ok(Some("b".to_owned())));
        assert_eq!(key(&[("idempotency-key", " ")]), Err(400));
        assert_eq!(key(&[("idempotency-key", &"x".repeat(256))]), Err(400));
    }

    #[test]
    fn a_key_that_the_signature_does_not_cover_is_not_that_of_a_signed_webhook() {
        let headers = [("idempotency-key", "new"), ("webhook-id", "msg_1")];
        let headers = headers
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let standard = Signature::Standard { prefix: Vec::new(), codes: Vec::new() };
        for (admitted, expected) in [
            (Admitted::Signed(standard), "msg_1"),
            (Admitted::Signed(Signature::Hub(Vec::new())), "new"),
            (Admitted::Granted, "new"),
        ] {
            assert_eq!(key(&headers, &admitted).unwrap().as_deref(), Some(expected));
        }
    }
}
