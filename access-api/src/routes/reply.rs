//! The forms of answers.

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER,
};
use http::{Response, StatusCode};
use warp::Reply;
use warp::reply::Response as WarpResponse;

/// `{"error":{"code":…,"message":…}}`.
pub fn error(status: StatusCode, code: &str, message: &str) -> WarpResponse {
    json(status, &serde_json::json!({"error": {"code": code, "message": message}}))
}

/// 503, with `Retry-After` in seconds.
pub fn unavailable(code: &str, message: &str, seconds: u64) -> WarpResponse {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, code, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// 405, with the methods that are allowed, such as `GET, HEAD`.
pub fn method_not_allowed(allowed: &'static str) -> WarpResponse {
    let message = format!("allowed here: {allowed}");
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// 503, because the topic of results was not read to its end yet.
pub fn reading() -> WarpResponse {
    unavailable("reading", "the results are not read to their end yet; try again in a moment", 1)
}

/// An answer that browsers do not cache.
pub fn json(status: StatusCode, body: &serde_json::Value) -> WarpResponse {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that the client may cache and has to ask for again: 304 when it has the one with this `etag`.
pub fn tagged(
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
    // With `no-cache` a browser may keep the answer, but has to ask each time whether it is still the newest.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        headers.insert(ETAG, value);
    }
    response
}
