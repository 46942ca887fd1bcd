use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::simulate::SyntheticOptions;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A feed that lives as long as the test.
struct Served {
    handle: Handle,
    shutdown: CancellationToken,
    /// Deleted with it.
    file: Option<tempfile::NamedTempFile>,
}

async fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

async fn recording(content: &[u8], pace: Pace) -> Served {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let feed = opened(file.path());
    let mut served = served(feed, pace).await;
    served.file = Some(file);
    served
}

fn opened(path: &std::path::Path) -> Feed {
    Feed::recording(path, &std::env::temp_dir()).unwrap()
}

async fn served(feed: Feed, pace: Pace) -> Served {
    let shutdown = CancellationToken::new();
    let handle = serve(feed, pace, listener().await, shutdown.clone()).await.unwrap();
    Served { handle, shutdown, file: None }
}

impl Served {
    async fn connect(&self, query: &str) -> Client {
        connect_async(format!("{}{query}", self.handle.url())).await.unwrap().0
    }

    fn http(&self, query: &str) -> String {
        format!("{}{query}", self.handle.url().replace("ws://", "http://"))
    }

    async fn until(&self, condition: impl Fn(Progress) -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while !condition(self.handle.progress()) {
            ticks.tick().await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The bytes of the next data message.
async fn next(client: &mut Client) -> Vec<u8> {
    loop {
        match client.next().await.expect("the feed goes on").unwrap() {
            message if message.is_text() || message.is_binary() => {
                return message.into_data().to_vec();
            }
            message => assert!(message.is_ping(), "{message:?}"),
        }
    }
}

async fn take(client: &mut Client, lines: usize) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    while taken.len() < lines {
        taken.push(next(client).await);
    }
    taken
}

/// Lines that contain their position, with an `mtime` that goes forwards and backwards.
fn numbered(lines: usize, random: &mut StdRng) -> (Vec<Vec<u8>>, Vec<Option<i64>>) {
    let mut newest = 1_000_000;
    let mut mtimes = Vec::new();
    let mut content = Vec::new();
    for position in 0..lines {
        newest += random.random_range(0..20);
        let mtime =
            newest - if random.random_bool(0.2) { random.random_range(0..5_000) } else { 0 };
        // Some lines are not events; they have no time, and are served in their place.
        let bad = random.random_bool(0.05);
        mtimes.push((!bad).then_some(mtime));
        content.push(if bad {
            format!("{position} is no event").into_bytes()
        } else {
            format!(r#"{{"rsvp_id":{position},"response":"yes","mtime":{mtime}}}"#).into_bytes()
        });
    }
    (content, mtimes)
}

#[tokio::test]
async fn every_line_arrives_as_it_stands_in_the_recording() {
    let long = vec![b'x'; 1 << 20];
    let lines: [&[u8]; 7] =
        [b"{\"a\":1}\r", b"", b"\xff\xfe", b"null", b"\0", "\u{1f3a4}".as_bytes(), &long];
    let feed = recording(&lines.join(&b'\n'), Pace::Max).await;
    let mut client = feed.connect("").await;
    for line in lines {
        let message = client.next().await.unwrap().unwrap();
        assert_eq!(message.is_text(), std::str::from_utf8(line).is_ok());
        assert_eq!(message.into_data(), line);
    }
    feed.handle.exhausted().await.unwrap();
    assert_eq!(
        feed.handle.progress(),
        Progress { sent: 7, total: Some(7), clients: 1, ..Progress::default() }
    );
}

#[tokio::test]
async fn a_client_that_is_cut_anywhere_misses_nothing_and_resumes_at_the_first_line_of_its_newest_time()
 {
    for pace in [Pace::Max, Pace::Rate(20_000.0)] {
        let mut random = StdRng::seed_from_u64(3);
        let (lines, mtimes) = numbered(3_000, &mut random);
        let feed = recording(&lines.join(&b'\n'), pace).await;
        let mut newest: Option<i64> = None;
        let mut have = 0;
        while have < lines.len() {
            let mut client = feed.connect(&format!("?since_mtime={}", newest.unwrap_or(0))).await;
            let first = newest.map_or(0, |newest| {
                mtimes.iter().position(|mtime| *mtime >= Some(newest)).unwrap()
            });
            // At least one line more than before, so that the test comes to an end.
            let last = (have + random.random_range(1..200)).min(lines.len());
            for position in first..last {
                assert_eq!(
                    next(&mut client).await,
                    lines[position],
                    "line {position} of {first}..{last}"
                );
                newest = newest.max(mtimes[position]);
            }
            have = last;
        }
        assert_eq!(feed.handle.progress().sent, 3_000, "a resume counts nothing again");
    }
}

#[tokio::test]
async fn a_synthetic_feed_generates_again_what_a_resume_asks_for() {
    let options = SyntheticOptions {
        events: Some(2_000),
        start_ms: Some(1_425_788_568_167),
        ..Default::default()
    };
    let feed = served(Feed::synthetic(options).unwrap(), Pace::Max).await;
    let first = take(&mut feed.connect("").await, 2_000).await;
    assert_eq!(take(&mut feed.connect("?since_mtime=0").await, 2_000).await, first);
    assert_eq!(take(&mut feed.connect("?since_count=700").await, 700).await, first[1_300..]);
    let hashes = feed.handle.expected().await.unwrap();
    assert_eq!(hashes.values().sum::<u64>(), 2_000);
    assert!(first.iter().all(|line| hashes.contains_key(&xxhash_rust::xxh3::xxh3_64(line))));
    let truth = feed.handle.truth().await.unwrap();
    assert_eq!((truth.sent, truth.bad, truth.events + truth.duplicates), (2_000, 0, 2_000));
}

#[tokio::test]
async fn a_client_without_since_is_served_live_beside_one_that_came_earlier() {
    let mut random = StdRng::seed_from_u64(4);
    let (lines, _) = numbered(300, &mut random);
    let feed = recording(&lines.join(&b'\n'), Pace::Rate(500.0)).await;
    let mut early = feed.connect("").await;
    assert_eq!(take(&mut early, 100).await, lines[..100]);
    let mut late = feed.connect("").await;
    let first = next(&mut late).await;
    let position = lines.iter().position(|line| *line == first).unwrap();
    assert!(position >= 100, "line {position} was sent before");
    assert_eq!(take(&mut late, 299 - position).await, lines[position + 1..]);
    assert_eq!(take(&mut early, 200).await, lines[100..]);
}

#[tokio::test]
async fn the_feed_stands_still_while_nobody_is_connected() {
    let mut random = StdRng::seed_from_u64(5);
    let (lines, _) = numbered(2_000, &mut random);
    let feed = recording(&lines.join(&b'\n'), Pace::Rate(10_000.0)).await;
    assert_eq!(feed.handle.progress().sent, 0);
    let mut client = feed.connect("").await;
    assert_eq!(next(&mut client).await, lines[0], "the first client gets the first line");
    drop(client);
    feed.until(|progress| progress.clients == 0).await;
    let sent = usize::try_from(feed.handle.progress().sent).unwrap();
    assert!((1..2_000).contains(&sent), "{sent} lines were sent");
    assert_eq!(take(&mut feed.connect("").await, 2_000 - sent).await, lines[sent..]);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let lines = vec![vec![b'x'; 256 << 10]; 200];
    let feed = recording(&lines.join(&b'\n'), Pace::Rate(100_000.0)).await;
    let _deaf = feed.connect("").await;
    let mut client = feed.connect("?since_mtime=0").await;
    assert_eq!(take(&mut client, 200).await.len(), 200);
}

#[tokio::test]
async fn after_the_last_line_connections_stay_open_and_resumes_are_served() {
    let feed = recording(b"one\ntwo\nthree\n", Pace::Max).await;
    let mut client = feed.connect("").await;
    take(&mut client, 3).await;
    feed.handle.exhausted().await.unwrap();
    client.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
    assert_eq!(
        take(&mut feed.connect("?since_count=2").await, 2).await,
        [b"two".to_vec(), b"three".to_vec()]
    );
    assert_eq!(take(&mut feed.connect("?since_count=99").await, 3).await[0], b"one");
}

#[tokio::test]
async fn chunked_http_carries_the_same_lines() {
    let feed = recording(b"one\r\n\n\xff\nlast", Pace::Max).await;
    let mut answer = reqwest::get(feed.http("?since_mtime=0")).await.unwrap();
    assert_eq!(answer.headers()["transfer-encoding"], "chunked");
    let expected = b"one\r\n\n\xff\nlast\n";
    let mut body = Vec::new();
    while body.len() < expected.len() {
        body.extend(answer.chunk().await.unwrap().expect("the feed goes on"));
    }
    assert_eq!(body, expected);
    feed.shutdown.cancel();
    assert_eq!(answer.chunk().await.unwrap(), None, "a shutdown ends the answer properly");
}

#[tokio::test]
async fn a_broken_connection_leaves_half_a_message_which_comes_whole_on_a_resume() {
    let mut random = StdRng::seed_from_u64(6);
    let (lines, _) = numbered(25, &mut random);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&lines.join(&b'\n')).unwrap();
    let every = std::num::NonZeroU64::new(10);
    let feed = served(opened(file.path()).break_every(every), Pace::Max).await;

    let mut client = feed.connect("").await;
    assert_eq!(take(&mut client, 9).await, lines[..9]);
    let broken = client.next().await.unwrap();
    assert!(broken.is_err(), "{broken:?}");

    let mut client = feed.connect("?since_count=1").await;
    assert_eq!(take(&mut client, 10).await, lines[9..19], "line 20 is the next to be cut");
    assert!(client.next().await.unwrap().is_err());

    let mut client = feed.connect("?since_mtime=0").await;
    assert_eq!(take(&mut client, 25).await, lines, "a line is cut the first time only");
}

#[tokio::test]
async fn a_broken_answer_over_http_ends_with_an_error() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"one\ntwo\nthree").unwrap();
    let every = std::num::NonZeroU64::new(2);
    let feed = served(opened(file.path()).break_every(every), Pace::Max).await;
    let mut answer = reqwest::get(feed.http("")).await.unwrap();
    let mut body = Vec::new();
    let ended = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend(chunk),
            ended => break ended,
        }
    };
    assert!(ended.is_err(), "the answer ended as if it were whole");
    assert!(b"one\ntwo\n".starts_with(&body[..]) && body.len() < 8, "{body:?}");
}

#[tokio::test]
async fn a_recording_that_breaks_off_is_served_up_to_there_and_then_the_error_is_told() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let (lines, _) = numbered(5_000, &mut StdRng::seed_from_u64(8));
    encoder.write_all(&lines.join(&b'\n')).unwrap();
    let mut content = encoder.finish().unwrap();
    content.truncate(content.len() / 2);
    let feed = recording(&content, Pace::Max).await;
    let mut client = feed.connect("").await;
    let mut received = 0;
    let close = loop {
        match client.next().await.unwrap().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            message => {
                assert_eq!(message.into_data(), lines[received]);
                received += 1;
            }
        }
    };
    assert_eq!(close.code, CloseCode::Error);
    assert!(received > 1_000, "{received}");
    assert!(
        matches!(feed.handle.exhausted().await, Err(Error::Read { line, .. }) if line == received as u64 + 1)
    );
}

#[tokio::test]
async fn a_pipe_is_served_as_it_comes_and_served_again_on_a_resume() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let feed = served(opened(std::path::Path::new(&path)), Pace::Max).await;
    let mut client = feed.connect("").await;
    writer.write_all(b"one\ntwo\nth").unwrap();
    assert_eq!(take(&mut client, 2).await, [b"one", b"two"]);
    feed.until(|progress| progress.waits).await;
    assert_eq!(take(&mut feed.connect("?since_mtime=0").await, 2).await, [b"one", b"two"]);
    writer.write_all(b"ree").unwrap();
    drop((writer, reader));
    assert_eq!(next(&mut client).await, b"three");
    feed.handle.exhausted().await.unwrap();
    assert_eq!(feed.handle.expected().await.unwrap().len(), 3);
    assert_eq!(feed.handle.first_line().await.unwrap().unwrap(), "one");
    let all = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
    assert_eq!(take(&mut feed.connect("?since_count=3").await, 3).await, all);
}

#[tokio::test]
async fn a_line_that_no_client_takes_is_left_out_and_counted() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let long = "x".repeat(1_001);
    write!(file, "one\n{long}\ntwo\n{long}").unwrap();
    let feed = served(opened(file.path()).max_message_bytes(1_000), Pace::Max).await;
    let mut client = feed.connect("").await;
    assert_eq!(take(&mut client, 2).await, [b"one", b"two"]);
    feed.handle.exhausted().await.unwrap();
    let progress = feed.handle.progress();
    assert_eq!((progress.sent, progress.left_out, progress.total), (4, 2, Some(4)));
    assert_eq!(take(&mut feed.connect("?since_mtime=0").await, 2).await, [b"one", b"two"]);
    assert_eq!(feed.handle.progress().left_out, 2, "a resume counts nothing again");
    assert_eq!(feed.handle.expected().await.unwrap().len(), 2);
    let truth = feed.handle.truth().await.unwrap();
    assert_eq!((truth.sent, truth.bad), (4, 4));
}

#[tokio::test]
async fn a_recording_that_was_changed_after_it_was_served_is_an_error() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"one\ntwo\n").unwrap();
    let feed = served(opened(file.path()), Pace::Max).await;
    take(&mut feed.connect("").await, 2).await;
    feed.handle.exhausted().await.unwrap();
    file.write_all(b"three\n").unwrap();
    assert!(feed.handle.expected().await.is_err());
    assert!(feed.handle.truth().await.is_err());
    assert_eq!(take(&mut feed.connect("?since_count=2").await, 2).await, [b"one", b"two"]);
}

#[tokio::test]
async fn a_shutdown_tells_every_client() {
    let feed = recording(b"one", Pace::Max).await;
    let mut client = feed.connect("").await;
    take(&mut client, 1).await;
    feed.shutdown.cancel();
    match client.next().await.unwrap().unwrap() {
        Message::Close(frame) => assert_eq!(frame.unwrap().code, CloseCode::Away),
        message => panic!("{message:?}"),
    }
    drop(client);
    feed.handle.stopped().await;
    assert!(connect_async(feed.handle.url()).await.is_err());
}

#[tokio::test]
async fn a_request_that_cannot_be_served_is_told_why() {
    let feed = recording(b"one", Pace::Max).await;
    let status = async |url: String| reqwest::get(url).await.unwrap().status().as_u16();
    assert_eq!(status(feed.http("").replace(PATH, "/")).await, 404);
    assert_eq!(status(feed.http("?since_mtime=yesterday")).await, 400);
    assert_eq!(status(feed.http("?since_count=-1")).await, 400);
    let post = reqwest::Client::new().post(feed.http("")).send().await.unwrap();
    assert_eq!(post.status().as_u16(), 405);
    let upgrade = reqwest::Client::new()
        .get(feed.http(""))
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert_eq!(upgrade.send().await.unwrap().status().as_u16(), 426);
    assert_eq!(feed.handle.progress().sent, 0);
}

#[test]
fn other_parameters_are_ignored() {
    assert_eq!(since("event_id=5&since_mtime=7"), Ok(Since::Mtime(7)));
    assert_eq!(since("since_count=7&x"), Ok(Since::Count(7)));
    assert_eq!(since(""), Ok(Since::Live));
}
