//! Checks of every request: the host name that is asked for, and the page that asks. Adds the headers with
//! which browsers are told the same (CORS).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};
use warp::Reply;
use warp::reply::Response;

use super::{reply, security_headers};
use crate::origin::{Hosts, Origin};

/// Who is answered.
#[derive(Debug, Clone)]
pub struct Gate {
    hosts: Hosts,
    origins: Vec<Origin>,
}

impl Gate {
    /// A gate for the names `hosts` and the pages of `allowed_origins`.
    pub fn new(hosts: &[String], allowed_origins: &[String]) -> Self {
        Self {
            hosts: Hosts::new(hosts),
            origins: allowed_origins.iter().filter_map(|text| Origin::parse(text)).collect(),
        }
    }

    /// Whether a request for this host may be answered.
    pub fn allows_host(&self, headers: &HeaderMap) -> bool {
        self.hosts.allow(headers.get(HOST))
    }

    /// Whether the page that asks may read results: the dashboard itself may, and a listed page, and any client
    /// that is not a page.
    pub fn allows_page(&self, headers: &HeaderMap) -> bool {
        // Browsers always send `Origin` with a WebSocket handshake, and pages cannot change it. A request
        // without one comes from another client.
        let Some(text) = headers.get(ORIGIN) else { return true };
        let Some(origin) = text.to_str().ok().and_then(Origin::parse) else { return false };
        headers.get(HOST).is_some_and(|host| origin.is_of(host)) || self.origins.contains(&origin)
    }

    /// The answer to a request for a host name that is not allowed.
    pub fn misdirected() -> Response {
        reply::error(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "this host name is not allowed; add it to hosts",
        )
    }

    /// The answer as it is sent: with the security headers, and with those of CORS where origins are listed.
    pub fn release(&self, method: &Method, asked: &HeaderMap, mut answer: Response) -> Response {
        if !self.origins.is_empty() {
            let cors = self.cross_origin(asked);
            if *method == Method::OPTIONS
                && cors.is_some()
                && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            {
                answer = StatusCode::NO_CONTENT.into_response();
                let headers = answer.headers_mut();
                let set = [
                    (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
                    (ACCESS_CONTROL_ALLOW_HEADERS, "if-none-match"),
                    (ACCESS_CONTROL_MAX_AGE, "600"),
                ];
                headers.extend(set.map(|(name, value)| (name, HeaderValue::from_static(value))));
            }
            let headers = answer.headers_mut();
            headers.append(VARY, HeaderValue::from_static("origin"));
            if let Some(origin) = cors {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                let exposed = HeaderValue::from_static("etag, retry-after");
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
        }
        security_headers::add(answer.headers_mut());
        answer
    }

    /// The origin of the page that asks, if it is a listed one.
    fn cross_origin(&self, asked: &HeaderMap) -> Option<HeaderValue> {
        let text = asked.get(ORIGIN)?;
        let origin = Origin::parse(text.to_str().ok()?)?;
        self.origins.contains(&origin).then(|| text.clone())
    }
}
