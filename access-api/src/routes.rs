//! What can be asked over HTTP.
//!
//! | path | |
//! |---|---|
//! | `/`, `/assets/…` | the dashboard |
//! | `/v1/queries` | the queries that have a result |
//! | `/v1/queries/{name}` | the newest result of one |
//! | `/v1/ws` | live results, see [`common::protocol`] |
//!
//! All of them answer GET and HEAD only. Errors are `{"error":{"code":…,"message":…}}`.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use http::{Response, StatusCode};
use warp::reply::Response as WarpResponse;
use warp::{Filter, Rejection, Reply};

use crate::session::Service;

mod assets;
mod queries;
mod websocket;

pub use websocket::{Connection, Origin};

/// Every answer carries these. A page of ours loads nothing from elsewhere and runs no inline script.
const SECURITY: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// All routes; never rejects.
pub fn all(
    service: Arc<Service>,
    allowed_origins: &[String],
) -> impl Filter<Extract = (WarpResponse,), Error = Infallible> + Clone + Send + Sync + 'static {
    let readable = || warp::get().or(warp::head()).unify();
    let dashboard = readable()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and_then(|path: warp::path::FullPath, headers: HeaderMap| async move {
            assets::find(path.as_str())
                .map(|asset| asset.respond(&headers))
                .ok_or_else(warp::reject)
        });
    let hub = Arc::clone(&service.hub);
    let list = warp::path!("v1" / "queries").and(readable()).map({
        let hub = Arc::clone(&hub);
        move || queries::list(&hub)
    });
    let one = warp::path!("v1" / "queries" / String)
        .and(readable())
        .and(warp::header::headers_cloned())
        .map(move |name: String, headers: HeaderMap| queries::one(&hub, &name, &headers));
    dashboard
        .or(list)
        .unify()
        .or(one)
        .unify()
        .or(websocket::route(service, allowed_origins))
        .unify()
        .recover(refuse)
        .map(|reply| secured(Reply::into_response(reply)))
}

async fn refuse(rejection: Rejection) -> Result<WarpResponse, Infallible> {
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        let mut response =
            error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    if rejection.is_not_found() {
        return Ok(error(
            StatusCode::NOT_FOUND,
            "not_found",
            "there are /, /v1/queries, /v1/queries/{name} and /v1/ws",
        ));
    }
    tracing::debug!(?rejection, "bad request");
    Ok(error(StatusCode::BAD_REQUEST, "bad_request", "this request makes no sense"))
}

fn error(status: StatusCode, code: &str, message: &str) -> WarpResponse {
    json(status, &serde_json::json!({"error": {"code": code, "message": message}}))
}

fn json(status: StatusCode, body: &serde_json::Value) -> WarpResponse {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that the client keeps and asks about again: 304 when it has the one with this `etag`.
fn tagged(
    headers: &HeaderMap,
    etag: &str,
    content_type: &'static str,
    body: bytes::Bytes,
) -> WarpResponse {
    let quoted = format!("\"{etag}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == quoted);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(body.into())
    };
    let headers = response.headers_mut();
    if !is_known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    // Kept, but asked about every time: what is shown is never of yesterday.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        headers.insert(ETAG, value);
    }
    response
}

fn secured(mut response: WarpResponse) -> WarpResponse {
    for (name, value) in SECURITY {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
