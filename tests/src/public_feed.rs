//! A server that speaks the protocol of a public feed, as its documentation has it: a WebSocket that wants a subscription first,
//! server-sent events, or an address that is polled.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{Request, Response},
    protocol::WebSocket,
};

/// How a feed is spoken.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// A WebSocket that sends nothing before it got this many messages. After each it sends an answer, if there is one.
    Socket {
        /// How many.
        subscriptions: usize,
        /// What is answered to a subscription.
        answer: Option<String>,
    },
    /// Server-sent events of this type, each with an id. A client that sends `Last-Event-ID` gets those after it. Comments and an
    /// event of another type come between.
    Events {
        /// The type.
        of: &'static str,
    },
    /// A JSON array of a few lines at each request, `ETag`, `X-Poll-Interval`; 304 when all were sent.
    Polled {
        /// How many lines an answer has.
        page: usize,
    },
    /// The body of an answer without a length, as it is.
    Body {
        /// Its type.
        content_type: &'static str,
        /// Whether the connection stays open after it.
        stays_open: bool,
    },
}

/// A feed on a free port. It ends with the test.
pub struct PublicFeed {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

struct Served {
    protocol: Protocol,
    lines: Vec<String>,
    requests: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl PublicFeed {
    /// Serves these lines.
    pub fn serve(protocol: Protocol, lines: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let over = Arc::<AtomicBool>::default();
        let served = Arc::new(Served {
            protocol,
            lines,
            requests: Arc::clone(&requests),
            over: Arc::clone(&over),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.over.load(Ordering::Relaxed) {
                    return;
                }
                let served = Arc::clone(&served);
                // A client that goes away ends its connection.
                std::thread::spawn(move || served.connection(stream).ok());
            }
        });
        Self { address, requests, over }
    }

    /// The address with this scheme, and with path and query.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// The heads of all requests, and what was sent first on WebSockets.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PublicFeed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes up who waits for a connection.
        let _gone = TcpStream::connect(self.address);
    }
}

impl Served {
    fn note(&self, text: String) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn connection(&self, stream: TcpStream) -> std::io::Result<()> {
        if let Protocol::Socket { subscriptions, answer } = &self.protocol {
            return self.socket(stream, *subscriptions, answer.as_deref());
        }
        let head = head(&stream)?;
        self.note(head.clone());
        match &self.protocol {
            Protocol::Socket { .. } => Ok(()),
            Protocol::Events { of } => self.events(&stream, &head, of),
            Protocol::Polled { page } => self.page(&stream, &head, *page),
            Protocol::Body { content_type, stays_open } => {
                let mut out = &stream;
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n"
                )?;
                for line in &self.lines {
                    out.write_all(line.as_bytes())?;
                }
                if *stays_open { wait_for_end(&stream) } else { Ok(()) }
            }
        }
    }

    fn socket(
        &self,
        stream: TcpStream,
        subscriptions: usize,
        answer: Option<&str>,
    ) -> std::io::Result<()> {
        let failed = |_| std::io::Error::other("the client went away");
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let callback = |request: &Request, response: Response| {
            self.note(format!("GET {}", request.uri()));
            Ok(response)
        };
        let socket = tokio_tungstenite::tungstenite::accept_hdr(stream, callback);
        let mut socket: WebSocket<TcpStream> =
            socket.map_err(|_| std::io::Error::other("no handshake"))?;
        let mut left = subscriptions;
        while left > 0 {
            if let Message::Text(text) = socket.read().map_err(failed)? {
                self.note(text.to_string());
                left -= 1;
                if let Some(answer) = answer {
                    socket.send(Message::text(answer)).map_err(failed)?;
                }
            }
        }
        for line in &self.lines {
            socket.send(Message::text(line.as_str())).map_err(failed)?;
        }
        // Reading answers pings, until the client closes.
        while socket.read().is_ok() {}
        Ok(())
    }

    fn events(&self, stream: &TcpStream, head: &str, of: &str) -> std::io::Result<()> {
        let mut out = stream;
        write!(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:hello\n\n")?;
        write!(out, "event: other\ndata: 17\n\n")?;
        let after = header(head, "last-event-id").and_then(|id| id.parse::<usize>().ok());
        for (at, line) in self.lines.iter().enumerate().skip(after.map_or(0, |after| after + 1)) {
            write!(out, "event: {of}\nid: {at}\ndata: {line}\n\n")?;
        }
        wait_for_end(stream)
    }

    fn page(&self, stream: &TcpStream, head: &str, page: usize) -> std::io::Result<()> {
        let tag = header(head, "if-none-match").unwrap_or_default();
        let from: usize = tag.trim_matches('"').parse().unwrap_or(0);
        let lines: Vec<&str> =
            self.lines.iter().skip(from).take(page).map(String::as_str).collect();
        let mut out = stream;
        if lines.is_empty() {
            return write!(
                out,
                "HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nX-Poll-Interval: 1\r\nConnection: close\r\n\r\n"
            );
        }
        let body = format!("[{}]", lines.join(","));
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"{}\"\r\nX-Poll-Interval: 1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            from + lines.len(),
            body.len()
        )
    }
}

/// The request, up to the empty line.
fn head(stream: &TcpStream) -> std::io::Result<String> {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while lines.read_line(&mut head)? > 2 {}
    Ok(head)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn wait_for_end(mut stream: &TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}
