//! A gateway that serves a server below the path [`PATH`]: it asks the server for `/x` when a client asks for `x` below
//! that path, and serves nothing else. It passes bytes on unchanged, so that an upgrade to a WebSocket works.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// The path that the server is below.
pub const PATH: &str = "/stats/millrace/";

const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A running gateway; it ends with the process.
#[derive(Debug)]
pub struct PathProxy {
    port: u16,
}

impl PathProxy {
    /// Serves what listens at `upstream` (host and port).
    pub fn to(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let upstream = upstream.clone();
                // An error is ignored: both ends notice by themselves that the connection broke.
                thread::spawn(move || pass(client, &upstream));
            }
        });
        Self { port }
    }

    /// The address of the server's `/` behind the gateway.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }
}

fn pass(mut client: TcpStream, upstream: &str) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let Some(inner) = request
        .split_once(' ')
        .and_then(|(method, rest)| Some(format!("{method} /{}", rest.strip_prefix(PATH)?)))
    else {
        return client.write_all(NOT_FOUND);
    };
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(inner.as_bytes())?;
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line);
    }
    // Only the first request of a connection is rewritten, so there must be only one for each connection.
    let is_upgrade = head.iter().any(|line| line.to_ascii_lowercase().starts_with("upgrade:"));
    for line in head {
        if is_upgrade || !line.to_ascii_lowercase().starts_with("connection:") {
            server.write_all(line.as_bytes())?;
        }
    }
    server.write_all(if is_upgrade { b"\r\n" } else { b"connection: close\r\n\r\n" })?;
    let mut upwards = server.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut reader, &mut upwards);
        let _ = upwards.shutdown(std::net::Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}
