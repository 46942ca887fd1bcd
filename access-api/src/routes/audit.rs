//! `/v1/audit`.

use http::{HeaderMap, StatusCode};
use warp::reply::Response;

use super::reply;
use crate::hub::Hub;

/// The newest audit, byte for byte as it was published; its `ETag` is its cursor.
pub fn newest(hub: &Hub, headers: &HeaderMap) -> Response {
    if !hub.is_complete() {
        return reply::reading();
    }
    match hub.audit() {
        Some((payload, cursor)) => {
            reply::tagged(headers, &cursor.to_string(), "application/json", payload)
        }
        None => reply::error(
            StatusCode::NOT_FOUND,
            "no_audit",
            "the analyzer has not published an audit yet; it does so within seconds after the first event",
        ),
    }
}
