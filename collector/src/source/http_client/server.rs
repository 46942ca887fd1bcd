//! For tests: an HTTP server that answers each request with bytes of the test's choice, also wrong ones.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Connect;

/// A server.
pub(crate) struct Server(TcpListener);

/// A request that is not answered yet.
pub(crate) struct Asked {
    stream: TcpStream,
    /// The request's head, in lower case.
    pub(crate) head: String,
}

impl Server {
    pub(crate) async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// How a source connects to it in tests.
    pub(crate) fn connect(&self) -> Connect {
        Connect {
            url: format!("http://{}/feed", self.address()).into(),
            reconnect_base_ms: 1,
            reconnect_cap_ms: 10,
            max_message_bytes: 2000,
            ..Connect::default()
        }
    }

    /// The next request. Connections that end before they ask are passed over.
    pub(crate) async fn asked(&self) -> Asked {
        loop {
            let (mut stream, _) = self.0.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            if head.ends_with(b"\r\n\r\n") {
                return Asked { stream, head: String::from_utf8(head).unwrap().to_lowercase() };
            }
        }
    }

    /// Answers the next request, closes the connection, and returns the request's head.
    pub(crate) async fn answer(&self, answer: &str) -> String {
        let Asked { mut stream, head } = self.asked().await;
        // Whoever has asked may be gone.
        let _sent = stream.write_all(answer.as_bytes()).await;
        head
    }
}

impl Asked {
    /// Sends some bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends the head of an answer whose body ends with the connection.
    pub(crate) async fn begin(&mut self, media_type: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n").as_bytes())
            .await;
    }

    /// Sends the head of an answer whose body is in chunks, so that its end is known.
    pub(crate) async fn begin_chunked(&mut self, headers: &str) {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
        self.send(head.as_bytes()).await;
    }

    /// Sends one chunk of such a body; an empty one ends it.
    pub(crate) async fn chunk(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(&chunk).await;
    }

    /// Waits until the other side closes the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = [0; 64];
        while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}

/// An answer with this status line, these header lines and this body.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}
