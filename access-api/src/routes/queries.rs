//! `/v1/queries` and `/v1/queries/{name}`.

use http::{HeaderMap, StatusCode};
use serde_json::json;
use warp::reply::Response;

use super::reply;
use crate::hub::Hub;

/// The queries that have a result, sorted by name.
pub fn list(hub: &Hub) -> Response {
    if !hub.is_complete() {
        return reply::reading();
    }
    let queries: Vec<_> = hub
        .all()
        .into_iter()
        .map(|(name, newest)| {
            json!({
                "name": name,
                "kind": "top",
                "window": newest.window,
                "version": newest.version,
                "as_of_ms": newest.as_of_ms,
            })
        })
        .collect();
    reply::json(StatusCode::OK, &json!({ "queries": queries }))
}

/// The newest result of one query, byte for byte as it was published; its `ETag` is its cursor.
pub fn one(hub: &Hub, name: &str, headers: &HeaderMap) -> Response {
    if !hub.is_complete() {
        return reply::reading();
    }
    match hub.newest(name) {
        Some(newest) => {
            let etag = newest.frame.cursor.to_string();
            reply::tagged(headers, &etag, "application/json", newest.payload)
        }
        None => reply::error(
            StatusCode::NOT_FOUND,
            "unknown_query",
            "this query has no result; GET /v1/queries lists the queries that have one",
        ),
    }
}
