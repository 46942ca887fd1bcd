//! Requests to the admin port of a tier.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// The whole answer, head and body, of whoever listens on this port of this machine; `None` while nobody does.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
