//! Which queries a server has. It is asked over HTTP when no result of a query comes.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::error::Error;

/// How long results may take. The server sends existing results at once; one that has just started needs some time.
const GRACE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(500);
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
struct Listing {
    queries: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
}

/// Resolves when the server at `url` has queries, but not all of those that were `asked` for.
pub async fn unknown(url: &str, asked: &[String]) -> Error {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_DEADLINE).build();
    let (Some(address), Ok(client)) = (listing(url), client) else {
        return std::future::pending().await;
    };
    sleep(GRACE).await;
    let mut missed: Option<Instant> = None;
    loop {
        let known = known(&client, &address).await.unwrap_or_default();
        let missing: Vec<&str> = asked
            .iter()
            .map(String::as_str)
            .filter(|name| !known.iter().any(|k| k == name))
            .collect();
        // While no query has a result, the ones asked for may still come.
        if known.is_empty() || missing.is_empty() {
            missed = None;
        } else if missed.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            return Error::UnknownQuery { asked: missing.join(", "), known: known.join(", ") };
        }
        sleep(EVERY).await;
    }
}

async fn known(client: &reqwest::Client, address: &str) -> Option<Vec<String>> {
    let answer = client.get(address).send().await.ok()?;
    let listing: Listing = answer.error_for_status().ok()?.json().await.ok()?;
    Some(listing.queries.into_iter().map(|query| query.name).collect())
}

/// The address of the list that belongs to a WebSocket: `http://host/v1/queries` for `ws://host/v1/ws`. `None` for
/// `wss://`, because the HTTP client here is built without TLS.
fn listing(url: &str) -> Option<String> {
    let rest = url.strip_prefix("ws://")?;
    let path = rest.split(['?', '#']).next()?.strip_suffix("/ws")?;
    Some(format!("http://{path}/queries"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_beside_the_socket_also_below_a_path() {
        let list = |url| listing(url).unwrap();
        assert_eq!(list("ws://127.0.0.1:8080/v1/ws"), "http://127.0.0.1:8080/v1/queries");
        assert_eq!(list("ws://host/a/v1/ws?x=1"), "http://host/a/v1/queries");
        assert_eq!(listing("wss://host/v1/ws"), None);
        assert_eq!(listing("ws://host/elsewhere"), None);
    }
}
