use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;

use super::*;
use crate::client::tests::result;
use crate::exit;
use crate::run::Failure;

/// What `tap` prints on stdout and stderr for three results, with the connection lost after each.
async fn tapped(json: bool, limit: u64, screen: bool) -> (String, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for (query, seq) in [("topics", 1), ("countries", 2), ("topics", 3)] {
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            socket.next().await.unwrap().unwrap();
            socket.send(result(query, seq, 1_000 * seq)).await.unwrap();
        }
    });
    let args = Args {
        queries: vec!["topics".to_owned()],
        url,
        limit: Some(limit),
        json,
        top: 10,
        timeout: None,
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    print(args, CancellationToken::new(), &mut out, &mut notes, screen).await.unwrap();
    server.abort();
    (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
}

#[tokio::test]
async fn json_lines_are_the_published_results_across_broken_connections() {
    let (out, notes) = tapped(true, 3, false).await;
    let totals: Vec<(String, u64)> = out
        .lines()
        .map(|line| serde_json::from_str::<TopN>(line).unwrap())
        .map(|result| (result.query, result.total))
        .collect();
    assert_eq!(
        totals,
        [
            ("topics".to_owned(), 1_000),
            ("countries".to_owned(), 2_000),
            ("topics".to_owned(), 3_000)
        ]
    );
    assert_eq!(notes.lines().count(), 2, "{notes}");
}

#[tokio::test]
async fn a_limit_ends_it() {
    let (out, _) = tapped(true, 1, false).await;
    assert_eq!(out.lines().count(), 1);
}

#[tokio::test]
async fn a_table_shows_the_items_with_their_counts() {
    let (out, _) = tapped(false, 1, false).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with(
            "topics (since the start), as of 2015-03-08 04:22:48 UTC: 1,000 mentions of 2 items"
        ),
        "{out}"
    );
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["1", "Social", "1,000"]);
    assert!(lines[2].contains("a\\u{1b}b") && lines[2].ends_with("at most 1 too many"), "{out}");
}

#[tokio::test]
async fn on_a_screen_the_newest_result_of_every_query_stands_in_place() {
    let (out, _) = tapped(false, 3, true).await;
    let last = out.rsplit("\x1b[2J").next().unwrap();
    assert!(
        last.contains("countries")
            && last.contains("3,000 mentions")
            && !last.contains(" 1,000 mentions"),
        "{last}"
    );
}

#[tokio::test]
async fn a_wrong_url_ends_it_at_once() {
    let args = Args {
        queries: Vec::new(),
        url: "nowhere".to_owned(),
        limit: None,
        json: false,
        top: 10,
        timeout: None,
    };
    let error = run(args, CancellationToken::new()).await.unwrap_err();
    assert!(!error.retryable(), "{error}");
}

/// What `tap` says of a server, with half a second of patience.
async fn failure(url: String, queries: &[&str], timeout: Duration) -> Error {
    let queries = queries.iter().map(|&query| query.to_owned()).collect();
    let args = Args { queries, url, limit: Some(1), json: true, top: 10, timeout: Some(timeout) };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    print(args, CancellationToken::new(), &mut out, &mut notes, false).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_is_not_there_and_one_that_says_nothing_have_exit_codes_of_their_own() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut sockets = Vec::new();
        loop {
            sockets.push(accept_async(listener.accept().await.unwrap().0).await.unwrap());
        }
    });
    let error = failure(url.clone(), &[], Duration::from_millis(500)).await;
    assert_eq!(error.exit_code(), exit::TIMED_OUT, "{error}");
    silent.abort();
    let _ended = silent.await;
    let error = failure(url, &[], Duration::from_millis(300)).await;
    assert_eq!(error.exit_code(), exit::UNAVAILABLE, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_given_timeout_is_the_limit_for_connecting_too() {
    let given = Duration::from_secs(120);
    let mut waiting = Waiting::new(Some(given));
    assert_eq!(waiting.patience(), Some(given));
    waiting.note(&Event::Connected);
    assert_eq!(waiting.patience(), Some(given));
    let mut waiting = Waiting::new(None);
    assert_eq!(waiting.patience(), Some(CONNECT_DEADLINE));
    waiting.note(&Event::Connected);
    assert_eq!(waiting.patience(), None);
}
