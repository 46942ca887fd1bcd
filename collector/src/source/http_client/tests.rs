use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::server::{Server, response};
use super::*;

mod tls;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn client(connect: &Connect) -> HttpClient {
    HttpClient::new(connect, &Resume::None, "*/*").unwrap()
}

async fn get(client: &HttpClient) -> Result<Answer, Lost> {
    client.get(&Begin::AsConfigured, &HeaderMap::new()).await
}

async fn body(mut answer: Answer) -> Result<Vec<u8>, Lost> {
    let mut whole = Vec::new();
    while let Some(chunk) = answer.body.chunk().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

#[test]
fn retry_after_is_seconds_or_a_date_by_the_server_s_clock_and_an_hour_at_most() {
    let (date, later) = ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT");
    for (pairs, seconds) in [
        (vec![], 0),
        (vec![("retry-after", "120")], 120),
        (vec![("retry-after", "99999999")], 3600),
        (vec![("retry-after", "99999999999999999999999999")], 0),
        (vec![("retry-after", "-1")], 0),
        (vec![("retry-after", "soon")], 0),
        (vec![("retry-after", later), ("date", date)], 30),
        (vec![("retry-after", date), ("date", later)], 0),
        (vec![("retry-after", date)], 0),
        (vec![("retry-after", "Tue, 31 Dec 2999 23:59:59 GMT")], 3600),
    ] {
        assert_eq!(retry_after(&headers(&pairs)), Duration::from_secs(seconds), "{pairs:?}");
    }
}

#[tokio::test]
async fn credentials_go_to_the_configured_server_and_to_no_other_one() {
    let (feed, other) = (Server::listen().await, Server::listen().await);
    let mut connect = feed.connect();
    connect.url = format!("http://ada:s3cret@{}/feed?a=b", feed.address()).into();
    connect.headers.insert("X-Key".to_owned(), "s3cret".into());
    connect.headers.insert("User-Agent".to_owned(), "mine".into());
    let client = client(&connect);
    let moved = |to: &str| response("307 Temporary Redirect", &format!("Location: {to}\r\n"), "");
    let elsewhere = format!("http://{}/there", other.address());
    let serving = async {
        let first = feed.answer(&moved("/new")).await;
        let second = feed.answer(&moved(&elsewhere)).await;
        (first, second, other.answer(&response("200 OK", "", "yes")).await)
    };
    let (answer, (first, second, third)) = tokio::join!(get(&client), serving);
    assert_eq!(body(answer.unwrap()).await.unwrap(), b"yes");
    assert!(first.starts_with("get /feed?a=b http/1.1\r\n"), "{first}");
    for head in [&first, &second] {
        assert!(head.contains("authorization: basic ") && head.contains("x-key: s3cret"), "{head}");
        assert!(head.contains("user-agent: mine") && !head.contains("ada"), "{head}");
    }
    assert!(
        third.starts_with("get /there ") && third.contains(&format!("host: {}", other.address()))
    );
    assert!(!third.contains("s3cret") && !third.contains("basic"), "{third}");
}

#[tokio::test]
async fn what_is_no_feed_is_refused_with_a_sentence() {
    for (answer, why) in [
        (response("500 Oh", "", ""), "500 Internal Server Error"),
        (response("401 No", "", ""), "refuses the credentials"),
        (response("403 No", "Content-Type: text/html\r\n", "<html>"), "refuses the credentials"),
        (response("200 OK", "Content-Type: Text/HTML; charset=utf-8\r\n", "<html>"), "a web page"),
        (response("302 Found", "", ""), "does not say where to"),
        (response("302 Found", "Location: ftp://x/?s3cret\r\n", ""), "redirects to ftp://x/?***"),
        (response("200 OK", "Content-Encoding: br\r\n", "x"), "'br'"),
        ("HTTP/1.1 200 OK\r\nA".to_owned(), "no answer"),
        ("ICY 200 OK\r\n\r\n".to_owned(), "no answer"),
        (String::new(), "no answer"),
        (format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(4 * BUFFER_BYTES)), "no answer"),
        (format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000)), "no answer"),
    ] {
        let feed = Server::listen().await;
        let client = client(&feed.connect());
        let (lost, _) = tokio::join!(get(&client), feed.answer(&answer));
        let Err(lost) = lost else { panic!("{answer:.60} was taken for a feed") };
        assert!(lost.why.contains(why) && !lost.unreadable, "{answer:.60}: {lost:?}");
    }
    let feed = Server::listen().await;
    let client = client(&feed.connect());
    let round = response("302 Found", "Location: /\r\n", "");
    let serving = async {
        for _ in 0..6 {
            feed.answer(&round).await;
        }
    };
    let (lost, ()) = tokio::join!(get(&client), serving);
    assert!(lost.err().unwrap().why.contains("more than 5 times"));
}

#[tokio::test]
async fn an_error_that_only_a_request_with_a_cursor_gets_is_unreadable() {
    for (status, begin, unreadable) in [
        ("410 Gone", Begin::After("x".into()), true),
        ("400 Bad Request", Begin::After("x".into()), true),
        ("400 Bad Request", Begin::Now, false),
        ("503 Away", Begin::After("x".into()), false),
    ] {
        let feed = Server::listen().await;
        let client = client(&feed.connect());
        let none = HeaderMap::new();
        let answer = response(status, "Retry-After: 7\r\n", "");
        let (lost, _) = tokio::join!(client.get(&begin, &none), feed.answer(&answer));
        let lost = lost.err().unwrap();
        assert_eq!((lost.unreadable, lost.wait), (unreadable, Duration::from_secs(7)), "{status}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(name: &[u8], packed: &[u8], size: usize) -> std::io::Result<(Vec<u8>, bool, usize)> {
    let mut unpacker = Unpacker::new(name).unwrap();
    let (mut whole, mut largest) = (Vec::new(), 0);
    for chunk in packed.chunks(size.max(1)) {
        unpacker.push(Bytes::copy_from_slice(chunk));
        while let Some(bytes) = unpacker.next()? {
            largest = largest.max(bytes.len());
            whole.extend_from_slice(&bytes);
        }
    }
    Ok((whole, unpacker.is_complete(), largest))
}

#[test]
fn what_is_packed_very_small_is_unpacked_a_little_at_a_time() {
    let zeros = vec![0; 64 << 20];
    for (name, packed) in [(&b"gzip"[..], gzip(&zeros)), (b"deflate", deflate(&zeros))] {
        let (whole, is_complete, largest) = unpacked(name, &packed, usize::MAX).unwrap();
        assert!(whole == zeros && is_complete);
        assert!(largest <= 2 << 20, "{largest} bytes at once");
    }
}

#[tokio::test]
async fn a_packed_stream_comes_out_as_it_arrives_and_must_not_end_early() {
    let feed = Server::listen().await;
    let client = client(&feed.connect());
    let serving = async {
        let mut asked = feed.asked().await;
        assert!(asked.head.contains("accept-encoding: gzip, deflate"), "{}", asked.head);
        asked.begin_chunked("Content-Encoding: gzip\r\n").await;
        asked
    };
    let (answer, mut asked) = tokio::join!(get(&client), serving);
    let mut answer = answer.unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for text in ["one\n", "two\n"] {
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.flush().unwrap();
        asked.chunk(&std::mem::take(encoder.get_mut())).await;
        let mut got = Vec::new();
        while got.len() < text.len() {
            got.extend_from_slice(&answer.body.chunk().await.unwrap().unwrap());
        }
        assert_eq!(got, text.as_bytes());
    }
    asked.chunk(b"").await;
    let lost = answer.body.chunk().await.unwrap_err();
    assert!(lost.why.contains("middle"), "{lost:?}");
}

proptest! {
    #[test]
    fn what_was_packed_is_unpacked_however_it_is_divided(text in prop::collection::vec(any::<u8>(), 0..4000), size in 1..3000_usize) {
        for (name, packed) in [(&b"gzip"[..], gzip(&text)), (b"deflate", deflate(&text))] {
            let (whole, is_complete, _) = unpacked(name, &packed, size).unwrap();
            prop_assert!(is_complete);
            prop_assert_eq!(&whole, &text);
        }
        for (name, packed) in [(&b"gzip"[..], gzip(&text)), (b"deflate", deflate(&text))] {
            if let Ok((_, is_complete, _)) = unpacked(name, &packed[..packed.len() - 1], size) {
                prop_assert!(!is_complete);
            }
        }
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in [&b"gzip"[..], b"deflate"] {
            let _either = unpacked(name, &bytes, 16);
        }
    }
}
