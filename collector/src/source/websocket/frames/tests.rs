use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

/// A frame as a server writes it.
fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![if last { FINAL } else { 0 } | opcode];
    match payload.len() {
        short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A reader that returns at most `most` bytes at once.
struct Sips<'a> {
    rest: &'a [u8],
    most: usize,
}

impl AsyncRead for Sips<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self.rest.len().min(self.most).min(out.remaining());
        out.put_slice(&self.rest[..size]);
        self.rest = &self.rest[size..];
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sips<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The data messages of `frames` as tungstenite reads them, each with its full length if it was cut.
async fn read(frames: &[u8], limit: usize, most: usize) -> Vec<(Vec<u8>, Option<u64>)> {
    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let input = [HEAD, frames].concat();
    let (mut stream, seen) = Frames::new(Sips { rest: &input, most }, limit);
    let mut head = vec![0; HEAD.len()];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, HEAD);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let mut messages = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(payload) = message {
            let number = messages.len() as u64;
            messages.push((payload.to_vec(), seen.cut(number)));
        }
    }
    assert_eq!(seen.bytes(), input.len() as u64);
    messages
}

#[tokio::test]
async fn a_message_above_the_limit_is_cut_and_the_next_one_is_whole() {
    let large = vec![b'x'; 5000];
    let input = [frame(true, 1, b"one"), frame(true, 1, &large), frame(true, 1, b"two")].concat();
    for most in [1, 7, 100_000] {
        let messages = read(&input, 4999, most).await;
        assert_eq!(messages[0], (b"one".to_vec(), None));
        assert_eq!(messages[1], (large[..1024].to_vec(), Some(5000)));
        assert_eq!(messages[2], (b"two".to_vec(), None));
        let messages = read(&input, 5000, most).await;
        assert_eq!(messages[1], (large.clone(), None), "at the limit it is whole");
    }
}

#[tokio::test]
async fn a_message_whose_fragments_exceed_the_limit_is_cut_between_them() {
    let input = [
        frame(false, 1, &[b'a'; 60]),
        frame(true, 9, b"ping"),
        frame(false, 0, &[b'b'; 30]),
        frame(false, 0, &[b'c'; 30]),
        frame(true, 9, b"ping"),
        frame(true, 0, &[b'd'; 30]),
        frame(true, 2, b"two"),
    ]
    .concat();
    let messages = read(&input, 100, 3).await;
    let start = [[b'a'; 60].as_slice(), &[b'b'; 30]].concat();
    assert_eq!(messages, [(start, Some(120)), (b"two".to_vec(), None)]);
}

#[tokio::test]
async fn a_text_that_is_not_utf_8_arrives_as_it_is() {
    let messages = read(&frame(true, 1, b"{\"a\":\"\xff\"}"), 100, 100).await;
    assert_eq!(messages, [(b"{\"a\":\"\xff\"}".to_vec(), None)]);
}

proptest! {
    #[test]
    fn whatever_the_sizes_each_message_is_whole_or_cut(
        sizes in prop::collection::vec(prop::collection::vec(0..300_usize, 1..4), 0..8), limit in 1..400_usize, most in 1..50_usize,
    ) {
        let mut input = Vec::new();
        for (number, fragments) in sizes.iter().enumerate() {
            for (index, size) in fragments.iter().enumerate() {
                let (last, opcode) = (index + 1 == fragments.len(), u8::from(index == 0));
                input.extend(frame(last, opcode, &vec![number as u8; *size]));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let messages = runtime.block_on(read(&input, limit, most));
        prop_assert_eq!(messages.len(), sizes.len());
        for (number, ((payload, cut), fragments)) in messages.iter().zip(&sizes).enumerate() {
            let size: usize = fragments.iter().sum();
            prop_assert!(payload.len() <= limit && payload.iter().all(|byte| *byte == number as u8));
            prop_assert_eq!(cut.is_some(), size > limit);
            prop_assert!(cut.is_some() || payload.len() == size);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), most in 1..50_usize) {
        let (mut stream, _seen) = Frames::new(Sips { rest: &bytes, most }, 10);
        stream.scanner.state = State::Header { bytes: [0; HEADER_BYTES], len: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut out = Vec::new();
        runtime.block_on(stream.read_to_end(&mut out)).unwrap();
    }
}
