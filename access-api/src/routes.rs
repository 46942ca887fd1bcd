//! The routes of the HTTP server.
//!
//! | path | |
//! |---|---|
//! | `/`, `/audit.html`, `/assets/…` | the dashboard |
//! | `/v1/queries` | the queries that have a result |
//! | `/v1/queries/{name}` | the newest result of one |
//! | `/v1/audit` | the newest audit |
//! | `/v1/ws` | live results, see [`common::protocol`] |
//!
//! `/v1/ws` answers GET only, the others GET and HEAD. Errors are `{"error":{"code":…,"message":…}}`. Until the
//! topic of results was read to its end, the routes below `/v1` answer 503.

use std::convert::Infallible;
use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderMap;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::session::Shared;
use gate::Gate;

mod assets;
mod audit;
mod gate;
mod queries;
mod reply;
mod security_headers;
mod websocket;

/// A request for a host name that is not allowed.
#[derive(Debug)]
struct Misdirected;

impl warp::reject::Reject for Misdirected {}

/// All routes; never rejects.
pub fn all(
    shared: Arc<Shared>,
    hosts: &[String],
    allowed_origins: &[String],
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let gate = Arc::new(Gate::new(hosts, allowed_origins));
    let readable = || warp::get().or(warp::head()).unify();
    let admitted = {
        let gate = Arc::clone(&gate);
        warp::header::headers_cloned()
            .and_then(move |headers: HeaderMap| {
                let admitted = gate.allows_host(&headers);
                async move { if admitted { Ok(()) } else { Err(warp::reject::custom(Misdirected)) } }
            })
            .untuple_one()
    };
    let dashboard = readable()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and_then(|path: warp::path::FullPath, headers: HeaderMap| async move {
            assets::find(path.as_str())
                .map(|asset| asset.respond(&headers))
                .ok_or_else(warp::reject)
        });
    let hub = Arc::clone(&shared.hub);
    let list = warp::path!("v1" / "queries").and(readable()).map({
        let hub = Arc::clone(&hub);
        move || queries::list(&hub)
    });
    let one = warp::path!("v1" / "queries" / String)
        .and(readable())
        .and(warp::header::headers_cloned())
        .map({
            let hub = Arc::clone(&hub);
            move |name: String, headers: HeaderMap| queries::one(&hub, &name, &headers)
        });
    let audit = warp::path!("v1" / "audit")
        .and(readable())
        .and(warp::header::headers_cloned())
        .map(move |headers: HeaderMap| audit::newest(&hub, &headers));
    let any = dashboard
        .or(list)
        .unify()
        .or(one)
        .unify()
        .or(audit)
        .unify()
        .or(websocket::route(shared, Arc::clone(&gate)))
        .unify();
    let answered = admitted.and(any).recover(refuse).map(Reply::into_response);
    warp::method().and(warp::header::headers_cloned()).and(answered).map(
        move |method: http::Method, headers: HeaderMap, answer: Response| {
            gate.release(&method, &headers, answer)
        },
    )
}

async fn refuse(rejection: Rejection) -> Result<Response, Infallible> {
    if rejection.find::<Misdirected>().is_some() {
        return Ok(Gate::misdirected());
    }
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        return Ok(reply::method_not_allowed("GET, HEAD"));
    }
    if rejection.is_not_found() {
        return Ok(reply::error(
            StatusCode::NOT_FOUND,
            "not_found",
            "not found; there are /, /audit.html, /v1/queries, /v1/queries/{name}, /v1/audit and /v1/ws",
        ));
    }
    tracing::debug!(?rejection, "bad request");
    Ok(reply::error(StatusCode::BAD_REQUEST, "bad_request", "this request cannot be read"))
}

#[cfg(test)]
mod tests;
