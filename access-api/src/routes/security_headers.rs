//! The headers of every answer that tell a browser what the page may do, and who may show it.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The dashboard loads nothing from other servers and runs no inline script.
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Adds them to an answer.
pub fn add(answer: &mut HeaderMap) {
    for (name, value) in HEADERS {
        answer.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
